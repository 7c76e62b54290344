"""The narrow waist, read off the source: who may import whom, imports inside functions included.

Columns that check one another must not share code: what the theory columns hold is computed without the measured
product, and the measurement without weights.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import gradscope

PACKAGE = Path(gradscope.__file__).parent
#: What no room may import, directly or by a detour.
FORBIDDEN = {
    "numerics": {"cells", "networks", "theory", "analysis", "sources"},
    "linalg": {"cells", "networks", "theory", "numerics", "analysis", "sources"},
    "theory": {"numerics", "linalg", "networks", "analysis", "sources"},
    "jacobians": {"cells", "networks", "theory", "numerics", "linalg"},
    "cells": {"networks", "theory", "numerics", "linalg", "sources"},
}
#: All that the reports know of the package: records, the table of fields, and what any module may use.
REPORTS_MAY = {
    "strict_json",
    "reports",
    "records",
    "fields",
    "errors",
    "log_domain",
    "text",
    "remarks",
    "student",
    "_version",
}


@cache
def modules() -> dict[str, Path]:
    """Dotted name to file."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(("gradscope", *parts)).removesuffix(".__init__")] = path
    return found


def imported(tree: ast.AST, known: set[str], *, whole: bool = True) -> set[str]:
    """Modules of the package that a tree imports; ``whole`` counts imports inside functions too."""
    found = set()
    for node in ast.walk(tree) if whole else _at_import_time(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "gradscope"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not read here"
            if node.module and node.module.split(".")[0] == "gradscope":
                # `from room import module` is the module; `from module import name` the module it stands in.
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in known else node.module for name in names}
    return found


def _at_import_time(tree: ast.AST):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _at_import_time(node)


@cache
def graph(*, whole: bool = True) -> dict[str, set[str]]:
    known = set(modules())
    return {
        name: imported(ast.parse(path.read_text(encoding="utf-8")), known, whole=whole) & known - {name}
        for name, path in modules().items()
    }


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "gradscope"


def reached_from(start: str, edges: dict[str, set[str]]) -> dict[str, list[str]]:
    """Every module that a module imports by any detour, with one chain that leads there."""
    chains, open_ = {start: [start]}, [start]
    while open_:
        here = open_.pop()
        for there in sorted(edges[here]):
            if there not in chains:
                chains[there] = [*chains[here], there]
                open_.append(there)
    return chains


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_rooms_that_must_not_know_each_other(name):
    edges = graph()
    wrong = [
        " -> ".join(chain)
        for module in edges
        if room(module) == name
        for there, chain in reached_from(module, edges).items()
        if room(there) in FORBIDDEN[name]
    ]
    assert not wrong, "\n".join(wrong)
    assert any(room(module) == name for module in edges), f"no room {name}: this test sees nothing"


def test_reports_know_records_and_fields_only():
    wrong = [
        f"{module} -> {there}"
        for module, others in graph().items()
        if room(module) == "reports"
        for there in sorted(others)
        if room(there) not in REPORTS_MAY
    ]
    assert not wrong, "\n".join(wrong)


def test_torch_is_imported_in_its_room_only():
    for module, path in modules().items():
        if room(module) == "torch":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not any(name.split(".")[0] == "torch" for name in names), module


@pytest.mark.parametrize("whole", [False, True], ids=["at import time", "inside functions too"])
def test_no_cycles(whole):
    """Neither while modules load, nor with what functions import later: a room that needs another has one below it."""
    edges = graph(whole=whole)
    # The package itself hands out the public functions, which nothing below it imports.
    cycles = []
    for module in edges:
        for there in edges[module]:
            chain = reached_from(there, edges).get(module)
            if chain:
                cycles.append(" -> ".join([module, *chain]))
    assert not cycles, "\n".join(sorted(cycles, key=len)[:5])


def test_the_reader_of_imports_sees_deferred_ones():
    """The planted error: an import inside a function counts, one inside a string does not."""
    tree = ast.parse('def f():\n    from gradscope.theory import bounds\n"from gradscope.cells import rnn"\n')
    assert imported(tree, set(modules())) == {"gradscope.theory.bounds"}
    assert imported(tree, set(modules()), whole=False) == set()


@pytest.mark.parametrize("room", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_a_rooms_docstring_is_its_table_of_contents(room: str) -> None:
    """What stands before a colon at a line's start is a module or a name of the room."""
    said = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text("utf-8"))) or ""
    lines = re.findall(r"^((?:``[a-z_0-9]+``, )*``[a-z_0-9]+``):", said, flags=re.MULTILINE)
    listed = re.findall(r"``([a-z_0-9]+)``", " ".join(lines))
    source = "".join(path.read_text("utf-8") for path in (PACKAGE / room).glob("*.py"))
    missing = [name for name in listed if not (PACKAGE / room / f"{name}.py").exists() and f"def {name}(" not in source]
    assert not missing
