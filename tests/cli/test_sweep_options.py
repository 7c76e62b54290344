"""``sweep`` takes the measured verb's own options, from the same definitions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gradscope.cli import run

GRID = ["sweep", "rnn:hidden=3,inputs=2", "--vary", "gain=0.5,1", "-T", "20", "-j", "1"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    assert run([*GRID, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["results"][0]["rows"]


def alone(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert run(["gradients", "rnn:hidden=3,inputs=2,gain=1", "-T", "20", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["results"][0]["summary"]


def test_no_loss_is_the_default_and_can_be_said(capsys) -> None:
    assert rows(capsys) == rows(capsys, "--loss", "none")


@pytest.mark.parametrize(
    "words",
    [
        ["--need", "5"],
        ["--epsilon", "0.1"],
        ["--anchor", "start"],
        ["--loss", "cross-entropy", "--readout", "head.npz", "--target", "2"],
        ["--loss", "linear", "--loss-at", "all", "--truncation-bias", "0.3"],
        ["--wrt", "inputs"],
    ],
)
def test_a_point_is_what_the_verb_measures(words: list[str], capsys) -> None:
    np.savez("head.npz", weight=np.eye(3))
    summary, point = alone(capsys, *words), rows(capsys, *words)[1]
    fields = [name for name in point if name in summary]
    assert len(fields) >= 8
    if "--need" in words:
        assert (point["need"], point["enough"]) == (5, summary["enough"])
    if "--loss" in words:
        assert point["tbptt_length"] == summary["tbptt_length"]
    for name in fields:
        if isinstance(point[name], float):
            assert point[name] == pytest.approx(summary[name], rel=1e-9), name
        else:
            assert point[name] == summary[name], name


def test_a_store_notices_another_readout(capsys) -> None:
    np.savez("head.npz", weight=np.eye(3))
    words = [*GRID, "--loss", "cross-entropy", "--readout", "head.npz", "--store", "s.jsonl", "-q"]
    assert run(words) == 0
    np.savez("head.npz", weight=2 * np.eye(3))
    assert run(words) == 3
    assert "another sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--measure", "spectrum", "--loss", "none"], "--loss has no meaning for --measure spectrum"),
        (["--measure", "lyapunov", "--need", "3"], "--need has no meaning for --measure lyapunov"),
        (["-k", "2"], "-k has no meaning for --measure gradients"),
        (["--lags", "1"], "No such option"),
    ],
)
def test_options_of_another_verb_are_refused(words: list[str], said: str, capsys) -> None:
    assert run([*GRID, *words]) == 2
    assert said.lower() in capsys.readouterr().err.lower()


def test_options_of_every_verb_are_not_the_measures_own(capsys) -> None:
    plain = rows(capsys)
    every = ["--progress", "off", "--color", "never", "-q", "--memory", "2G", "--threads", "1", "--seed", "0"]
    assert rows(capsys, *every) == plain


def test_leading_exponents_of_a_grid(capsys) -> None:
    found = rows(capsys, "--measure", "lyapunov", "-k", "1")
    assert all(row["mean_log_det"] is None for row in found)
