"""Inputs in the other order: time-major files are asked about, and ``inspect`` knows an inputs file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gradscope.cli import run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def measured(capsys, *words: str) -> tuple[list, dict]:
    assert run(["gradients", "rnn:hidden=3,inputs=2", "--loss", "none", *words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["results"][0]
    return result["rows"], result["settings"]


def test_many_more_sequences_than_steps_is_a_question(capsys) -> None:
    x = np.random.default_rng(3).standard_normal((30, 4, 2))  # 30 steps of 4 sequences
    np.save("time.npy", x)
    np.save("batch.npy", np.swapaxes(x, 0, 1))
    assert run(["gradients", "rnn:hidden=3,inputs=2", "--inputs", "time.npy"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "30 sequences of 4 steps: (batch, T, inputs)" in err
    assert "--time-major" in err
    assert "--batch-major" in err
    assert len(err.splitlines()) == 2
    rows, settings = measured(capsys, "--inputs", "batch.npy")
    turned, said = measured(capsys, "--inputs", "time.npy", "--time-major")
    assert rows == turned
    assert (settings["steps"], settings["batch"]) == (said["steps"], said["batch"]) == (30, 4)
    assert said["inputs"] == "time.npy (time-major)"
    as_read, said = measured(capsys, "--inputs", "time.npy", "--batch-major")
    assert (said["steps"], said["batch"], len(as_read)) == (4, 30, 5)


@pytest.mark.parametrize("shape", [(4, 30, 2), (16, 4, 2), (30, 2), (1, 1, 2)])
def test_what_is_likely_is_not_asked(shape: tuple[int, ...], capsys) -> None:
    np.save("x.npy", np.ones(shape))
    measured(capsys, "--inputs", "x.npy")


def test_one_sequence_knows_no_order(capsys) -> None:
    np.save("x.npy", np.random.default_rng(1).standard_normal((9, 2)))
    assert measured(capsys, "--inputs", "x.npy") == measured(capsys, "--inputs", "x.npy", "--time-major")


def test_a_wrong_width_is_said_before_the_order(capsys) -> None:
    np.save("x.npy", np.ones((90, 2, 5)))
    assert run(["gradients", "rnn:hidden=3,inputs=2", "--inputs", "x.npy"]) == 3
    assert "width 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "said"), [((60, 5), "60 steps of 5 inputs"), ((8, 60, 5), "8 sequences of 60 steps of 5 inputs")]
)
def test_inspect_knows_an_inputs_file(shape: tuple[int, ...], said: str, capsys) -> None:
    np.save("features.npy", np.ones(shape))
    assert run(["inspect", "features.npy"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "an inputs file" in out
    assert said in out
    assert "--inputs features.npy" in out
    for format_name in ("json", "csv", "md", "html"):
        assert run(["inspect", "features.npy", "-f", format_name]) == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "tokens.npy",
            "30 tokens or class numbers (int64), no network; use it with gradscope gradients SOURCE",
        ),
        ("tokens.txt", "4 whole numbers"),
        ("one.npz", "30 steps of 5 inputs, no network"),
        (
            "several.npz",
            "arrays x (30, 5), y (30,), no network; use it with",
        ),
        ("x.csv", "5 steps of 2 inputs"),
        ("x.safetensors", "2 sequences of 4 steps of 3 inputs"),
    ],
)
def test_inspect_knows_inputs_of_every_format(name: str, said: str, capsys) -> None:
    np.save("tokens.npy", np.arange(30))
    Path("tokens.txt").write_text("1 2\n3 4 \n\n")
    np.savez("one.npz", x=np.ones((30, 5)))
    np.savez("several.npz", x=np.ones((30, 5)), y=np.ones(30))
    np.savetxt("x.csv", np.ones((5, 2)), delimiter=",", header="a,b", comments="")
    head = b'{"x":{"dtype":"F32","shape":[2,4,3],"data_offsets":[0,96]}}'
    Path("x.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(96))
    assert run(["inspect", name]) == 0
    assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["words.txt", "fc.npz", "empty.npz"])
def test_inspect_takes_nothing_else_for_inputs(name: str, capsys) -> None:
    Path("words.txt").write_text("hello, world\n")
    np.savez("fc.npz", **{"fc.weight": np.ones((10, 64))})
    np.savez("empty.npz")
    assert run(["inspect", name]) == 3
    assert "inputs file" not in capsys.readouterr().err


def test_inspect_still_knows_matrices(capsys) -> None:
    np.save("w.npy", np.eye(3) / 2)
    np.save("j.npy", np.ones((4, 3, 3)))
    for name in ("w.npy", "j.npy"):
        assert run(["inspect", name]) == 0
        assert "inputs file" not in capsys.readouterr().out


def test_python_has_the_same_word(capsys) -> None:
    import gradscope

    x = np.random.default_rng(4).standard_normal((40, 3, 2))
    np.save("time.npy", x)
    from_file = gradscope.gradients("rnn:hidden=3,inputs=2", inputs="time.npy", time_major=True)
    from_array = gradscope.gradients("rnn:hidden=3,inputs=2", inputs=x, time_major=True)
    assert list(from_file.results[0].rows()) == list(from_array.results[0].rows())
    assert "--time-major" in from_file.command
    as_read = gradscope.gradients("rnn:hidden=3,inputs=2", inputs="time.npy", time_major=False)
    assert "--batch-major" in as_read.command
    assert as_read.results[0].settings["batch"] == 40
