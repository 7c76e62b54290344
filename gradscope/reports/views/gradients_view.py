"""The main report: the measured gradient beside theory and the tightest bound, and what that comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gradscope.fields import ROWS, field
from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, Document, Section, Sentence, Table
from gradscope.reports.numbers import NULL, count, fixed, is_null, log_value, significant
from gradscope.reports.reading import epsilon_of, has, labels, number, picked, shown_rows
from gradscope.reports.views.common import about_source, document, warnings_of
from gradscope.reports.views.factor_tables import FACTOR_COLUMNS, factor_blocks
from gradscope.reports.views.gradient_bounds import held_bounds, tightest_bound, tightest_meaning
from gradscope.reports.views.gradient_details import further
from gradscope.reports.views.gradient_figures import figures_of
from gradscope.reports.views.gradient_ladder import side_by_side
from gradscope.reports.views.gradient_words import (
    answer_blocks,
    broken_bounds,
    certified_blocks,
    detail_blocks,
    horizon_text,
    is_users_loss,
    peak_sentence,
    theory_horizon,
)

#: Rows of the table that fits on a screen of 24 lines.
_ROWS = 12
#: Decades by which an estimate may be off without a mark, as long as it gives the same horizon.
_TRIFLE = 0.1
#: What has a place of its own in the table.
_PLACED = ("lag", "log10_norm", "log10_norm_std", "log10_theory", "share", "phase", "status", *FACTOR_COLUMNS)
#: What the loss sees: the state, or the input where inputs are asked about.
_LOSS = ("log10_dloss_dstate", "log10_dloss_dinput")
#: What stands beside ‖∂h_t/∂θ‖ on a screen.
_BY_STEP = (
    "log10_one_step", "log10_dh_dweight_hh", "log10_dh_dweight_ih", "log10_dh_dforget_bias", "log10_dh_dlambda",
)  # fmt: skip
# A norm is known to 1e-9 relative, here in decades: the same allowance as behind summary.theory_violations.
_TOLERANCE = 1e-9 / math.log(10.0)


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """One source: the table and the answer. Several: side by side. Everything about each with ``verbose``."""
    names = labels(report)
    sections: list[Section] = []
    several = len(report.results) > 1
    if several:
        sections.append(side_by_side(report, names, figures=figures, verbose=verbose))
    for name, result in zip(names, report.results, strict=True):
        blocks: list[Block] = []
        if not several or verbose:
            blocks += answer_blocks(result, () if several else report.command)
            key = not sections[several:]  # the columns are explained once, under the first table
            blocks += [
                *_table_and_notes(result, verbose=verbose, key=key),
                *factor_blocks(result, verbose=verbose),
                *further(result),
                *warnings_of(result),
            ]
        blocks += figures_of(result) if figures else ()
        if blocks:
            sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, "Gradient against lag", sections)


def _table_and_notes(result: Result, *, verbose: bool, key: bool) -> list[Block]:
    rows = shown_rows(result, most=None if verbose else _ROWS)
    over = _most_exceeded(result, rows)
    table, left_out = _lag_table(result, rows, over, verbose=verbose)
    notes = [f"{column.title.strip()}: {column.meaning}" for column in table.columns if column.meaning]
    said = [f"{'; '.join(notes)}."] if key and notes else []
    if over is not None:
        said.append(_exceeded(result, over))
    shown = "" if len(rows) == result.n_rows else f"{len(rows)} of {count(result.n_rows, 'lag')}"
    if left_out:
        shown += f"{'; ' if shown else ''}-v adds {', '.join(left_out)}"
    said += [f"{shown}."] if shown else []
    blocks: list[Block] = [table, Sentence(" ".join(said), "note", "dim")]
    if verbose:
        blocks += detail_blocks(result)
    elif peak_sentence(result):
        blocks.append(Sentence(peak_sentence(result)))
    return [*blocks, *_truncation(result), *certified_blocks(result), *broken_bounds(result)]


def _truncation(result: Result) -> list[Block]:
    """Where backpropagation may be cut, if the loss is the user's."""
    length, bias = number(result.summary.get("tbptt_length")), number(result.summary.get("tbptt_bias"))
    if length is None or bias is None or not is_users_loss(result):
        return []
    cut = f"Backpropagation cut after {count(int(length), 'step')} leaves out"
    return [Sentence(f"{cut} {significant(100 * bias, 2)} % of dL/dW_hh.")]


def _excess(result: Result, rows: Sequence[int]) -> list[float]:
    """Decades by which the measurement exceeds the article's estimate; 0 where it does not."""
    pairs = zip(picked(result, "log10_norm", rows), picked(result, "log10_theory", rows), strict=True)
    return [
        0.0 if is_null(norm) or is_null(theory) or norm <= theory + _TOLERANCE else norm - theory
        for norm, theory in pairs
    ]


def _most_exceeded(result: Result, rows: Sequence[int]) -> int | None:
    """The row at which the estimate is furthest below the measurement: marked if that is more than a trifle."""
    excess = _excess(result, rows)
    matters = max(excess, default=0.0) >= _TRIFLE or (
        any(excess) and theory_horizon(result) not in (NULL, horizon_text(result))
    )
    return rows[max(range(len(rows)), key=excess.__getitem__)] if matters else None


def _exceeded(result: Result, row: int) -> str:
    [excess] = _excess(result, [row])
    said = f"* the estimate is 10^{fixed(excess, 1, against=[0.0])} too small here"
    horizon = theory_horizon(result)
    told = horizon not in (NULL, horizon_text(result))
    return f"{said}; its horizon is {horizon}." if told else f"{said}."


def _edges(result: Result) -> list[float]:
    epsilon = epsilon_of(result)
    return [math.log10(epsilon)] if epsilon else []


def _measured_and_theory(result: Result, rows: Sequence[int], over: int | None) -> list[tuple[str, str]]:
    """Both numbers, with the digits that keep them on their sides of epsilon, and where marked of one another."""
    out = []
    columns = (picked(result, name, rows) for name in ("log10_norm", "log10_theory", "status"))
    for row, norm, theory, status in zip(rows, *columns, strict=True):
        middle = [(norm + theory) / 2] if row == over else []
        null = str(status) if status else log_value(None)
        measured = null if is_null(norm) else log_value(norm, against=[*_edges(result), *middle])
        out.append((measured, f"{log_value(theory, against=middle)}{'*' if row == over else ' '}"))
    return out


def _column(name: str, *, title: str = "", meaning: str = "", priority: int = 0) -> Column:
    """A column as the table of fields has it."""
    known = field("gradients", name, "rows")
    assert known is not None, name
    return Column(
        title or known.title,
        "left" if known.is_text else "right",
        priority,
        meaning or known.meaning,
        unit=known.unit,
    )


def _norm_meaning(result: Result) -> str:
    """What is measured, in the article's letters; every norm is a spectral norm."""
    if result.settings.get("wrt") == "inputs":
        return "‖∂h_T/∂x_(T−k)‖₂"
    if result.settings.get("wrt") == "weights":
        return "‖∂h_t/∂θ‖_F, θ all weights and biases"
    return "‖∂s_k/∂s_0‖₂" if result.settings.get("anchor") == "start" else "‖∂s_T/∂s_(T−k)‖₂"


def _lag_table(result: Result, rows: Sequence[int], over: int | None, *, verbose: bool) -> tuple[Table, list[str]]:
    """The table, and the titles of the columns that it leaves out."""
    base = _measured_and_theory(result, rows, over)
    lag, norm = _column("lag"), _column("log10_norm", meaning=_norm_meaning(result))
    by_step = result.settings.get("wrt") == "weights"
    columns = [Column("t" if by_step else lag.title, unit=lag.unit), norm]
    cells: list[list[str]] = [[str(at), b[0]] for at, b in zip(picked(result, "lag", rows), base, strict=True)]

    def add(column: Column, texts: Sequence[str]) -> None:
        columns.append(column)
        for row, text in zip(cells, texts, strict=True):
            row.append(text)

    if has(result, "log10_norm_std"):
        spread = picked(result, "log10_norm_std", rows)
        add(_column("log10_norm_std", meaning="spread over the batch"), [fixed(s, 2) for s in spread])
    if has(result, "log10_theory"):
        meaning = "" if verbose else "the article's estimate"
        add(_column("log10_theory", title="theory ", meaning=meaning), [b[1] for b in base])
    held = held_bounds(result)
    if held and not verbose:
        bound = Column("bound", priority=2, meaning=tightest_meaning(result), unit="log10")
        add(bound, [log_value(value) for value in tightest_bound(result, rows)])
    if has(result, "share"):
        add(_column("share", priority=1), [fixed(v, 4) for v in picked(result, "share", rows)])
    if has(result, "phase"):
        add(_column("phase", priority=1), [str(v or "-") for v in picked(result, "phase", rows)])
    left_out: list[str] = []
    for place, name in enumerate(_further_columns(result)):
        column = _column(name, priority=1 + place)
        if by_step and not verbose and name != "log10_one_step":  # its title says it
            column = replace(column, meaning="")
        if verbose or (is_users_loss(result) and name in _LOSS) or (by_step and name in _BY_STEP):
            add(column, [_cell_text(column, value) for value in picked(result, name, rows)])
        elif held != [name]:
            left_out.append(column.title)
    return Table("", tuple(columns), tuple(map(tuple, cells))), left_out


def _further_columns(result: Result) -> list[str]:
    """Every other number by lag, in the order of the table of fields."""
    return [
        known.name
        for known in ROWS["gradients"]
        if known.name not in _PLACED
        and known.type in ("number", "count")
        and (known.shown or known.unit == "log10")
        and has(result, known.name)
    ]


def _cell_text(column: Column, value: float | None) -> str:
    if column.unit == "log10":
        return log_value(value)
    return fixed(value, 2) if isinstance(value, float) else significant(value)
