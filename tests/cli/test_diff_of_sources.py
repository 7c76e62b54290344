"""``diff`` of sources: both are measured alike, and compared as stored results are."""

import json
from pathlib import Path

import numpy as np
import pytest

import gradscope
from gradscope.cli import run
from gradscope.errors import UsageError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def checkpoint(name, forget_bias, *, both_ways=False, prefix=""):
    rng = np.random.default_rng(0)
    arrays = {}
    for suffix in ("", "_reverse") if both_ways else ("",):
        for key, shape in (("weight_ih", (32, 3)), ("weight_hh", (32, 8)), ("bias_ih", (32,)), ("bias_hh", (32,))):
            arrays[f"{prefix}{key}_l0{suffix}"] = rng.uniform(-0.3, 0.3, shape)
        arrays[f"{prefix}bias_hh_l0{suffix}"][8:16] += forget_bias
    np.savez(name, **arrays)


def compared(capsys, *words):
    code = run(["diff", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_two_checkpoints_are_measured_and_compared(capsys):
    checkpoint("a.npz", 1.0)
    checkpoint("b.npz", -1.0)
    gate = ["--fail-on", "change_percent@field=horizon < -20"]
    code, measured = compared(capsys, "a.npz", "b.npz", "-T", "60", "--batch", "2", *gate)
    assert code == 1
    assert measured["results"][0]["summary"]["verdict"] == "worse"
    for name in "ab":
        assert run(["gradients", f"{name}.npz", "-T", "60", "--batch", "2", "-o", f"{name}.json", "-q"]) == 0
    capsys.readouterr()
    for pair in (("a.json", "b.json"), ("a.json", "b.npz"), ("a.npz", "b.json")):
        options = [] if pair == ("a.json", "b.json") else ["-T", "60", "--batch", "2"]
        code, stored = compared(capsys, *pair, *options, *gate)
        assert code == 1
        assert stored["results"] == measured["results"]
    assert compared(capsys, "b.npz", "b.npz", "-T", "60", *gate)[0] == 0


def test_layers_and_directions_meet_whatever_the_files_are_called(capsys):
    checkpoint("step-0.npz", 1.0, both_ways=True)
    checkpoint("step-9.npz", -1.0, both_ways=True)
    _, report = compared(capsys, "step-0.npz", "step-9.npz", "-T", "40")
    assert [r["source"]["name"] for r in report["results"]] == [
        "step-9.npz layer 0 forward",
        "step-9.npz layer 0 backward",
    ]
    assert all(r["summary"]["verdict"] == "worse" for r in report["results"])
    assert all(r["source"]["base"]["name"] == "step-0.npz" for r in report["results"])


def test_options_that_change_nothing_are_refused(capsys):
    checkpoint("a.npz", 1.0)
    run(["gradients", "a.npz", "-T", "20", "-o", "a.json", "-q"])
    capsys.readouterr()
    for option in (["-T", "50"], ["--epsilon", "0.1"], ["--inputs", "zeros"]):
        assert run(["diff", "a.json", "a.json", *option]) == 2
        assert "both are stored results" in capsys.readouterr().err
    assert run(["diff", "a.json", "a.json", "-f", "md"]) == 0
    capsys.readouterr()
    assert run(["diff", "a.json", "none.json"]) == 3
    assert "none.json: cannot be read" in capsys.readouterr().err
    assert run(["diff", "a.npz", "none.npz"]) == 3
    assert "none.npz" in capsys.readouterr().err


def test_in_python():
    checkpoint("a.npz", 1.0)
    checkpoint("b.npz", -1.0)
    x = np.random.default_rng(1).standard_normal((30, 3))
    report = gradscope.diff("a.npz", Path("b.npz"), options={"inputs": x})
    assert report.results[0].summary["verdict"] == "worse"
    stored = gradscope.gradients("a.npz", inputs=x)
    with np.load("b.npz") as arrays:
        again = gradscope.diff(stored, dict(arrays), options={"inputs": x})
    assert [row["new"] for row in again.results[0].rows()] == [row["new"] for row in report.results[0].rows()]
    with pytest.raises(UsageError, match="steps= changes nothing"):
        gradscope.diff(stored, stored, options={"steps": 4})


def test_a_safetensors_header_whose_length_looks_like_a_brace():
    """Its first two bytes may be {" by chance; zeros stand among the eight of the length."""
    from gradscope.stored import is_stored

    Path("w.safetensors").write_bytes((0x227B).to_bytes(8, "little") + b'{"a": 1}')
    assert not is_stored("w.safetensors")
    Path("r.txt").write_text('\ufeff {"schema": "gradscope/gradients/1"}')
    assert is_stored("r.txt")
    assert is_stored("-")
    assert not is_stored("rnn:hidden=4")
    assert not is_stored("model.safetensors.index.json")
    assert not is_stored({"weight_hh_l0": np.eye(2)})
