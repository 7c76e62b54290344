"""Text for a person: sentences and tables in a terminal of any width, complete and uncropped everywhere else."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from gradscope.records import Report
from gradscope.reports.document import ANSWERS, GATES, Document, Section, Sentence, Table
from gradscope.reports.numbers import to_ascii
from gradscope.reports.views import view

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {"good": "green", "bad": "red", "mixed": "yellow", "dim": "dim", "plain": ""}
_GAP = 2
_PROSE = 20  # columns a folded column of prose needs to stay readable
_UNBOUNDED = 1_000_000


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Columns to lay a table out for: COLUMNS if set, the terminal's width, None where there is no terminal.

    None means complete at any width: nothing is dropped, shrunk or wrapped.
    """
    stream = sys.stdout if stream is None else stream
    if not stream.isatty():
        return None
    asked = os.environ.get("COLUMNS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def wants_color(choice: str = "auto", stream: TextIO | None = None) -> bool:
    """Whether to colour: ``always`` beats everything, then NO_COLOR, FORCE_COLOR, TERM=dumb, then the terminal."""
    if choice in ("always", "never"):
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return os.environ["FORCE_COLOR"] != "0"
    stream = sys.stdout if stream is None else stream
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def wants_unicode(stream: TextIO | None = None) -> bool:
    """Whether the stream can carry signs beyond ASCII."""
    stream = sys.stdout if stream is None else stream
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("_", "-")
    return os.environ.get("TERM") != "dumb" and encoding.startswith("utf")


def render(
    report: Report, *, width: int | None = None, color: bool = False, unicode: bool = True, verbose: bool = False
) -> str:
    """Render a report as text.

    Parameters
    ----------
    width : int or None
        Columns of the terminal; the least important columns of a table are left out (and named) where it is narrow.
        None writes everything.
    unicode : bool
        False spells every sign in ASCII.
    verbose : bool
        All details of each source where several stand side by side.
    """
    document = view(report, verbose=verbose, figures=False)
    return render_document(document, width=width, color=color, unicode=unicode, verbose=verbose)


def render_document(document: Document, *, width: int | None, color: bool, unicode: bool, verbose: bool = False) -> str:
    """Render blocks as text, the answer last; figures are left to ``terminal_plot``.

    The environment and the command are given where everything is asked for; else the seed and version alone.
    """
    from rich.console import Console

    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=width or _UNBOUNDED,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        _environ={},  # every choice was made above: rich is not to look again
    )
    sections = [section if verbose else _without_details(section) for section in document.sections]
    written = [section for section in sections if any(isinstance(b, Sentence | Table) for b in section.blocks)]
    about = [section for section in written if section.subheading]
    telling = _telling(written)
    for section in written:
        if len(telling) > 1 and not section.subheading and section in telling and _only_answers(section):
            continue  # it is named with its answer, below
        if buffer.tell():
            _line(console, "", unicode)
        origin = document.origin if not verbose and about == [section] else ""
        _section(console, section, width, unicode, origin, section in telling)
    if verbose or len(about) != 1:
        if buffer.tell():
            _line(console, "", unicode)
        _line(console, document.made_by if verbose else document.origin, unicode, "dim")
    if verbose and document.reproduce:
        _line(console, document.reproduce, unicode, "dim")
    _line(console, "", unicode)
    for sentence in _answer(telling):
        _line(console, sentence.text, unicode, _style(sentence))
    text = "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))
    return text if unicode else to_ascii(text)


def _without_details(section: Section) -> Section:
    kept = tuple(b for b in section.blocks if not (isinstance(b, Sentence | Table) and b.detail))
    return replace(section, blocks=kept)


def _telling(sections: Sequence[Section]) -> list[Section]:
    """The sections whose verdicts stand last: the gates', then the overall one, else that of every source."""
    gates = [section for section in sections if section.heading == GATES]
    overall = [section for section in sections if not section.heading and _answers(section)]
    return [*gates, *(overall or (section for section in sections if section not in gates))]


def _answer(telling: Sequence[Section]) -> list[Sentence]:
    """What a reader of a terminal sees last; a verdict carries the name of its source where there are several."""
    sources = [section for section in telling if section.heading not in ("", GATES)]
    out = []
    for section in telling:
        named = section in sources and len(sources) > 1
        for sentence in sorted(_answers(section), key=lambda block: block.role != "code"):
            said = f"{section.heading}: {sentence.text}" if named and sentence.role == "verdict" else sentence.text
            out.append(replace(sentence, text=said))
    return out


def _answers(section: Section) -> list[Sentence]:
    return [block for block in section.blocks if isinstance(block, Sentence) and block.role in ANSWERS]


def _only_answers(section: Section) -> bool:
    texts = [block for block in section.blocks if isinstance(block, Sentence | Table)]
    return len(_answers(section)) == len(texts)


def _style(sentence: Sentence) -> str:
    style = _STYLES[sentence.tone]
    return f"bold {style}".strip() if sentence.role == "verdict" else "cyan" if sentence.role == "next" else style


def _line(console: Console, text: str, unicode: bool, style: str = "") -> None:
    from rich.text import Text

    console.print(Text(text if unicode else to_ascii(text), style=style, overflow="fold"))


def _section(console: Console, section: Section, width: int | None, unicode: bool, origin: str, moved: bool) -> None:
    if section.heading:
        _line(console, section.heading, unicode, "bold")
    if section.subheading:
        _line(console, _about(section.subheading, origin, width), unicode, "dim")
    above = bool(section.heading or section.subheading)
    for block in section.blocks:
        if isinstance(block, Table) and block.rows:
            if above:
                _line(console, "", unicode)
            _table(console, block, width, unicode)
        elif isinstance(block, Sentence) and not (moved and block.role in ANSWERS):
            _line(console, block.text, unicode, _style(block))
        else:
            continue
        above = True


def _about(subheading: str, origin: str, width: int | None) -> str:
    """What a source is, and as much of how it was run as fits on the same line: the seed before the version."""
    parts = [subheading, *(origin.split(", ") if origin else ())]
    while len(parts) > 1 and width is not None and len(", ".join(parts)) > width:
        parts.pop()
    return ", ".join(parts)


def _table(console: Console, table: Table, width: int | None, unicode: bool) -> None:
    from rich.box import Box
    from rich.table import Table as RichTable
    from rich.text import Text

    spell = (lambda text: text) if unicode else to_ascii
    rows = [[spell(text) for text in row] for row in table.rows]
    titles = [spell(column.title) for column in table.columns]
    units = [spell(column.unit) for column in table.columns]
    kept = _fitting(table, titles, units, rows, width)
    rule = "─" if unicode else "-"
    headed = any(titles)
    box = Box(f"    \n    \n {rule}{rule} \n    \n    \n    \n    \n    \n")
    # Without a terminal the table takes its natural width, however wide; on one, a cell too long is folded, not cut.
    drawn = RichTable(
        box=box, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False, show_header=headed, header_style="bold"
    )
    for i in kept:
        column = table.columns[i]
        drawn.add_column(
            _head(titles[i], units[i], under=any(units)),
            justify=column.align,
            overflow="fold",
            no_wrap=width is None or not column.wrap,
        )
    for number, row in enumerate(rows):
        tone = table.tones[number] if number < len(table.tones) else "plain"
        drawn.add_row(*(Text(row[i]) for i in kept), style=_STYLES[tone])
    if table.caption:
        _line(console, table.caption, unicode)
    console.print(drawn)
    dropped = [titles[i].strip() for i in range(len(titles)) if i not in kept and titles[i].strip()]
    if dropped:
        _line(
            console,
            f"Left out at {width} columns: {', '.join(dropped)} (a wider window or -f md shows them).",
            unicode,
        )


def _head(title: str, unit: str, *, under: bool) -> Text:
    from rich.text import Text

    return Text.assemble(title, *([("\n" + unit, "not bold dim")] if under else []))


def _fitting(
    table: Table, titles: Sequence[str], units: Sequence[str], rows: Sequence[Sequence[str]], width: int | None
) -> list[int]:
    from rich.cells import cell_len

    kept = list(range(len(titles)))
    if width is None:
        return kept
    natural = [max(cell_len(text) for text in (titles[i], units[i], *(row[i] for row in rows))) for i in kept]
    natural = [min(n, _PROSE) if table.columns[i].wrap else n for i, n in enumerate(natural)]

    def total(columns: Sequence[int]) -> int:
        return sum(natural[i] for i in columns) + _GAP * (len(columns) - 1)

    droppable = sorted((i for i in kept if table.columns[i].priority), key=lambda i: -table.columns[i].priority)
    for i in droppable:
        if total(kept) <= width:
            break
        kept.remove(i)
    return kept
