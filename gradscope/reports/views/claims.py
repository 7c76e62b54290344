"""The article's claims: what it says, what was measured, what the right statement predicts, and whether they agree."""

from __future__ import annotations

from gradscope.records import Report
from gradscope.reports.document import Block, Column, Document, Section, Sentence, Table, Tone
from gradscope.reports.numbers import fixed, printable
from gradscope.reports.views.common import document, generic_table, short_cell, warnings_of


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """One row per claim; the tables of the experiments with ``verbose``."""
    sections = []
    for result in report.results:
        rows = list(result.rows())
        off = [row for row in rows if row.get("agrees") is False]
        said = (
            f"All {len(rows)} measurements agree with the right statement."
            if not off
            else f"{len(off)} of {len(rows)} measurements disagree with the prediction: "
            + ", ".join(str(row.get("id")) for row in off)
            + "."
        )
        words = [str(row.get("verdict")) for row in rows]
        tally = ", ".join(f"{words.count(word)} {word}" for word in ("true", "conditional", "false") if word in words)
        blocks: list[Block] = [
            Sentence(said, "verdict", "bad" if off else "good"),
            Sentence(f"Of the article's claims measured, as stated: {tally}."),
        ]
        columns = (
            Column("id", "left"),
            Column("the article says", "left", wrap=True),
            Column("verdict", "left"),
            Column("measured", "left", wrap=True),
            Column("expected", "left", wrap=True),
            Column("agrees", "left"),
            Column("s", "right", 1, "seconds"),
        )
        cells = tuple(
            (
                *(printable(short_cell(row.get(k))) for k in ("id", "claim", "verdict", "measured", "expected")),
                "yes" if row.get("agrees") else "NO",
                fixed(row.get("seconds"), 1),
            )
            for row in rows
        )
        tones: tuple[Tone, ...] = tuple("plain" if row.get("agrees") else "bad" for row in rows)
        blocks.append(Table("Claims", columns, cells, tones))
        if verbose:
            for claim, experiment in result.details.get("experiments", {}).items():
                blocks.append(generic_table(str(claim), list(experiment[0]) if experiment else [], experiment))
        blocks += warnings_of(result)
        sections.append(Section("", tuple(blocks)))
    return document(report, "The article's claims, measured", sections)
