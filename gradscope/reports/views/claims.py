"""The article's claims: what it says, what was measured, what the right statement predicts, and whether they agree."""

from __future__ import annotations

from gradscope.records import Report
from gradscope.reports.document import Block, Column, Document, Section, Sentence, Table, Tone
from gradscope.reports.numbers import fixed, printable
from gradscope.reports.views.common import document, generic_table, short_cell, warnings_of

# Three lines under one another read better in 80 columns than three columns of prose beside one another.
_LINES = (("", "claim"), ("measured: ", "measured"), ("expected: ", "expected"))


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
            Column("verdict", "left"),
            Column("agrees", "left", 0, "measurement and right statement"),
            Column("what the article says, what was measured and expected", "left", wrap=True),
            Column("s", "right", 1, "seconds"),
        )
        cells = tuple(
            (
                str(row.get("id")),
                str(row.get("verdict")),
                "yes" if row.get("agrees") else "NO",
                "\n".join(f"{word}{printable(short_cell(row.get(key)))}" for word, key in _LINES),
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
