"""The documents say what the program does: the command reference is --help, and every shown command runs."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest

from gradscope.cli import run

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_command_reference_is_what_help_says() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["reference"]()
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == page


def shown_commands() -> list[str]:
    """Lines that start with ``$ gradscope`` in code blocks, and the examples of every --help."""
    lines: list[str] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines += re.findall(r"^\s*\$ (gradscope [^\n]*)$", text, flags=re.MULTILINE)
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    lines += re.findall(r"^\s+(gradscope [a-z]+ [^\n]*)$", reference, flags=re.MULTILINE)
    return sorted({line for line in lines if " | " not in line and " > " not in line.replace("'", "")})


def make_files(folder: Path) -> None:
    """The files that the documents speak of."""
    rng = np.random.default_rng(0)
    H, width = 8, 5
    weights = {
        "rnn.weight_ih_l0": rng.standard_normal((4 * H, width)) / 3,
        "rnn.weight_hh_l0": rng.standard_normal((4 * H, H)) / 3,
        "rnn.bias_ih_l0": np.zeros(4 * H),
        "rnn.bias_hh_l0": np.zeros(4 * H),
    }
    np.savez(folder / "model.npz", **weights)
    np.save(folder / "features.npy", rng.standard_normal((40, width)))
    np.save(folder / "jacobians.npy", rng.standard_normal((20, 6, 6)) / 3)
    np.save(folder / "W.npy", rng.standard_normal((6, 6)) / 3)
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file(
        {name: value.astype(np.float32) for name, value in weights.items()}, folder / "model.safetensors"
    )


@pytest.mark.parametrize("line", shown_commands())
def test_every_shown_command_runs(line: str, tmp_path: Path, monkeypatch, capsys) -> None:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line.split("  #")[0])[1:]
    files = [word for word in words if re.search(r"\.(pt|keras|onnx|h5|jsonl?)(:|$)", word)]
    if any(not (tmp_path / word.split(":")[0]).exists() and "-o" not in words for word in files):
        pytest.skip("speaks of a file that the test does not make")
    code = run(words)
    out, err = capsys.readouterr()
    assert code in (0, 1), err  # 1: a gate that the example lets trip
    assert out
