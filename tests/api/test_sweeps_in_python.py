"""Sweeps over networks in memory, with typed options."""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.cli import run
from gradscope.errors import UsageError


def test_a_held_network_is_swept_like_its_file(arrays: Any, module: Any, tensor: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **arrays)
    options = {"vary": {"forget_bias": [0, 1.5], "seed": range(2)}, "jobs": 1, "steps": 20}
    read = gradscope.sweep(tmp_path / "w.npz", **options)
    for held in (arrays, module({name: tensor(values) for name, values in arrays.items()})):
        assert gradscope.sweep(held, **options).results[0].to_records() == read.results[0].to_records()
    assert [(row["forget_bias"], row["seed"]) for row in read.results[0].rows] == [(0, 0), (0, 1), (1.5, 0), (1.5, 1)]
    point = gradscope.gradients((arrays, "forget_bias=1.5"), steps=20, seed=1).results[0]
    assert read.results[0].rows[3]["log10_rate"] == point.summary["log10_rate"]


def test_given_inputs_and_a_readout(arrays: Any) -> None:
    x = np.random.default_rng(3).normal(size=(25, 3))
    head = {"weight": np.random.default_rng(4).normal(size=(5, 4))}
    report = gradscope.sweep(arrays, vary="gain=0.8,1", inputs=x, readout=head, loss="cross-entropy", jobs=1)
    alone = gradscope.gradients((arrays, "gain=0.8"), inputs=x, readout=head).results[0]
    row = report.results[0].rows[0]
    assert (row["log10_rate"], row["tbptt_length"]) == (alone.summary["log10_rate"], alone.summary["tbptt_length"])
    tokens = gradscope.sweep(arrays, vary="gain=0.8,1", inputs=np.arange(9), jobs=1)
    assert tokens.results[0].rows[1]["log10_rate"] is not None
    assert report.command == (
        "gradscope.sweep(state_dict, vary=['gain=0.8,1'], inputs=inputs, loss='cross-entropy', readout=readout)",
    ) or report.command[0].startswith("gradscope.sweep(state_dict, vary=['gain=0.8,1'], ")


def test_nothing_is_left_behind_and_several_have_names_of_their_own(
    arrays: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report = gradscope.sweep(arrays, arrays, np.eye(2) / 2, vary="gain=0.5,1", steps=9, jobs=1)
    names = [result.source["name"] for result in report.results]
    assert names == ["state_dict.npz", "state_dict_2.npz", "array.npy"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError):
        gradscope.sweep(arrays, vary="gian=0.5,1", jobs=1)
    assert list(tmp_path.iterdir()) == []


def test_a_live_modules_own_nonlinearity_goes_along(module: Any) -> None:
    rng = np.random.default_rng(1)
    state = {
        "file": rng.normal(size=3),
        "weight_ih_l0": rng.normal(size=(4, 2)),
        "weight_hh_l0": rng.normal(size=(4, 4)),
    }

    class RNN(module):
        def named_modules(self) -> Any:
            yield "", self

    swept = gradscope.sweep(RNN(state, "relu"), vary="gain=0.5,1", steps=9, jobs=1).results[0].rows
    alone = gradscope.gradients((state, "activation=relu"), steps=9).results[0]
    assert swept[1]["log10_rate"] == alone.summary["log10_rate"]


def test_the_command_of_a_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    report = gradscope.sweep(
        "rnn:hidden=3", vary=["gain=0.5:1:0.5", "seed=1:2"], steps="12", jobs=1, measure="lyapunov", k=1
    )
    out = io.StringIO()
    with redirect_stdout(out):
        assert run([*report.command, "--json"]) == 0
    assert json.loads(out.getvalue())["results"] == report.to_dict()["results"]
    assert "--vary" in report.command


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"vary": 3}, "vary: wanted"),
        ({"vary": "gain=1,2", "k": 2}, "k has no meaning here"),
        ({"vary": "gain=1,2", "stpes": 2}, "Did you mean 'steps'"),
        ({"vary": "gain=1,2", "steps": "x"}, "steps='x': wanted a whole number"),
        ({"vary": "gain=1,2", "jobs": "x"}, "jobs='x'"),
        ({"vary": []}, "needs --vary"),
    ],
    ids=str,
)
def test_a_wrong_option_is_a_sentence(options: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        gradscope.sweep("rnn", **options)
