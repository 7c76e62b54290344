"""What a file holds: a line per module, then every fact with where it comes from."""

from __future__ import annotations

from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, Document, Section, Sentence, Table
from gradscope.reports.numbers import count
from gradscope.reports.reading import labels
from gradscope.reports.views.common import about_source, cell, document, warnings_of

_OVERVIEW = ("module", "cell", "layer", "direction", "input_size", "hidden_size", "gates", "biases", "dtype")
_DETAILED = 4


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """List the modules; a few (or all, with ``verbose``) are shown with all their facts."""
    sections = []
    for name, result in zip(labels(report), report.results, strict=True):
        blocks: list[Block] = [Sentence(f"{count(result.n_rows, 'recurrent module')}.", "verdict")]
        blocks.append(_overview(result))
        if verbose or result.n_rows <= _DETAILED:
            blocks += _facts(result)
        # What there is none of (modules without a name, chains, skipped arrays) takes no line.
        rest = [(key.replace("_", " "), cell(value)) for key, value in result.summary.items()]
        lines = tuple((key, text) for key, text in rest if text.strip())
        blocks.append(Table("", (Column("", "left"), Column("", "left", wrap=True)), lines))
        blocks += warnings_of(result)
        sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, "What the source holds", sections)


def _overview(result: Result) -> Table:
    names = [name for name in _OVERVIEW if name in result.columns]
    columns = tuple(Column(name.replace("_size", ""), "left", 0 if i < 6 else i) for i, name in enumerate(names))
    rows = tuple(tuple(cell(row[name]) for name in names) for row in result.rows())
    return Table("Modules", columns, rows)


def _facts(result: Result) -> list[Block]:
    tables: list[Block] = []
    for row in result.rows():
        lines = tuple((name.replace("_", " "), cell(value)) for name, value in row.items() if name not in _OVERVIEW[:4])
        where = f"{row.get('module') or '(top level)'}, layer {row.get('layer')}, {row.get('direction')}"
        tables.append(Table(cell(where), (Column("", "left"), Column("", "left", wrap=True)), lines))
    return tables
