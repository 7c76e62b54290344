"""Write docs/commands.md from the commands' own --help; ``--check`` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gradscope.cells import CELLS, keys_of_cells
from gradscope.cells.keys import Key
from gradscope.cli.group import VERBS, cli, load_verb
from gradscope.sources.spec import FILE_KEYS, LAYER_KEYS, READOUT_KEYS, SEQ2SEQ_FILE_KEYS, SEQ2SEQ_KEYS, WEIGHT_KEYS

TARGET = Path(__file__).with_name("commands.md")
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


if __name__ == "__main__":
    text = reference()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text(encoding="utf-8") != text:
            sys.exit("docs/commands.md is not what --help says: run python docs/make_reference.py")
    else:
        TARGET.write_text(text, encoding="utf-8")
