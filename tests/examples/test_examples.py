"""Every example runs, and completion scripts are there; CI files are run in test_ci_files.py."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest

from gradscope.cli import run

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [name])
    code: object = 0
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    except SystemExit as end:
        code = end.code
    assert code in (0, None)
    assert capsys.readouterr().out.strip()


def write_model(folder: Path, gain: float) -> None:
    """An lstm whose forget gates are open (gain 1) or shut (gain −1)."""
    safetensors = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(1)
    bias = np.zeros(32, dtype=np.float32)
    bias[8:16] = 3.0 * gain
    arrays = {
        "rnn.weight_ih_l0": 0.3 * rng.standard_normal((32, 5)),
        "rnn.weight_hh_l0": 0.2 * rng.standard_normal((32, 8)),
        "rnn.bias_ih_l0": bias,
        "rnn.bias_hh_l0": 0 * bias,
    }
    safetensors.save_file({k: v.astype(np.float32) for k, v in arrays.items()}, folder / "model.safetensors")
    np.save(folder / "features.npy", rng.standard_normal((40, 5)))


def test_the_configuration_makes_a_bare_command(tmp_path, monkeypatch, capsys) -> None:
    write_model(tmp_path, -1.0)
    text = (EXAMPLES / "ci" / "gradscope.toml").read_text()
    assert tomllib.loads(text)["sources"] == ["model.safetensors"]
    (tmp_path / "gradscope.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert run(["gradients"]) == 1
    assert "horizon" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_there(shell: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("_GRADSCOPE_COMPLETE", f"{shell}_source")
    with pytest.raises(SystemExit) as end:
        run([])
    assert end.value.code == 0
    assert "gradscope" in capsys.readouterr().out
