"""What to change: how far gradients reach, the one change that is enough, and all that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gradscope.records import Report, Result, plain
from gradscope.reports.document import Block, Column, Curve, Document, LineFigure, Section, Sentence, Table, Tone
from gradscope.reports.numbers import NULL, count, fixed, printable, printable_lines, significant
from gradscope.reports.reading import labels, number
from gradscope.reports.views.common import about_source, document, warnings_of
from gradscope.reports.views.gradient_figures import epsilon_mark

#: Lines of a first screen that answers and a snippet share.
ROOM = 7


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """The answer; everything that was measured, and why, is detail that a first screen has no room for."""
    sections = []
    several = len(report.results) > 1
    neediest = _neediest(report)
    for name, result in zip(labels(report), report.results, strict=True):
        rows = list(result.rows())
        best = best_row(result, rows)
        blocks: list[Block] = [Sentence(answer(result, rows), "verdict", _tone(result, rows))]
        blocks += [replace(sentence, detail=several) for sentence in (*_training(result), *_others(rows, best))]
        blocks += [replace(code, detail=result is not neediest) for code in _code(best)]
        blocks += [_changes(result, rows), *_reasons(rows, verbose=verbose), *_held_back(result, verbose=verbose)]
        blocks += [replace(block, detail=several) for block in warnings_of(result) if isinstance(block, Sentence)]
        blocks += _figure(result) if figures else []
        sections.append(Section(name, tuple(blocks), "" if several and not verbose else about_source(result)))
    return document(report, "What to change", sections)


def _neediest(report: Report) -> Result | None:
    """The result that reaches least among those with a change that is enough, if its snippet has room."""
    best = [(r, best_row(r, list(r.rows()))) for r in report.results]
    helped = [(r, str(row["snippet"])) for r, row in best if row is not None and row.get("snippet")]
    if not helped:
        return None
    found, snippet = min(helped, key=lambda pair: number(pair[0].summary.get("reach_now")) or 0.0)
    fits = len(report.results) == 1 or len(snippet.splitlines()) + len(report.results) <= ROOM
    return found if fits else None


def answer(result: Result, rows: list[dict[str, Any]]) -> str:
    """How far gradients reach, how far they should, and the smallest change that is enough."""
    summary, steps = result.summary, result.settings.get("steps")
    explodes = _explodes(result)
    said = f"Gradients reach {_words(summary, 'reach_now', steps)} of {count(_whole(summary, 'reach'), 'step')}"
    if explodes:
        known = summary.get("verdict") == "exploding"
        said = "Gradients explode" if known else "Gradients grow, over a run too short for an interval of their rate"
        said += ": shrink them, do not lengthen memory"
    elif _is_enough(result):
        return f"{said}: nothing to change{_resting_on(result)}."
    best = best_row(result, rows)
    if best is None:
        tried = list(dict.fromkeys(str(row["kind"]) for row in rows if row.get("change")))
        return f"{said}. " + (f"No change helped (tried: {', '.join(tried)})." if tried else "No change was tried.")
    if explodes:
        rates = f"{_rate(best, 'before')} -> {_rate(best, 'after')} decades a step"
        return (
            f"{said}. Append {printable(str(best['change']))}: {best['after_verdict']}, {rates}{_resting_on(result)}."
        )
    after = _words(best, "after_horizon_h", steps)
    return f"{said}. Append {printable(str(best['change']))}: they reach {after}, measured{_resting_on(result)}."


def _explodes(result: Result) -> bool:
    """Whether less is wanted; a result of an earlier version says it by its verdict."""
    return bool(result.summary.get("explodes", result.summary.get("verdict") == "exploding"))


def _resting_on(result: Result) -> str:
    """Generated inputs are not the user's."""
    kind = str(result.settings.get("inputs"))
    return f" on generated inputs ({kind})" if kind in ("normal", "uniform", "zeros") else ""


def _words(values: Mapping[str, Any], name: str, steps: Any) -> str:
    """A horizon in a sentence."""
    if values.get(f"{name}_censored"):
        return f"over {steps}"
    found = number(values.get(name))
    return "none" if found is None or found < 0 else str(int(found))


def _whole(values: Mapping[str, Any], name: str) -> int:
    return int(number(values.get(name)) or 0)


def _others(rows: list[dict[str, Any]], best: dict[str, Any] | None) -> list[Sentence]:
    """What else was measured, in one line: what would be enough as well, and what did not help."""
    tried = [row for row in rows if row.get("change") and row is not best]
    if not tried:
        return []
    said = []
    for helps, words in ((True, "enough as well"), (False, "did not help")):
        changes = [printable(str(row["change"])) for row in tried if bool(row.get("helps")) is helps]
        said += [f"{words}: {', '.join(changes)}"] if changes else []
    return [Sentence(f"Also measured, {'; '.join(said)} (-v: what each did).")]


def _code(best: dict[str, Any] | None) -> list[Sentence]:
    """How the change is made in PyTorch."""
    snippet = best.get("snippet") if best else None
    return [Sentence(printable_lines(str(snippet)), "code")] if snippet else []


def best_row(result: Result, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row that ``summary.best`` speaks of."""
    best = result.summary.get("best")
    return next((row for row in rows if row.get("helps") and row.get("kind") == best), None)


def _is_enough(result: Result) -> bool:
    now, reach = number(result.summary.get("reach_now")), number(result.summary.get("reach"))
    return bool(result.summary.get("reach_now_censored")) or (now is not None and reach is not None and now >= reach)


def _tone(result: Result, rows: list[dict[str, Any]]) -> Tone:
    if best_row(result, rows) is not None:
        return "mixed"
    return "good" if _is_enough(result) and not _explodes(result) else "bad"


def _training(result: Result) -> list[Sentence]:
    """Where to truncate and what to clip at, in one line."""
    if _explodes(result):
        return [Sentence("Truncation and clipping are worth a number once gradients no longer explode: advise again.")]
    length, clip = number(result.summary.get("tbptt_length")), number(result.summary.get("clip_value"))
    said = []
    if length is not None:
        bias = significant(100 * (number(result.summary.get("tbptt_bias")) or 0.0), 2)
        said.append(f"Truncate after {count(int(length), 'step')} (leaves out {bias} % of the gradient)")
    if clip is not None:
        said.append(f"clip at {significant(clip)} (median {significant(result.summary.get('gradient_norm_median'))})")
    return [Sentence(f"{'; '.join(said)}.")] if said else []


def _changes(result: Result, rows: list[dict[str, Any]]) -> Table:
    columns = (
        Column("kind", "left"),
        Column("change", "left"),
        Column("reach", unit="steps"),
        Column("rate", "right", 2, unit="decades/step"),
        Column("verdict", "left", 1),
        Column("helps", "left"),
    )
    cells = tuple(
        (
            str(row.get("kind")),
            printable(str(row.get("change") or significant(row.get("value")))),
            _arrow(_short_reach(row, "before", result), _short_reach(row, "after", result), row),
            _arrow(_rate(row, "before"), _rate(row, "after"), row),
            _arrow(str(row.get("before_verdict")), str(row.get("after_verdict")), row),
            NULL if row.get("helps") is None else "yes" if row["helps"] else "no",
        )
        for row in rows
    )
    tones: tuple[Tone, ...] = tuple("good" if row.get("helps") else "plain" for row in rows)
    return Table("Every change, measured with the same inputs, seed and T", columns, cells, tones, detail=True)


def _arrow(before: str, after: str, row: Mapping[str, Any]) -> str:
    if row.get("change") is None:
        return NULL
    return before if before == after else f"{before} -> {after}"


def _short_reach(row: Mapping[str, Any], when: str, result: Result) -> str:
    return _words(row, f"{when}_horizon_h", result.settings.get("steps")).replace("over ", ">")


def _rate(row: Mapping[str, Any], when: str) -> str:
    return fixed(number(row.get(f"{when}_rate")), 4, against=[0.0])


def _reasons(rows: list[dict[str, Any]], *, verbose: bool) -> list[Block]:
    """Why, row by row; of changes of the network only where all details are wanted: the table says what they do."""
    told = [row for row in rows if verbose or row.get("change") is None]
    return [
        Sentence(printable(f"{row.get('change') or row.get('kind')}: {row.get('why')}."), "note", detail=True)
        for row in told
    ]


def _held_back(result: Result, *, verbose: bool) -> list[Block]:
    """What the gates and slopes of the run let through."""
    said = [printable(str(text)) for text in result.details.get("holds_back", ())]
    shown = said if verbose else said[:1]
    lead = "Unit by unit" if _is_enough(result) else "What holds it back"
    return [Sentence(f"{lead}: {text}." if not i else f"{text}.", detail=True) for i, text in enumerate(shown)]


def _figure(result: Result) -> list[Block]:
    """The h corner's norm against lag, as it is and with each change."""
    courses = [course for course in plain(result.details.get("courses")) or [] if len(course["lag"]) > 1]
    curves = []
    for place, course in enumerate(courses):
        x, y = tuple(map(float, course["lag"])), tuple(course["log10_norm_h"])
        curves.append(Curve(printable(course["name"]), f"source{place}", x, y))
    if not curves:
        return []
    said = "The norm that an output can see, with the network as it is and with each kind of change."
    labels_of_axes = ("lag k (steps back)", "norm of dh/dh")
    marks = epsilon_mark(result)
    title = "What each change does"
    return [LineFigure(title, said, *labels_of_axes, tuple(curves), marks, name="changes", powers=True)]
