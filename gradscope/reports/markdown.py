"""Markdown for a pull-request comment or a step summary: the same blocks as the table, in GitHub's dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from gradscope.records import Report
from gradscope.reports.document import Document, Sentence, Table
from gradscope.reports.numbers import to_ascii
from gradscope.reports.views import view

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~$])")


def escape(text: str) -> str:
    r"""Keep a text from being read as Markdown, HTML or a mention.

    >>> escape("W[hh] <b> a|b @you")
    'W\\[hh\\] \\<b\\> a\\|b &#64;you'
    """
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("@", "&#64;")


def render(report: Report, *, unicode: bool = True, verbose: bool = False, gates_first: bool = False) -> str:
    """Render a report as Markdown."""
    document = view(report, verbose=verbose, figures=False)
    if gates_first and report.gates:  # every view puts the gates last
        document = replace(document, sections=(document.sections[-1], *document.sections[:-1]))
    return render_document(document, unicode=unicode)


def render_document(document: Document, *, unicode: bool = True) -> str:
    """Render blocks as Markdown."""
    parts = [f"## {escape(document.title)}"]
    for section in document.sections:
        if not any(isinstance(block, Sentence | Table) for block in section.blocks):
            continue
        if section.heading:
            parts.append(f"### {escape(section.heading)}")
        for block in section.blocks:
            if isinstance(block, Sentence) and block.role == "code":
                parts.append(_fenced(block.text, "python"))
            elif isinstance(block, Sentence):
                parts.append(f"**{escape(block.text)}**" if block.role == "verdict" else escape(block.text))
            elif isinstance(block, Table) and block.rows:
                parts.append(_table(block))
        if section.subheading:
            parts.append(f"<sub>{escape(section.subheading)}</sub>")
    if document.reproduce:
        parts.append(_fenced(" ".join(document.reproduce.split()), "sh"))
    parts.append(f"<sub>{escape(document.made_by)}</sub>")
    text = "\n\n".join(parts) + "\n"
    return text if unicode else to_ascii(text)


def _fenced(code: str, language: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def _table(table: Table) -> str:
    lines = [f"{escape(table.caption)}\n"] if table.caption else []
    lines.append(_row(column.heading for column in table.columns))
    lines.append("|" + "|".join("---:" if column.align == "right" else ":---" for column in table.columns) + "|")
    lines += [_row(row) for row in table.rows]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join("<br>".join(map(escape, cell.split("\n"))) for cell in cells) + " |"
