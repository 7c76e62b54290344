"""The article's claims in sentences: what it says, the experiment, what was seen, what is true instead.

The numbers themselves stand in tables: on a page, and with ``verbose``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, Curve, Document, LineFigure, Section, Sentence, Table, Tone
from gradscope.reports.numbers import fixed, printable
from gradscope.reports.views.common import document, generic_table, short_cell, warnings_of

#: What a claim's section says, in this order; reports of older versions hold the numbers alone.
_SENTENCES = (("Experiment", "method"), ("Seen", "seen"), ("In fact", "in_fact"))
_NUMBERS = (("Measured", "measured"), ("Expected", "expected"))


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """A section per claim, and what they come to; the numbers with ``verbose``."""
    sections = []
    for result in report.results:
        rows = list(result.rows())
        sections.append(Section("", (*_overall(rows), *warnings_of(result)), label="All claims"))
        sections += [_claim(row, result, verbose=verbose, figures=figures) for row in rows]
        sections += [Section("The numbers", (_numbers(rows),))] if verbose else []
    return document(report, "The article's claims, measured", sections)


def _overall(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """How many came out as predicted, and what the article's statements are worth."""
    off = [str(row.get("id")) for row in rows if row.get("agrees") is False]
    said = "The measurement agrees" if len(rows) == 1 else f"All {len(rows)} measurements agree"
    said += " with the right statement."
    if off:
        said = f"{len(off)} of {len(rows)} measurements disagree with the prediction: {', '.join(off)}."
    words = [str(row.get("verdict")) for row in rows]
    tally = ", ".join(f"{words.count(word)} {word}" for word in ("true", "conditional", "false") if word in words)
    return [
        Sentence(said, "verdict", "bad" if off else "good"),
        Sentence(f"As the article states them: {tally}.", "answer"),
    ]


def _claim(row: Mapping[str, Any], result: Result, *, verbose: bool, figures: bool) -> Section:
    name = str(row.get("id"))
    told = _SENTENCES if any(row.get(key) for _, key in _SENTENCES) else _NUMBERS
    blocks: list[Block] = [
        Sentence(f"{word}: {printable(str(row[key]))}") for word, key in told if row.get(key) is not None
    ]
    if row.get("agrees") is False:
        blocks.append(Sentence("This did not come out as predicted.", "warning", "bad"))
    if figures:
        blocks += [_figure(drawn) for drawn in result.details.get("figures", {}).get(name, ())]
    experiment = result.details.get("experiments", {}).get(name, ())
    if verbose and experiment:
        table = generic_table(f"{name}: every number beside its prediction", list(experiment[0]), experiment)
        blocks.append(replace(table, folded=True))
    return Section(printable(f"{name} ({row.get('verdict')}): {row.get('claim')}"), tuple(blocks))


def _numbers(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The main numbers of every claim beside what the right statement predicts."""
    columns = (
        Column("id", "left"),
        Column("verdict", "left", meaning="on the article's statement as it stands"),
        Column("agrees", "left", meaning="measurement and right statement"),
        Column("measured", "left", wrap=True),
        Column("expected", "left", wrap=True),
        Column("time", "right", 1, unit="s"),
    )
    cells = tuple(
        (
            str(row.get("id")),
            str(row.get("verdict")),
            "yes" if row.get("agrees") else "NO",
            *(printable(short_cell(row.get(key))) for _, key in _NUMBERS),
            fixed(row.get("seconds"), 1),
        )
        for row in rows
    )
    tones: tuple[Tone, ...] = tuple("plain" if row.get("agrees") else "bad" for row in rows)
    return Table("Measured, beside what the right statement predicts", columns, cells, tones)


def _figure(drawn: Mapping[str, Any]) -> LineFigure:
    """A picture that the experiment left in the report."""
    curves = tuple(
        Curve(
            printable(line["name"]), str(line["role"]), *(tuple(line.get(key, ())) for key in ("x", "y", "low", "high"))
        )
        for line in drawn["lines"]
    )
    title, description, x_label, y_label = (
        printable(drawn[key]) for key in ("title", "description", "x_label", "y_label")
    )
    marks = tuple((printable(name), float(y)) for name, y in drawn["marks"])
    name, powers = str(drawn["name"]), bool(drawn["powers"])
    return LineFigure(title, description, x_label, y_label, curves, marks, name=name, powers=powers)
