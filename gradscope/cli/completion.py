"""Shell completion: verbs, options, files, cells, their keys and the keys' values, claims, fields for gates.

Imported only while a shell asks. A candidate that is a whole word ends in a blank; one that goes on (``lstm:``,
``hidden=``, ``folder/``) does not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from gradscope.cli.group import VERBS, load_verb

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n'
    COMPREPLY=($(GRADSCOPE_LINE="${COMP_LINE:0:$COMP_POINT}" GRADSCOPE_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1"))
}
complete -o nospace -F %(complete_func)s %(prog_name)s
"""
_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a found whole open
    (( ! $+commands[%(prog_name)s] )) && return 1
    found=("${(@f)$(GRADSCOPE_LINE="${(j: :)words[1,CURRENT]}" %(complete_var)s=zsh_complete %(prog_name)s)}")
    whole=(${${(M)found:#* }%% })
    open=(${found:#* })
    (( $#whole )) && compadd -- $whole
    (( $#open )) && compadd -S '' -- $open
    (( $#whole + $#open ))
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""
_FISH = """\
function %(complete_func)s
    set -lx GRADSCOPE_LINE (commandline -cp)
    set -lx %(complete_var)s fish_complete
    %(prog_name)s
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Complete(ShellComplete):
    """Completion from the line up to the cursor, which every shell can tell without breaking words at ``:``."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Complete words, and the one being written."""
        line = os.environ.get("GRADSCOPE_LINE", "")
        words = split_arg_string(line)[1:]
        if line[-1:].isspace() or not words:
            return words, ""
        return words[:-1], words[-1]

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Candidates; an option written as ``--name=value`` keeps its head."""
        head = re.match(r"--[\w-]+=", incomplete)
        try:
            found = super().get_completions(list(args), incomplete)
        except Exception:  # a broken configuration file, say: the command itself will complain
            return []
        return [CompletionItem((head.group() if head else "") + item.value, help=item.help) for item in found]

    def complete(self) -> str:
        """One candidate a line."""
        args, incomplete = self.get_completion_args()
        values = [str(item.value) for item in self.get_completions(args, incomplete)]
        return "\n".join(self.written(value, incomplete) for value in values if "\n" not in value)

    def written(self, value: str, incomplete: str) -> str:
        """A candidate as the shell wants it: a whole word ends in a blank."""
        return value if value.endswith(("/", ":", "=", ",")) else value + " "


class _Bash(_Complete):
    name = "bash"
    source_template = _BASH

    def written(self, value: str, incomplete: str) -> str:
        """Quoted, and without what stands before bash's last word break: bash completes from there."""
        breaks = [mark for mark in ":=" if mark in os.environ.get("GRADSCOPE_BREAKS", ":=")]
        cut = max((incomplete.rfind(mark) for mark in breaks), default=-1) + 1
        quoted = re.sub(r"([^\w@%+=:,./~-])", r"\\\1", value[cut:])
        return super().written(quoted, incomplete)


class _Zsh(_Complete):
    name = "zsh"
    source_template = _ZSH


class _Fish(_Complete):
    name = "fish"
    source_template = _FISH

    def written(self, value: str, incomplete: str) -> str:
        """The fish adds the blank itself, after everything but ``/``, ``=``, ``:`` and ``,``."""
        return value


def register() -> None:
    """Make these classes answer the shells, and give every parameter its candidates."""
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)
    for verb in VERBS:
        for parameter in load_verb(verb).params:
            candidates = _CANDIDATES.get(str(parameter.name))
            if candidates is not None:
                setattr(parameter, "shell_complete", partial(_items, candidates))  # noqa: B010 (a method, for mypy)


def _items(
    candidates: Callable[[click.Context, str], Iterable[str]], ctx: click.Context, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(value) for value in candidates(ctx, incomplete) if value.startswith(incomplete)]


def files(ctx: click.Context, incomplete: str) -> list[str]:
    """Files and folders that begin so; hidden ones where a dot was written."""
    start = incomplete.rpartition("/")[2]
    before = incomplete[: len(incomplete) - len(start)]
    try:
        entries = sorted(Path(os.path.expanduser(before) or ".").iterdir())
    except OSError:
        return []
    shown = [entry for entry in entries if start.startswith(".") or not entry.name.startswith(".")]
    return [before + entry.name + ("/" if entry.is_dir() else "") for entry in shown]


def sources(ctx: click.Context, incomplete: str) -> list[str]:
    """Cells and files; behind a colon the keys the source knows, behind ``=`` the values a key takes."""
    from gradscope.sources.spec import BUILT_CELLS

    name, colon, keys = incomplete.partition(":")
    if not colon or not (name in BUILT_CELLS or Path(name).is_file()):
        cells = [cell + end for cell in BUILT_CELLS for end in (("", ":") if incomplete == cell else ("",))]
        return [*cells, *files(ctx, incomplete)]
    written, comma, last = keys.rpartition(",")
    return [f"{name}:{written}{comma}{one}" for one in _keys_or_values(name, written, last)]


def _keys_or_values(name: str, written: str, last: str) -> list[str]:
    from gradscope.sources.spec import BUILT_CELLS, known_keys

    given = dict(part.partition("=")[::2] for part in written.split(",") if part)
    known = known_keys("cell" if name in BUILT_CELLS else "file", name, given)
    key, equals, _ = last.partition("=")
    if not equals:
        return [word + "=" for word in known if word not in given]
    if key not in known:
        return []
    said = known[key].parse.__doc__ or ""
    values = said.removeprefix("one of ").split(", ") if said.startswith("one of ") else []
    values = ["true", "false"] if said == "true or false" else values
    return [f"{key}={value}" for value in values]


def varied(ctx: click.Context, incomplete: str) -> list[str]:
    """Keys of the sweep's source, with their values behind ``=``; and the options of the run that vary."""
    from gradscope.sources.spec import BUILT_CELLS

    # click has parsed nothing yet: an option without its value stands at the end.
    words = [word.partition(":")[0] for word in split_arg_string(os.environ.get("GRADSCOPE_LINE", ""))[2:]]
    name = next((word for word in words if word in BUILT_CELLS or Path(word).is_file()), "rnn")
    key, equals, values = incomplete.partition("=")
    if equals:
        before = incomplete[: len(incomplete) - len(values.rpartition(",")[2])]
        return [before + one.partition("=")[2] for one in _keys_or_values(name, "", f"{key}=")]
    return [*_keys_or_values(name, "", key), "T=", "seed=", "batch=", "epsilon="]


def claims(ctx: click.Context, incomplete: str) -> list[str]:
    """Ids of the article's claims, from the names of their files."""
    names = (entry.name for entry in resources.files("gradscope.article_claims").iterdir())
    return sorted(name[:3].upper() for name in names if re.match(r"c\d\d_.*\.py$", name))


def gate_fields(ctx: click.Context, incomplete: str) -> list[str]:
    """Fields that a gate of this verb may name."""
    from gradscope.fields import ROWS, SUMMARY

    verb = str(ctx.command.name)
    fields = [*SUMMARY.get(verb, ()), *ROWS.get(verb, ())]
    return list(dict.fromkeys(str(one.name) for one in fields))


def figures(ctx: click.Context, incomplete: str) -> list[str]:
    """Names of the figures of this verb; of every verb where a stored report decides."""
    from gradscope.reports.views import FIGURES

    verb = str(ctx.command.name)
    return list(FIGURES.get(verb, dict.fromkeys(name for names in FIGURES.values() for name in names)))


def _or_files(*words: str) -> Callable[[click.Context, str], list[str]]:
    return lambda ctx, incomplete: [*words, *files(ctx, incomplete)]


def _schemas(ctx: click.Context, incomplete: str) -> list[str]:
    from gradscope.fields import VERBS

    return sorted(VERBS)


#: Parameter → candidates; choices of an option complete themselves.
_CANDIDATES: dict[str, Callable[[click.Context, str], Any]] = {
    "sources": sources,
    "vary": varied,
    "names": claims,
    "figures": figures,
    "verb": _schemas,
    "inputs": _or_files("normal", "uniform", "zeros"),
    "state": _or_files("normal"),
    "readout": _or_files("random"),
    **dict.fromkeys(("expect", "fail_on", "warn_on", "value", "columns", "sort"), gate_fields),
    **dict.fromkeys(("target", "tokens", "lengths", "outputs", "config", "store"), files),
    **dict.fromkeys(("results", "base", "new", "baseline", "files", "folder"), files),
}
