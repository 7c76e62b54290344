"""The main report: measured gradient beside theory and bounds, lag by lag."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, Document, Section, Sentence, Table
from gradscope.reports.numbers import fixed, is_null, log_value, significant
from gradscope.reports.reading import has, labels, number, picked, short_labels, shown_rows
from gradscope.reports.views.common import about_source, document, shared_settings, verdict_tone, warnings_of
from gradscope.reports.views.gradient_details import further
from gradscope.reports.views.gradient_figures import figures_of, overlay
from gradscope.reports.views.gradient_words import (
    horizon_text,
    interval_text,
    next_step,
    peak_cell,
    rate_text,
    theory_cell,
    verdict_blocks,
)

# Column name in the record, title, priority (0 stays; the highest number goes first on a narrow terminal), meaning.
_LOG_COLUMNS = (
    ("log10_norm_h", "dh/dh", 4, "its corner of all h components"),
    ("log10_theory", "theory", 0, "the article's closed form"),
    ("log10_eigen", "eigen", 3, "the same slopes with the spectral radius"),
    ("log10_bound", "bound", 1, "true for every input"),
    ("log10_path_bound", "path", 5, "bound from the step norms of this trajectory"),
    ("log10_block_bound", "blocks", 9, "the same from products of a few steps"),
    ("log10_dloss_dstate", "loss", 2, "dL/ds_(T-k)"),
    ("log10_dloss_dweight", "dL/dW", 8, "for the copy of W_hh used at step T-k"),
)
# A norm is known to 1e-9 relative, here in decades: the same allowance as behind summary.theory_violations.
_TOLERANCE = 1e-9 / math.log(10.0)


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """One source: everything about it. Several: side by side, and everything with ``verbose``."""
    names = labels(report)
    sections: list[Section] = []
    several = len(report.results) > 1
    if several:
        sections.append(_side_by_side(report, names, figures))
    for name, result in zip(names, report.results, strict=True):
        blocks: list[Block] = []
        if not several or verbose:
            table = _lag_table(result)
            # The columns are explained once, under the first table.
            key = [] if sections[several:] else [_key(table)]
            blocks += [*verdict_blocks(result), table, *key, *further(result)]
        blocks += [
            *warnings_of(result),
            *([] if several else next_step(report, result)),
            *(figures_of(result) if figures else ()),
        ]
        if blocks:
            sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, "Gradient against lag", sections)


def _epsilon(report: Report) -> str:
    found = {number(result.summary.get("epsilon")) for result in report.results}
    return significant(found.pop(), 17) if len(found) == 1 else "epsilon"


def _side_by_side(report: Report, names: Sequence[str], figures: bool) -> Section:
    columns = (
        Column("source", "left"),
        Column("verdict", "left"),
        Column("rate/step"),
        Column("95 % interval", "left", 5),
        Column("horizon", meaning=f"largest lag with a norm of at least {_epsilon(report)}"),
        Column("peak", "left", 4, "largest norm @ its lag"),
        Column("> theory", "left", 1, "where the measurement exceeds the article's closed form"),
        Column("bounds", "left", 2, "norms that no input, or no trajectory, can exceed"),
    )
    rows = []
    heads = short_labels(names)
    for place, (name, result) in enumerate(zip(names, report.results, strict=True)):
        broken = int(number(result.summary.get("bound_violations")) or 0)
        row = (
            name if heads[place] in name else f"{heads[place]} {name}",
            str(result.summary.get("verdict") or "-"),
            rate_text(result),
            interval_text(result),
            horizon_text(result),
            peak_cell(result),
            theory_cell(result),
            f"VIOLATED at {broken}" if broken else "hold",
        )
        rows.append(row)
    tones = tuple(verdict_tone(result.summary.get("verdict")) for result in report.results)
    table = Table("Side by side (rates in decades per step)", columns, tuple(rows), tones)
    together = overlay(names, report.results) if figures else None
    blocks: list[Block] = [table, _key(table), *_compact_tables(report, names), *([together] if together else [])]
    return Section("", tuple(blocks), shared_settings(report))


def _key(table: Table) -> Sentence:
    """What the columns are, for somebody who sees them for the first time."""
    said = "; ".join(f"{column.title.strip()}: {column.meaning}" for column in table.columns if column.meaning)
    return Sentence(f"{said}.", "note", "dim")


def _compact_tables(report: Report, names: Sequence[str]) -> list[Block]:
    heads = short_labels(names)
    tables: list[Block] = []
    for part in _parts(heads):
        lags = sorted(
            {lag for i in part for lag in map(int, picked(report.results[i], "lag", shown_rows(report.results[i])))}
        )
        columns = [Column("lag")]
        texts: list[dict[int, tuple[str, str]]] = []
        for i in part:
            columns += [Column(f"{heads[i]} "), Column("theory")]
            result = report.results[i]
            at = {int(lag): row for row, lag in enumerate(result.columns.get("lag", ()))}
            rows_here = [at[lag] for lag in lags if lag in at]
            texts.append({int(b[0]): (b[1] + b[3], b[2]) for b in _measured_and_theory(result, rows_here)})
        rows = tuple((str(lag), *(cell for text in texts for cell in text.get(lag, ("", "")))) for lag in lags)
        caption = "log10 of the norm, measured and in theory (> where theory is exceeded)"
        tables.append(Table("" if tables else caption, tuple(columns), rows))
    return tables


def _parts(heads: Sequence[str]) -> list[list[int]]:
    """As many sources side by side as 80 columns hold: a head (or number) and its theory each."""
    parts: list[list[int]] = []
    room = 0
    for i, head in enumerate(heads):
        width = max(len(head) + 1, 9) + 2 + 8 + 2
        if not parts or width > room:
            parts.append([])
            room = 80 - 4
        parts[-1].append(i)
        room -= width
    return parts


def _measured_and_theory(result: Result, rows: Sequence[int]) -> list[tuple[str, str, str, str]]:
    """Lag, measured, theory, flag: both numbers get the digits that keep the flag true to what is printed."""
    epsilon = number(result.summary.get("epsilon")) or number(result.settings.get("epsilon"))
    edge = [math.log10(epsilon)] if epsilon else []
    statuses = picked(result, "status", rows)
    out = []
    for lag, norm, theory, status in zip(
        picked(result, "lag", rows),
        picked(result, "log10_norm", rows),
        picked(result, "log10_theory", rows),
        statuses,
        strict=True,
    ):
        over = not is_null(norm) and not is_null(theory) and norm > theory + _TOLERANCE
        # Both are kept on their side of the middle, so that a marked row also reads as measured > theory.
        middle = [(norm + theory) / 2] if over else []
        null = str(status) if status else log_value(None)
        measured = null if is_null(norm) else log_value(norm, against=[*edge, *middle])
        predicted = log_value(theory, against=middle)
        out.append((str(lag), measured, predicted, ">" if over else " "))
    return out


def _measured(result: Result) -> str:
    of = "dh_T/dx_(T-k)" if result.settings.get("wrt") == "inputs" else "ds_T/ds_(T-k)"
    return f"spectral norm of {'ds_k/ds_0' if result.settings.get('anchor') == 'start' else of}"


def _lag_table(result: Result) -> Table:
    rows = shown_rows(result)
    base = _measured_and_theory(result, rows)
    columns = [Column("lag"), Column("measured", meaning=_measured(result))]
    cells: list[list[str]] = [[b[0], b[1]] for b in base]

    def add(column: Column, texts: Sequence[str]) -> None:
        columns.append(column)
        for row, text in zip(cells, texts, strict=True):
            row.append(text)

    if has(result, "log10_norm_std"):
        spread = picked(result, "log10_norm_std", rows)
        add(Column("+-", "right", 6, "standard deviation over the batch"), [fixed(s, 2) for s in spread])
    for name, title, priority, meaning in _LOG_COLUMNS:
        if not has(result, name):
            continue
        if name == "log10_theory":
            add(Column(title, "right", priority, meaning), [b[2] for b in base])
            add(Column(">", "left", 0, "measured > theory"), [b[3] for b in base])
        else:
            add(Column(title, "right", priority, meaning), [log_value(v) for v in picked(result, name, rows)])
    if has(result, "stable_rank"):
        add(Column("st.rank", "right", 7, "stable rank"), [fixed(v, 2) for v in picked(result, "stable_rank", rows)])
    if has(result, "rank"):
        add(
            Column("rank", "right", 6, "singular values above rounding"),
            [significant(v) for v in picked(result, "rank", rows)],
        )
    if has(result, "share"):
        shares = [fixed(v, 4) for v in picked(result, "share", rows)]
        add(Column("share", "right", 1, "of this input in the total sensitivity"), shares)
    if has(result, "phase"):
        add(Column("phase", "left", 1), [str(v or "-") for v in picked(result, "phase", rows)])
    which = "all lags asked for" if result.settings.get("lags") is not None else f"{len(rows)} of {result.n_rows} lags"
    return Table(f"log10 of each norm, by lag ({which})", tuple(columns), tuple(map(tuple, cells)))
