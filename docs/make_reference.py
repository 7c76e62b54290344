"""Write docs/commands.md and docs/man from --help, docs/api.md and docs/library.md from docstrings, docs/fields.md and
the JSON Schemas from the field table.

``--check`` only compares.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import click

import gradscope
from gradscope import fields
from gradscope.cells import CELLS, keys_of_cells
from gradscope.cells.keys import Key
from gradscope.cli.group import VERBS, cli, load_verb
from gradscope.reports.schemas import generate
from gradscope.sources.spec import FILE_KEYS, LAYER_KEYS, READOUT_KEYS, SEQ2SEQ_FILE_KEYS, SEQ2SEQ_KEYS, WEIGHT_KEYS

DOCS = Path(__file__).parent
SCHEMAS = Path(gradscope.__file__).parent / "reports" / "schemas"
#: Help is wrapped at this width, whatever terminal generates it.
WIDTH = 100


def help_text(command: click.Command, name: str) -> str:
    """``--help`` of one command, as a terminal of WIDTH columns shows it."""
    parent = click.Context(cli, info_name="gradscope", **cli.context_settings)
    parent.terminal_width = WIDTH
    context = parent if command is cli else click.Context(command, info_name=name, parent=parent)
    context.terminal_width = WIDTH
    return command.get_help(context)


def shown_default(value: object) -> str:
    """true, 1, gaussian; empty for None. A number is not looked up among the booleans, as 1 == True."""
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def key_table(keys: dict[str, Key], *, with_cells: bool = False) -> str:
    """A Markdown table of source keys, with the cells that declare each if asked for."""
    lines = [
        f"| key |{' cells |' * with_cells} default | wanted | meaning |",
        "|---|---|---|---|" + "---|" * with_cells,
    ]
    for name, key in keys.items():
        cells = ", ".join(cell for cell, kind in CELLS.items() if name in kind.declared_keys())
        row = [
            f"`{name}`",
            *([cells] if with_cells else []),
            shown_default(key.default),
            key.parse.__doc__,
            key.meaning,
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def reference() -> str:
    """The whole page."""
    parts = [
        "# Command reference\n\nGenerated from `--help` by `docs/make_reference.py`; `make docs-check` compares.\n",
        f"## gradscope\n\n```\n{help_text(cli, 'gradscope')}\n```\n",
    ]
    parts += [f"## gradscope {name}\n\n```\n{help_text(load_verb(name), name)}\n```\n" for name in VERBS]
    parts.append("## Source keys\n\n`SOURCE := CELL[:key=value,...] | PATH[:key=value,...]`\n")
    parts.append(f"### Built networks\n\n{key_table({**WEIGHT_KEYS, **LAYER_KEYS, **READOUT_KEYS})}\n")
    parts.append(f"### What cells add\n\n{key_table(keys_of_cells(), with_cells=True)}\n")
    parts.append(f"### seq2seq, in addition\n\n{key_table(SEQ2SEQ_KEYS)}\n")
    parts.append(f"### Files\n\n{key_table(FILE_KEYS)}\n")
    parts.append(f"### Files with cell=seq2seq, in addition\n\n{key_table(SEQ2SEQ_FILE_KEYS)}\n")
    return "\n".join(parts)


def field_table(rows: tuple[fields.Field, ...]) -> str:
    """A Markdown table of one part of one verb."""
    lines = ["| field | unit | meaning | a null means | better |", "|---|---|---|---|---|"]
    for field in rows:
        words = f" ({', '.join(field.words)})" if field.words else ""
        cells = (f"`{field.name}`", field.unit, f"{field.title}: {field.meaning}{words}", field.null, field.better)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def field_reference() -> str:
    """The page of all fields."""
    parts = [
        "# Fields\n\nEvery number a report can hold, generated from `gradscope/fields` by `docs/make_reference.py`. "
        "A null is never 0. Gates may name any of them that is a number or a word.\n"
    ]
    for verb in fields.VERBS:
        if verb == "sweep":
            parts.append("## sweep\n\nRows: the varied keys, then the summary fields of what was measured.\n")
            continue
        parts.append(f"## {verb}\n\nRows:\n\n{field_table(fields.ROWS[verb])}\n")
        parts.append(f"Summary:\n\n{field_table(fields.SUMMARY[verb])}\n")
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """Everything that is generated, by its place."""
    texts = {
        DOCS / "commands.md": reference(),
        DOCS / "fields.md": field_reference(),
        DOCS / "api.md": runpy.run_path(str(DOCS / "make_api.py"))["api_reference"](),
        DOCS / "library.md": runpy.run_path(str(DOCS / "make_library.py"))["library_reference"](),
    }
    manual = runpy.run_path(str(DOCS / "make_man.py"))["pages"]()
    texts |= {DOCS / "man" / name: text for name, text in manual.items()}
    return texts | {SCHEMAS / name: text for name, text in generate.files().items()}


if __name__ == "__main__":
    made = pages()
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
        if stale:
            sys.exit(f"{', '.join(stale)}: not what the program says; run python docs/make_reference.py")
    else:
        for path, text in made.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
