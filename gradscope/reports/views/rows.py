"""Rows of a verb this version has no view for: shown as they are."""

from __future__ import annotations

from gradscope.records import Report
from gradscope.reports.document import Block, Document, Section
from gradscope.reports.reading import labels
from gradscope.reports.views.common import about_source, document, generic_table, warnings_of


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """Show every row of every result."""
    sections = []
    for name, result in zip(labels(report), report.results, strict=True):
        blocks: list[Block] = [generic_table("", list(result.columns), result.rows()), *warnings_of(result)]
        sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, report.verb, sections)
