"""The documents say what the program does: the command reference is --help, and every shown command runs."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from gradscope.cli import run

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_command_reference_is_what_help_says() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["reference"]()
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == page


def test_every_generated_page_and_schema_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["pages"]()
    assert "api.md" in {path.name for path in made}
    assert [path.name for path, page in made.items() if path.read_text(encoding="utf-8") != page] == []


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
    (folder / "run").mkdir()
    for step in (100, 200):
        shutil.copy(folder / "model.safetensors", folder / "run" / f"step-{step}.safetensors")


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


@pytest.mark.parametrize("page", ["README.md", "docs/quick-start.md"])
def test_shown_output_is_what_the_program_prints(page: str, capsys) -> None:
    """Blocks that hold a verdict are output of the command before them; README's of ``make run``."""
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = [
        (place.start(), place[1]) for place in re.finditer(r"^\$ (gradscope [^\n]*)$", text, flags=re.MULTILINE)
    ]
    blocks = re.finditer(r"^```\w*\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    shown = [block for block in blocks if re.search(r"^(vanishing|exploding|neutral): ", block[1], flags=re.MULTILINE)]
    assert shown
    for block in shown:
        before = [words for start, words in commands if start < block.start()]
        words = before[-1] if before else "gradscope gradients rnn skip forget-gate input-gate lstm"
        assert run(shlex.split(words)[1:]) == 0
        printed = capsys.readouterr().out
        for part in block[1].split("\n\n"):
            assert part.strip("\n") in printed
