"""Rows of a verb this version has no view for: shown as they are."""

from __future__ import annotations

from gradscope.records import Report, Result
from gradscope.reports.document import Block, Document, Section, Sentence
from gradscope.reports.numbers import count
from gradscope.reports.reading import labels, shown_rows
from gradscope.reports.views.common import about_source, document, generic_table, warnings_of
from gradscope.reports.views.gradient_words import answer_blocks


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """Show the columns that were picked, of every row; of gradients by lag, of some, with the answer under them."""
    sections = []
    for name, result in zip(labels(report), report.results, strict=True):
        kept = _shown(report, result, verbose=verbose)
        rows = (row for place, row in enumerate(result.rows()) if place in kept)
        blocks: list[Block] = [generic_table("", list(result.columns), rows, verb=report.verb)]
        if len(kept) < result.n_rows:
            blocks.append(Sentence(f"{len(kept)} of {count(result.n_rows, 'row')}; all of them: -v.", "note", "dim"))
        blocks += warnings_of(result)
        if report.verb == "gradients":
            blocks += answer_blocks(result, report.command if len(report.results) == 1 else ())
        sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, report.verb, sections)


def _shown(report: Report, result: Result, *, verbose: bool) -> set[int]:
    if verbose or report.verb != "gradients" or result.settings.get("sort"):
        return set(range(result.n_rows))
    return set(shown_rows(result))
