"""The manual pages, from the click commands; make_reference.py writes and compares them, the wheel installs them."""

from __future__ import annotations

import re

import click

from gradscope._version import __version__
from gradscope.cells import keys_of_cells
from gradscope.cli.group import VERBS, cli, load_verb
from gradscope.sources.spec import BUILT_CELLS, FILE_KEYS, LAYER_KEYS, READOUT_KEYS, WEIGHT_KEYS

#: A date would change the pages with every build; the version says which program it is.
_FOOT = f'"" "gradscope {__version__}" "gradscope manual"'
EXIT_CODES = {
    "0": "fine",
    "1": "a gate failed",
    "2": "the question was wrong",
    "3": "the input cannot be read, the output cannot be written, or the numbers cannot be trusted",
    "129, 130, 143": "hung up, interrupted, terminated",
    "141": "the reader of a pipe has gone",
}


def pages() -> dict[str, str]:
    """``gradscope.1`` and a page for each verb."""
    return {"gradscope.1": _overview()} | {f"gradscope-{verb}.1": _verb(verb, load_verb(verb)) for verb in VERBS}


def _overview() -> str:
    verbs = "".join(f".TP\n\\fBgradscope\\-{verb}\\fR(1)\n{roff(text)}\n" for verb, (_, text) in VERBS.items())
    return (
        _head("gradscope", "gradient dynamics in recurrent networks")
        + ".SH SYNOPSIS\n\\fBgradscope\\fR \\fIVERB\\fR [\\fIoptions\\fR] [\\fISOURCE\\fR...]\n"
        + f".SH DESCRIPTION\n{_paragraphs(cli)}"
        + f".SH VERBS\n{verbs}"
        + _sources()
        + _options(cli, "gradscope")
        + _examples(cli)
        + _exit_status()
    )


def _sources() -> str:
    """The grammar of sources, with every key."""
    parts = {
        "Keys of built networks": WEIGHT_KEYS | LAYER_KEYS | READOUT_KEYS | keys_of_cells(),
        "Keys of files": FILE_KEYS,
    }
    cells = ", ".join(roff(cell) for cell in BUILT_CELLS)
    text = f".SH SOURCES\n.TP\n\\fICELL\\fR[:\\fIkey\\fR=\\fIvalue\\fR,...]\na network built here: {cells}\n"
    text += ".TP\n\\fIPATH\\fR[:\\fIkey\\fR=\\fIvalue\\fR,...]\nweights, or Jacobians, read from a file\n"
    for title, keys in parts.items():
        listed = "".join(f".TP\n\\fB{roff(name)}\\fR\n{roff(key.meaning)}\n" for name, key in keys.items())
        text += f".SS {title}\n{listed}"
    return text


def _verb(verb: str, command: click.Command) -> str:
    others = ", ".join(f"\\fBgradscope\\-{name}\\fR(1)" for name in VERBS if name != verb)
    parent = click.Context(cli, info_name="gradscope", **cli.context_settings)
    usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=verb, parent=parent)))
    return (
        _head(f"gradscope-{verb}", VERBS[verb][1].rstrip("."))
        + f".SH SYNOPSIS\n\\fBgradscope {verb}\\fR {roff(usage)}\n"
        + f".SH DESCRIPTION\n{_paragraphs(command)}"
        + _options(command, verb)
        + _examples(command)
        + _exit_status()
        + f".SH SEE ALSO\n\\fBgradscope\\fR(1), {others}\n"
    )


def _head(name: str, says: str) -> str:
    return (
        f'.TH "{name.upper()}" "1" {_FOOT}\n.nh\n.ad l\n.SH NAME\n{roff(name)} \\- {roff(says[0].lower() + says[1:])}\n'
    )


def _paragraphs(command: click.Command) -> str:
    text = (command.help or "").split("\f")[0].strip()
    return ".PP\n".join(roff(" ".join(part.split())) + "\n" for part in text.split("\n\n"))


def _options(command: click.Command, name: str) -> str:
    parent = click.Context(cli, info_name="gradscope", **cli.context_settings)
    context = click.Context(command, info_name=name, parent=parent)
    records = [one.get_help_record(context) for one in command.get_params(context) if isinstance(one, click.Option)]
    shown = "".join(f".TP\n\\fB{roff(names)}\\fR\n{roff(says)}\n" for names, says in filter(None, records))
    return f".SH OPTIONS\n{shown}"


def _examples(command: click.Command) -> str:
    lines = [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    return ".SH EXAMPLES\n.nf\n" + "".join(roff(line) + "\n" for line in lines) + ".fi\n" if lines else ""


def _exit_status() -> str:
    return ".SH EXIT STATUS\n" + "".join(f".TP\n{code}\n{says}\n" for code, says in EXIT_CODES.items())


def roff(text: str) -> str:
    r"""Escape text for roff: backslashes, hyphens that are to stay, letters beyond ASCII, dots that begin a line.

    >>> print(roff("--lags 0:50"))
    \-\-lags 0:50
    """
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(letter if letter.isascii() else f"\\[u{ord(letter):04X}]" for letter in text)
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)
