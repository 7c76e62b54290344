"""What a report can do in a script or a notebook: data frames, figures, files, and how it looks in a cell."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradscope.errors import MissingExtraError, UsageError
from gradscope.records import Report, Result, Rows, column_of
from gradscope.reports.document import Document, Figure, LineFigure, Sentence, Table
from gradscope.reports.html import html_table, text
from gradscope.reports.output_files import OutputFile
from gradscope.reports.reading import last_measured, number
from gradscope.reports.svg import DARK, LIGHT, STYLE, WIDTH, figure_svg
from gradscope.reports.views import view
from gradscope.reports.views.thinning import thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Rows of a table, points of a curve, sources and warnings that a cell of a notebook shows.
_ROWS, _POINTS, _SOURCES, _WARNINGS = 12, 160, 6, 3
#: What tells results of one source apart.
_APART = ("layer", "direction")
_LOOK = """
.gradscope{background:var(--paper);color:var(--ink);font:14px/1.45 system-ui,sans-serif;padding:.4rem .8rem;
max-width:60rem}
.gradscope p{margin:.2rem 0}.gradscope .verdict{font-weight:600}.gradscope .bad{color:var(--bad)}
.gradscope .good{color:var(--good)}.gradscope .mixed{color:var(--mixed)}
.gradscope .made{font-size:.8em;opacity:.8;overflow-wrap:anywhere}
.gradscope table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9em;margin:.4rem 0}
.gradscope h4{font-size:1em;margin:.7rem 0 .2rem}
.gradscope caption{text-align:left;font-weight:600}.gradscope th,.gradscope td{background:none;color:inherit;
text-align:left;padding:.1rem .6rem;border:0;border-bottom:1px solid var(--grid)}
.gradscope tbody th{font-weight:400}.gradscope th.r,.gradscope td.r{text-align:right;white-space:nowrap}
.gradscope .scroll{overflow-x:auto}.gradscope svg{width:100%;max-width:46rem;height:auto;display:block}
"""
_LIGHT = f"{LIGHT};--bad:#b3261e;--good:#1a7f37;--mixed:#8a5a00"
_DARK = f"{DARK};--bad:#ff8a80;--good:#7ee787;--mixed:#f0c365"


def to_pandas(report: Report) -> Any:
    """Every row of every result as a ``DataFrame``: ``source``, what tells results apart, and the columns.

    Raises
    ------
    MissingExtraError
        pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError(
            "to_pandas() needs pandas, which is not installed. Install it: pip install pandas "
            "(to_records() gives the same rows as dictionaries)"
        ) from error
    return pd.DataFrame(merged_columns(report))


def merged_columns(report: Report) -> dict[str, Any]:
    """The columns of all results, one under the other; a column that a result lacks is null there."""
    lead = ("source", *(key for key in _APART if any(r.source.get(key) is not None for r in report.results)))
    parts = [{**{key: _repeated(r, key) for key in lead}, **_with_limits(r)} for r in report.results]
    names = list(dict.fromkeys(name for part in parts for name in part))
    sizes = [result.n_rows for result in report.results]
    return {name: _joined([part.get(name) for part in parts], sizes) for name in names}


def _with_limits(result: Result) -> dict[str, Any]:
    """The columns; beside each that can lie beyond the last lag (a sweep's horizon) its ``_at_least``."""
    columns = dict(result.columns)
    for name in [name for name in columns if f"{name}_censored" in columns]:
        limits = [_at_least(row, name, _last_lag(result, row)) for row in result.rows]
        columns[f"{name}_at_least"] = column_of(limits)
    return columns


def _at_least(values: Mapping[str, Any], name: str, last: float | None) -> Any:
    """A number, or the last lag measured where it lies beyond it (censored); None where there is none."""
    found = values.get(name)
    return int(last) if found is None and values.get(f"{name}_censored") and last is not None else found


def _last_lag(result: Result, row: Mapping[str, Any]) -> float | None:
    return number(row["T"]) if "T" in row else last_measured(result) or None


def _repeated(result: Result, key: str) -> Any:
    import numpy as np

    out = np.empty(result.n_rows, dtype=object)
    out[:] = result.source.get("name" if key == "source" else key)
    return out


def _joined(columns: Sequence[Any], sizes: Sequence[int]) -> Any:
    import numpy as np

    held = [column for column, size in zip(columns, sizes, strict=True) if column is not None and size]
    numeric = all(column.dtype.kind in "if" for column in held)
    if held and len({column.dtype for column in held}) == 1 and len(held) == sum(size > 0 for size in sizes):
        return np.concatenate(held)
    missing = np.nan if numeric else None
    parts = []
    for column, size in zip(columns, sizes, strict=True):
        part = np.full(size, missing, dtype=float if numeric else object)
        if column is not None and size:
            part[:] = column
        parts.append(part)
    return np.concatenate(parts) if parts else np.array([], dtype=object)


def summary(report: Report) -> Rows:
    """One row a result: source, layer and direction where there are, and the summary with ``horizon_at_least``."""
    rows = [_summary_row(result) for result in report.results]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Rows({name: [row.get(name) for row in rows] for name in names})


def _summary_row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {"source": result.source.get("name")}
    row |= {key: result.source[key] for key in _APART if result.source.get(key) is not None}
    for name, value in result.summary.items():
        row[name] = value
        if f"{name}_censored" in result.summary:
            row[f"{name}_at_least"] = _at_least(result.summary, name, _last_lag(result, {}))
    return row


def plot(report: Report, ax: Axes | None = None) -> Axes:
    """Draw the main figure; without ``ax`` on a new one, which ``matplotlib.pyplot.show()`` shows.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    UsageError
        There is nothing to draw in this report.
    """
    from gradscope.reports.figure_files import draw, require

    require()
    drawings = view(report).figures()
    if not drawings:
        raise UsageError(f"plot: nothing in this {report.verb} report can be drawn.")
    heading, drawing = drawings[0]
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(layout="constrained")[1]
    draw(ax, drawing, heading)
    return ax


def save(report: Report, path: str | os.PathLike[str]) -> Path:
    """Write the report in the format of the suffix, whole or not at all."""
    file = OutputFile.open(os.fspath(path))
    try:
        file.finish(report)
    finally:
        file.discard()
    return file.path


def notebook_html(report: Report) -> str:
    """The cell of a notebook: verdicts, warnings, one short table, the main figure; no script, nothing from outside."""
    document = view(report)
    said = _sentences(document)
    figures = document.figures()
    tables = [block for section in document.sections for block in section.blocks if isinstance(block, Table)]
    body = [*said]
    body += [html_table(tables[0], _ROWS)] if tables else _told(document)
    if figures:
        body.append(_figure(figures[0][1]))
    body.append(f'<p class="made">{text(document.made_by)}</p>')
    dark = '[data-jp-theme-light="false"] .gradscope,.vscode-dark .gradscope'
    style = f".gradscope{{{_LIGHT}}}{dark}{{{_DARK}}}{_LOOK}{STYLE}"
    return f'<div class="gradscope"><style>{style}</style>{"".join(body)}</div>'


def _sentences(document: Document) -> list[str]:
    """The verdict of every source, then the first warnings."""
    verdicts, warnings = [], []
    for section in document.sections:
        who = f"{section.heading}: " if section.heading else ""
        for block in section.blocks:
            if isinstance(block, Sentence) and block.role == "verdict":
                verdicts.append(f'<p class="verdict {block.tone}">{text(who + block.text)}</p>')
            elif isinstance(block, Sentence) and block.role == "warning":
                warnings.append(f'<p class="{block.tone}">{text(block.text)}</p>')
    return [
        *verdicts[:_SOURCES],
        *_left_out(len(verdicts) - _SOURCES, "results"),
        *warnings[:_WARNINGS],
        *_left_out(len(warnings) - _WARNINGS, "warnings"),
    ]


def _told(document: Document) -> list[str]:
    """Sections that say in sentences what others say in a table: the claims."""
    told = [
        (section.heading, [one for one in section.blocks if isinstance(one, Sentence) and one.role == "note"])
        for section in document.sections
        if section.heading
    ]
    shown = [
        f"<h4>{text(heading)}</h4>" + "".join(f"<p>{text(sentence.text)}</p>" for sentence in sentences)
        for heading, sentences in told[:_SOURCES]
        if sentences
    ]
    return [*shown, *_left_out(len(told) - _SOURCES, "sections")]


def _left_out(n: int, what: str) -> list[str]:
    return [f'<p class="made">… {n} more {what}: see report.results</p>'] if n > 0 else []


def _figure(figure: Figure) -> str:
    if isinstance(figure, LineFigure):
        figure = replace(figure, curves=tuple(thinned(curve, _POINTS) for curve in figure.curves))
    # Cells of one notebook are one page: names of parts of a figure must not meet those of another figure.
    prefix = f"g{hashlib.sha256(repr(figure).encode()).hexdigest()[:10]}"
    drawn, height = figure_svg(figure, prefix=prefix)
    return f'<svg viewBox="0 0 {WIDTH} {height}">{drawn}</svg>'
