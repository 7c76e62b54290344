"""A comparison for a pull request: what got worse first, then the rest, then how much stayed within noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, Document, Section, Sentence, Table, Tone
from gradscope.reports.numbers import count, fixed, printable, significant
from gradscope.reports.reading import labels, number
from gradscope.reports.views.common import cell, document, warnings_of
from gradscope.reports.worse import DECIDING, IGNORED

_TONES: dict[str, Tone] = {"worse": "bad", "better": "good", "changed": "plain", "same": "dim"}


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """Verdict and tables of every source; unchanged fields and all rows with ``verbose``."""
    sections = []
    for name, result in zip(labels(report), report.results, strict=True):
        rows = list(result.rows())
        summary = [row for row in rows if row["where"] == "summary" and (verbose or _tells(row))]
        rest = [row for row in rows if row["where"] != "summary"]
        blocks: list[Block] = [_sentence(result)]
        if summary:
            blocks.append(_table("Summary", summary, where=False))
        if rest:
            blocks.append(_by_field(rest))
        if verbose:
            blocks.append(_table("All rows, the largest change first", rest, where=True))
        blocks += warnings_of(result)
        sections.append(Section(name, tuple(blocks), _between(result)))
    return document(report, "Difference", sections)


def _tells(row: Mapping[str, Any]) -> bool:
    """Whether a summary row is one for a person: what decides, and what changed; ends of intervals stand beside it."""
    return row["field"] in DECIDING or (row["verdict"] != "same" and row["field"] not in IGNORED)


def _between(result: Result) -> str:
    said = []
    for side in ("base", "new"):
        source = result.source.get(side)
        if source:
            digest = f" (sha256 {str(source['sha256'])[:12]})" if source.get("sha256") else ""
            said.append(f"{side} {source.get('name')}{digest}")
    return printable(", ".join(said))


def _sentence(result: Result) -> Sentence:
    verdict = result.summary.get("verdict")
    s: dict[str, int] = {key: int(number(value) or 0) for key, value in result.summary.items()}
    worse, better, changed = s.get("worse", 0), s.get("better", 0), s.get("changed", 0)
    if not (worse or better or changed):
        said = "No change beyond noise" if s.get("same") else "Nothing to compare"
        tone: Tone = "good" if s.get("same") else "mixed"
    else:
        said = f"{count(worse, 'field')} worse, {better} better, {changed} changed without a worse direction"
        tone = "bad" if worse else "good" if better else "plain"
    said += f"; {s.get('same', 0)} the same within noise."
    missing = s.get("only_base", 0) + s.get("only_new", 0)
    if missing:
        said += f" {count(missing, 'row')} on one side only."
    if verdict is not None:
        said = f"{verdict}: {said[:1].lower()}{said[1:]}"
        tones: dict[str, Tone] = {"worse": "bad", "better": "good"}
        tone = tones.get(str(verdict), tone if not worse else "mixed")
    return Sentence(said, "verdict", tone)


def _by_field(rows: list[dict[str, Any]]) -> Table:
    """One line per column: how many of its rows changed, and the largest change among them."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:  # the largest come first
        first.setdefault(str(row["field"]), row)
    words = {field: [str(row["verdict"]) for row in rows if row["field"] == field] for field in first}
    columns = [
        Column("field", "left"),
        Column("worse"),
        Column("better"),
        Column("changed"),
        Column("most at", "left"),
        *_columns_of_a_change(),
    ]
    cells = tuple(
        (
            field,
            *(str(words[field].count(word)) for word in ("worse", "better", "changed")),
            str(row["where"]),
            *_cells(row)[1:],
        )
        for field, row in first.items()
    )
    tones = tuple(_TONES.get(str(row["verdict"]), "plain") for row in first.values())
    return Table("Rows: how many changed, and the largest change of each column", tuple(columns), cells, tones)


def _columns_of_a_change() -> list[Column]:
    noise = "95 % of the difference between two measurements of the same thing"
    percent = "change in per cent of base"
    ends = [Column("base"), Column("new"), Column("change"), Column("%", "right", 1, percent)]
    return [*ends, Column("noise", "right", 2, noise), Column("", "left")]


def _table(caption: str, rows: list[dict[str, Any]], *, where: bool) -> Table:
    columns = [Column("where", "left")] if where else []
    columns += [Column("field", "left"), *_columns_of_a_change()]
    cells = tuple((*((str(row["where"]),) if where else ()), *_cells(row)) for row in rows)
    tones = tuple(_TONES.get(str(row["verdict"]), "plain") for row in rows)
    return Table(caption, tuple(columns), cells, tones)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    base, new = row["base"], row["new"]
    # Both sides get the digits that keep them apart: a change never prints as no change.
    apart = row["change"] and number(base) is not None
    middle = [(base + new) / 2] if apart else []
    moved, share = row["change"], row.get("change_percent")
    change = "-" if moved is None else "0" if moved == 0 else fixed(number(moved), 3, against=[0.0], sign=True)
    percent = "-" if share is None else "0" if share == 0 else fixed(number(share), 1, against=[0.0], sign=True)
    noise = "-" if row["noise"] is None else significant(row["noise"], 2)
    return (str(row["field"]), _side(base, middle), _side(new, middle), change, percent, noise, str(row["verdict"]))


def _side(value: Any, middle: list[float]) -> str:
    return significant(value, 5, against=middle) if isinstance(value, float) else cell(value)
