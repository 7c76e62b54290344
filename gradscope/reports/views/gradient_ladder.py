"""Several sources side by side: one line each, then the measured gradient lag by lag."""

from __future__ import annotations

from collections.abc import Sequence

from gradscope.fields import field
from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, Section, Sentence, Table
from gradscope.reports.numbers import NULL, is_null, log_value
from gradscope.reports.reading import has, number, picked, short_labels, shown_lags
from gradscope.reports.views.common import shared_settings, verdict_tone, warnings_of
from gradscope.reports.views.gradient_figures import overlay
from gradscope.reports.views.gradient_next import next_of_several
from gradscope.reports.views.gradient_words import (
    broken_bounds,
    epsilon_text,
    horizon_text,
    interval_text,
    last_lag,
    peak_cell,
    rate_text,
    theory_horizon,
)

#: Sources that stand beside one another lag by lag; with more of them, one line each must do.
_BESIDE = 7
#: Lags shown beside them, so that all of it fits on a screen of 24 lines.
_LAGS = 6
#: Sources that a sentence names one by one.
_NAMED = 8
#: Characters of a source's name in a table's head: few where many stand beside one another.
_HEAD, _LONG_HEAD = 12, 24


def side_by_side(report: Report, names: Sequence[str], *, figures: bool, verbose: bool) -> Section:
    """The section that comes first where there are several sources."""
    lag_tables = _lag_tables(report, names, verbose=verbose)
    horizon = field("gradients", "horizon", "summary")
    assert horizon is not None
    epsilons = dict.fromkeys(epsilon_text(result) for result in report.results)
    said = [f"horizon: {horizon.meaning.replace('epsilon', ' or '.join(epsilons))}"]
    if any(has(result, "log10_theory") for result in report.results):
        said.append("theory: the horizon of the article's estimate")
    more = [] if verbose else ["theory, bounds and loss lag by lag: -v, or one source alone"]
    if not lag_tables:
        more = ["lag by lag: -v, or fewer sources"]
    note = Sentence(f"{'; '.join([*said, *more])}.", "note", "dim")
    blocks: list[Block] = [*_answer(report, names), _summary(report, names), *lag_tables, note]
    if not verbose:  # else they stand under each source
        blocks += _warnings(report, names)
    together = overlay(names, report.results, _verdicts(report, names)) if figures else None
    return Section("", (*blocks, *([together] if together else [])), shared_settings(report))


def _answer(report: Report, names: Sequence[str]) -> list[Block]:
    """Who vanishes and who explodes, with how far each reaches; whether that is enough; what to look into."""
    found = {str(result.summary.get("verdict")) for result in report.results}
    tone = verdict_tone(next(iter(found))) if len(found) == 1 else "mixed"
    blocks: list[Block] = [Sentence(f"{_verdicts(report, names)}.", "verdict", tone), *_need(report, names)]
    step = next_of_several(report)
    return [*blocks, *([Sentence(step, "next")] if step else [])]


def _verdicts(report: Report, names: Sequence[str]) -> str:
    """Who has which verdict, with how far each reaches."""
    groups: dict[str, list[int]] = {}
    for i, result in enumerate(report.results):
        groups.setdefault(str(result.summary.get("verdict") or "no verdict"), []).append(i)
    return "; ".join(f"{verdict}: {_members(report, names, group)}" for verdict, group in groups.items())


def _members(report: Report, names: Sequence[str], group: Sequence[int]) -> str:
    reaches = {i: horizon_text(report.results[i]) for i in group}
    if len(report.results) <= _NAMED:
        return ", ".join(f"{names[i]} ({reaches[i]}{' steps' if place == 0 else ''})" for place, i in enumerate(group))
    ordered = sorted(group, key=lambda i: _sortable(report.results[i]))
    ends = dict.fromkeys((reaches[ordered[0]], reaches[ordered[-1]]))
    return f"{len(group)} of {len(report.results)} (reaching {' to '.join(ends)} steps)"


def _sortable(result: Result) -> float:
    return float("inf") if result.summary.get("horizon_censored") else number(result.summary.get("horizon")) or -1.0


def _need(report: Report, names: Sequence[str]) -> list[Block]:
    needs = {number(result.summary.get("need")) for result in report.results} - {None}
    if len(needs) != 1:
        return []
    parts = []
    for word, enough in (("enough in", True), ("NOT enough in", False), ("cannot be told in", None)):
        those = [
            name
            for name, result in zip(names, report.results, strict=True)
            if result.summary.get("enough") is enough and number(result.summary.get("need")) is not None
        ]
        if those:
            parts.append(f"{word} {', '.join(those) if len(those) <= _NAMED else f'{len(those)} sources'}")
    bad = any(result.summary.get("enough") is False for result in report.results)
    lag = int(needs.pop() or 0)
    return [Sentence(f"Needed: {lag} steps back: {'; '.join(parts)}.", "answer", "bad" if bad else "good")]


def _summary(report: Report, names: Sequence[str]) -> Table:
    heads = _heads(names)
    lasts = {last_lag(result) for result in report.results}
    at = f"at lag {lasts.pop()}" if len(lasts) == 1 else "at last lag"
    columns = (
        Column("source", "left"),
        Column("verdict", "left"),
        Column("horizon", unit="steps"),
        Column("theory", "right", 3, unit="steps"),
        Column(at, unit="log10"),
        Column("rate", unit="decades/step"),
        Column("95 % interval", "left", 4, unit="decades/step"),
        Column("peak @ lag", "right", 5, unit="log10"),
    )
    rows = tuple(
        (
            name if heads[place] in name else f"{heads[place]} {name}",
            str(result.summary.get("verdict") or NULL),
            horizon_text(result),
            theory_horizon(result),
            _level(result, last_lag(result)),
            rate_text(result),
            interval_text(result),
            peak_cell(result),
        )
        for place, (name, result) in enumerate(zip(names, report.results, strict=True))
    )
    return Table("", columns, rows, tuple(verdict_tone(result.summary.get("verdict")) for result in report.results))


def _heads(names: Sequence[str]) -> list[str]:
    return short_labels(names, _HEAD if len(names) > 3 else _LONG_HEAD)


def _level(result: Result, lag: int) -> str:
    """The measured norm at one lag, or why there is none."""
    row = next((i for i, at in enumerate(result.columns.get("lag", ())) if int(at) == lag), None)
    if row is None:
        return ""
    [norm], [status] = picked(result, "log10_norm", [row]), picked(result, "status", [row])
    return (str(status) if status else NULL) if is_null(norm) else log_value(norm, against=[0.0])


def _lag_tables(report: Report, names: Sequence[str], *, verbose: bool) -> list[Block]:
    """The measured norms, a column per source; none where they would not stand beside one another."""
    heads = _heads(names)
    if len(report.results) > _BESIDE and not verbose:
        return []
    tables: list[Block] = []
    for start in range(0, len(heads), _BESIDE):
        part = range(start, min(start + _BESIDE, len(heads)))
        lags = _shown(report, part)
        columns = [Column("lag", unit="steps"), *(Column(heads[i], unit="log10") for i in part)]
        rows = tuple((str(lag), *(_level(report.results[i], lag) for i in part)) for lag in lags)
        tables.append(Table("", tuple(columns), rows))
    return tables


def _shown(report: Report, part: Sequence[int]) -> list[int]:
    """The lags asked for, or a few on a log scale that the results hold."""
    held = sorted({int(lag) for i in part for lag in report.results[i].columns.get("lag", ())})
    asked = any(report.results[i].settings.get(key) for i in part for key in ("lags", "where"))
    if asked or len(held) <= _LAGS:
        return held
    wanted = {*shown_lags(held[-1], _LAGS), held[-1]}
    # The product of no factors is the identity: lag 0 tells sources apart only where inputs are meant.
    same = all(_level(report.results[i], 0) == log_value(0.0) for i in part)
    return [lag for lag in held if lag in wanted and not (same and lag == 0)]


def _warnings(report: Report, names: Sequence[str]) -> list[Block]:
    """What is said of several sources is said once, with their names."""
    said: dict[Sentence, list[str]] = {}
    for name, result in zip(names, report.results, strict=True):
        for block in (*broken_bounds(result), *warnings_of(result)):
            if isinstance(block, Sentence):
                said.setdefault(block, []).append(name)
    everywhere = len(report.results)
    return [
        block if len(of) == everywhere else Sentence(f"{', '.join(of)}: {block.text}", block.role, block.tone)
        for block, of in said.items()
    ]
