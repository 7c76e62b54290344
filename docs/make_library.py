"""docs/library.md: what lies below the verbs, room by room, from docstrings and signatures as they stand in the source.

Nothing is imported, so that the page needs neither torch nor any extra.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "gradscope"
#: In the order in which a gradient comes about; what is missing here follows in alphabetical order.
ROOMS = (
    "cells", "jacobians", "networks", "numerics", "linalg", "theory", "sources", "analysis", "advice", "training",
    "sweeps", "article_claims", "example", "torch", "records", "fields", "reports", "cli",
)  # fmt: skip

INTRODUCTION = """\
# The library below the verbs

Generated from docstrings by `docs/make_reference.py`; `make docs-check` compares. [api.md](api.md) has the functions
that a script needs; this page is for whoever wants a part of the machinery: a tape of their own, one bound, one reader.
Names without a leading underscore may be used; those of [api.md](api.md) alone keep their signatures from version to
version.

```python
import numpy as np
from gradscope.numerics.propagate import measure_norms
from gradscope.numerics.tape import tape_of_matrices

jacobians = np.random.default_rng(0).normal(size=(100, 8, 8)) / 8**0.5
print(measure_norms(tape_of_matrices(jacobians)).log10_norm[-1])
```
"""


def library_reference() -> str:
    """The whole page."""
    rooms = sorted((path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()), key=_place)
    return "\n".join([INTRODUCTION, *(line for room in rooms for line in _room(room))]).rstrip() + "\n"


def _place(room: Path) -> tuple[int, str]:
    return (ROOMS.index(room.name) if room.name in ROOMS else len(ROOMS), room.name)


def _room(room: Path) -> Iterator[str]:
    tree = ast.parse((room / "__init__.py").read_text("utf-8"))
    yield f"## gradscope.{room.name}\n\n{_sentence(tree)}\n"
    yield "| module | what it is | public names |\n|---|---|---|"
    for path in sorted(room.rglob("*.py")):
        if path.name.startswith("__"):
            continue
        module = ast.parse(path.read_text("utf-8"))
        name = ".".join(path.relative_to(room).with_suffix("").parts)
        public = ", ".join(f"`{one}`" for one in _public(module))
        yield f"| `{name}` | {_cell(_sentence(module))} | {_cell(public)} |"
    yield ""


def _sentence(tree: ast.Module) -> str:
    """First paragraph of a docstring on one line."""
    return " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split()).replace("``", "`")


def _public(tree: ast.Module) -> Iterator[str]:
    """Functions with their parameters' names, and classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            given = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
            if node.args.vararg:
                given.append(f"*{node.args.vararg.arg}")
            elif node.args.kwonlyargs:
                given.append("*")
            given += [one.arg for one in node.args.kwonlyargs]
            yield f"{node.name}({', '.join(given)})"
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
