"""docs/api.md from the docstrings and signatures of the public names; make_reference.py writes and compares it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import gradscope
import gradscope.torch

#: The functions in the order of a first visit, then the records.
FUNCTIONS = (
    "gradients", "spectrum", "lyapunov", "advise", "series", "inspect", "sweep", "claims",
    "load", "show", "diff", "check", "build",
)  # fmt: skip
RECORDS = ("Report", "Result", "Rows", "GradscopeError")
IN_TORCH = ("capture", "measure", "watch", "Captured", "Watch")

INTRODUCTION = """\
# Python

Generated from the docstrings by `docs/make_reference.py`; `make docs-check` compares. Every verb of the command line is
a function of the same name; its options are keywords, and the command line's spellings (`lags="0:50:5"`, `memory="1G"`)
are accepted. What is wrong with a name or a value is a sentence in a `GradscopeError`. Importing gradscope imports
neither numpy nor torch; torch is imported by `gradscope.torch` alone, when a function of it is called.

A network is given as

| what | example |
|---|---|
| a string, as on the command line | `"lstm:hidden=64,forget_bias=1"`, `"model.pt:param=encoder"` |
| a `pathlib.Path` | `Path("model.safetensors")` |
| a state dict: names to arrays or tensors | `model.state_dict()`, `dict(numpy.load("w.npz"))`, arrays from JAX |
| a model: anything with `state_dict()` | an `nn.Module` |
| an array (n, n) or (K, n, n) | W_hh alone, or ready step Jacobians |
| a pair of one of these and its keys | `(model, "param=encoder,layer=0")`, `(Path("m.pt"), "direction=forward")` |

What is in memory is read under the names and rules of a file of the same names, and gives the same numbers; what a live
`nn.RNN` says of its nonlinearity is taken from it. `source.sha256` is then over names, types and values. Several
recurrent modules are asked about, as with a file: the candidates are listed with the key that picks one.
[From a training script to an answer](your-network.md) shows it for PyTorch, Keras, ONNX and JAX.

`inputs`, `tokens`, `state`, `target` and `readout` take arrays and tensors where the command line takes files.
`report.command` reproduces the numbers: a command line, or where arrays were given the Python call, in which `model`,
`state_dict`, `inputs`, … stand for them.
"""


def names_of(module: ModuleType) -> set[str]:
    """What a module makes public."""
    return set(module.__all__) - {"__version__"}


def api_reference() -> str:
    """The whole page."""
    public = names_of(gradscope)
    missing = public - {*FUNCTIONS, *RECORDS}
    if missing:
        raise SystemExit(f"docs/make_api.py does not know where {', '.join(sorted(missing))} belongs")
    parts = [INTRODUCTION, "## Functions\n"]
    parts += [function(getattr(gradscope, name), "gradscope", 3) for name in FUNCTIONS if name in public]
    parts.append("## Records\n")
    parts += [record(getattr(gradscope, name)) for name in RECORDS if name in public]
    parts.append(f"## gradscope.torch\n\n{prose(inspect.getdoc(gradscope.torch) or '')}\n")
    for name in IN_TORCH:
        found = getattr(gradscope.torch, name)
        parts.append(record(found) if inspect.isclass(found) else function(found, "gradscope.torch", 3))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def function(found: Callable[..., Any], home: str, level: int) -> str:
    """Heading, signature and docstring of one function."""
    name = found.__name__
    return f"{'#' * level} {home}.{name}\n\n```python\n{signature(found, name)}\n```\n\n{docstring(found)}\n"


def signature(found: Callable[..., Any], name: str) -> str:
    """One line, or one line a parameter where that is too long."""
    described = inspect.signature(found)
    taken = [parameter for parameter in described.parameters.values() if parameter.name not in ("self", "cls")]
    parameters, kinds = [written(parameter) for parameter in taken], [parameter.kind for parameter in taken]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parameters.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    returned = described.return_annotation
    arrow = "" if returned is inspect.Signature.empty else f" -> {str(returned).strip(chr(39))}"
    line = f"{name}({', '.join(parameters)}){arrow}"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {part},\n" for part in parameters) + f"){arrow}"


def written(parameter: inspect.Parameter) -> str:
    """``steps: int = 100``, the annotation as it stands in the source."""
    star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{star}{parameter.name}{kind}{default}"


def record(found: type) -> str:
    """A class: its docstring, its own properties and methods."""
    parts = [f"### {found.__name__}\n", docstring(found), ""]
    for name, member in vars(found).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            parts.append(f"#### {found.__name__}.{name}\n\n{docstring(member)}\n")
        elif isinstance(member, classmethod | staticmethod) or inspect.isfunction(member):
            inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            parts.append(
                f"#### {found.__name__}.{name}\n\n```python\n{signature(inner, name)}\n```\n\n{docstring(inner)}\n"
            )
    return "\n".join(parts)


def docstring(found: object) -> str:
    """A numpydoc docstring as Markdown.

    Raises
    ------
    SystemExit
        There is none.
    """
    raw = inspect.getdoc(found)
    if not raw:
        raise SystemExit(f"{found} has no docstring")
    out = []
    for title, lines in sections(raw.replace("\\\n", "")):
        text = "\n".join(lines).strip("\n")
        if not title:
            out.append(prose(text))
        elif title == "Examples":
            out.append(f"**Examples**\n\n```python\n{re.sub(r'[ ]+# doctest: [+]SKIP', '', text)}\n```")
        else:
            out.append(f"**{title}**\n\n" + "\n".join(entries(lines)))
    return "\n\n".join(out)


def sections(raw: str) -> Iterator[tuple[str, list[str]]]:
    """Parts of a numpydoc docstring: the opening without a title, then each under its own."""
    title, lines = "", list[str]()
    rows = raw.split("\n")
    at = 0
    while at < len(rows):
        if at + 1 < len(rows) and rows[at].strip() and re.fullmatch(r"-{3,}", rows[at + 1]):
            yield title, lines
            title, lines, at = rows[at].strip(), [], at + 2
            continue
        lines.append(rows[at])
        at += 1
    yield title, lines


def entries(lines: list[str]) -> Iterator[str]:
    """``name : type`` with its indented description, as a list."""
    item, text = "", list[str]()
    for line in [*lines, "end"]:
        if line.startswith(" ") or not line.strip():
            text.append(line.strip())
            continue
        if item:
            said = marked(" ".join(filter(None, text)))
            name, colon, kind = item.partition(" : ")
            head = f"`{name}`" + (f" ({marked(kind)})" if colon else "")
            yield f"* {head}: {said}" if said else f"* {head}"
        item, text = line, []


def prose(text: str) -> str:
    """Paragraphs; an indented block after ``::`` is code."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith("    "):
            code = "\n".join(line.removeprefix("    ") for line in paragraph.split("\n"))
            paragraphs.append(f"```python\n{code}\n```")
        elif paragraph.startswith(">>> "):
            paragraphs.append(f"```python\n{paragraph}\n```")
        else:
            paragraphs.append(marked(re.sub(r"::$", ":", paragraph)))
    return "\n\n".join(paragraphs)


def marked(text: str) -> str:
    """Markdown for the roles and literals of a docstring."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`").replace("*sources", "\\*sources")
