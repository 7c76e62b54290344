"""The lecture's notebook: six cells, run in order as a kernel runs them, each shows something."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "vanishing_gradients.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    return [one for one in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if one["cell_type"] == kind]


def run_cell(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """What a cell prints, and the value of its last line, which a notebook displays."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, NOTEBOOK.name, "exec"), names)
        value = eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names) if last else None
    return printed.getvalue(), value


@pytest.fixture(scope="module")
def shown() -> list[tuple[str, Any]]:
    names: dict[str, Any] = {}
    return [run_cell("".join(one["source"]), names) for one in cells("code")]


def test_it_is_a_notebook_of_six_cells_without_output():
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    assert len({one["id"] for one in found["cells"]}) == len(found["cells"])
    code = cells("code")
    assert len(code) == 6
    assert all(one["outputs"] == [] and one["execution_count"] is None for one in code)
    minutes = re.findall(r"\((\d+) minutes\)", "".join(line for one in cells("markdown") for line in one["source"]))
    assert sum(map(int, minutes)) == 60


def test_every_cell_shows_a_page_with_a_figure(shown):
    pages = [value._repr_html_() for _, value in shown]
    assert ["<table" in page or "Experiment: " in page for page in pages] == [True] * 6
    assert sum("<svg" in page for page in pages) >= 5
    assert all(len(page) < 200_000 for page in pages)


def test_the_lecture_says_what_is_measured(shown):
    line = re.compile(r"^(\w+) +radius +([\d.]+) +peak 10\^(-?[\d.]+) +(\S+)$", flags=re.MULTILINE)
    eigen = {name: (float(radius), float(peak), verdict) for verdict, radius, peak, name in line.findall(shown[1][0])}
    assert eigen["rnn:gain=1.5"][0] > 1
    assert eigen["rnn:gain=1.5"][2] == "vanishing"  # above one, and it vanishes all the same
    assert eigen["rnn:init=nonnormal,gain=3,hidden=12"][0] == pytest.approx(0, abs=1e-6)
    assert eigen["rnn:init=nonnormal,gain=3,hidden=12"][1] > 1  # every eigenvalue 0, and it first grows tenfold
    reach = re.findall(r"forget bias \d: reaches (> )?(\d+)", shown[3][0])
    assert len(reach) == 6
    assert [int(steps) for _, steps in reach] == sorted(int(steps) for _, steps in reach)
    assert reach[-1][0] == "> "
    learnt = re.findall(r"after +(\d+) steps: ([\d.]+) nats.*back", shown[5][0])
    assert [int(step) for step, _ in learnt] == [0, 25, 50, 100, 200]
    assert [float(loss) for _, loss in learnt] == sorted((float(loss) for _, loss in learnt), reverse=True)
    assert shown[5][1].results[0].summary["need"] == 40
