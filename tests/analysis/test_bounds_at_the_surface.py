"""No measured gradient exceeds a bound by more than rounding, whatever the cell, the weights, the inputs, the start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradscope
from gradscope.analysis.verdict import rounding_allowance
from gradscope.cli import run

CELLS = ["rnn", "skip", "forget-gate", "input-gate", "lstm", "gru"]


@given(
    cell=st.sampled_from(CELLS),
    activation=st.sampled_from(["tanh", "sigmoid", "relu", "identity"]),
    init=st.sampled_from(["gaussian", "orthogonal", "identity", "uniform", "nonnormal"]),
    hidden=st.integers(1, 8),
    layers=st.integers(1, 2),
    gain=st.sampled_from([0.0, 0.3, 0.9, 2.0, 8.0]),
    input_gain=st.sampled_from([0.0, 1.0, 6.0]),
    bias=st.sampled_from([0.0, -1.0, 3.0]),
    steps=st.integers(0, 30),
    anchor=st.sampled_from(["end", "start"]),
    state=st.sampled_from([None, "normal"]),
    batch=st.integers(1, 2),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_never_violated(
    cell, activation, init, hidden, layers, gain, input_gain, bias, steps, anchor, state, batch, seed
):
    source = (
        f"{cell}:activation={activation},init={init},hidden={hidden},layers={layers},inputs=3,"
        f"gain={gain},input_gain={input_gain},bias={bias}"
    )
    with np.errstate(over="ignore", invalid="ignore"):
        report = gradscope.gradients(
            source, steps=steps, anchor=anchor, state=state, batch=batch, seed=seed, loss="none"
        )
    (result,) = report.results
    measured = np.asarray(result.columns["log10_norm"], dtype=float)
    path = np.asarray(result.columns["log10_path_bound"], dtype=float)
    for name in ("log10_bound", "log10_path_bound", "log10_block_bound"):
        limit = np.asarray(result.columns[name], dtype=float)
        known = np.isfinite(limit) & np.isfinite(measured)
        allowance = rounding_allowance(steps, limit, path, state_size=int(result.source["state_size"]))
        assert (measured[known] <= limit[known] + allowance[known]).all(), name
    assert result.summary["bound_violations"] == 0
    if result.summary["vanishes_for_every_input"]:
        assert result.summary["certificate"] < 1
    if cell == "rnn" and layers == 1 and np.isfinite(measured).all() and activation in ("tanh", "relu", "identity"):
        # Every rnn has at least (γσ₁)^k, so a finite gradient never stands without a bound.
        assert np.isfinite(np.asarray(result.columns["log10_bound"], dtype=float)).all()


def test_a_violated_bound_would_be_counted(monkeypatch):
    """The counter itself is alive: with every norm of W halved, the bound is wrong and the summary says so."""
    from gradscope.theory import certificate

    def halved(W, **options):
        proof = certificate.certify(W, **options)
        return replace(proof, sigma=proof.sigma / 2, value=proof.value / 2)

    monkeypatch.setattr("gradscope.analysis.theory_columns.certify", halved)
    report = gradscope.gradients("rnn:activation=identity,init=orthogonal,hidden=4", steps=20)
    assert report.results[0].summary["bound_violations"] == 20
    assert any("bug in gradscope" in warning for warning in report.results[0].warnings)


def test_the_allowance_is_what_rounding_of_factors_that_cancel_can_do():
    """Products of size 6 that cancel 60 steps long: float64 noise sits eps below the path, far above the true norm."""
    limit, path = np.array([0.0, -20.0]), np.array([0.0, 0.0])
    allowed = rounding_allowance(1, limit, path, state_size=4)
    assert allowed[0] == pytest.approx(np.log10(1 + 1e-9), rel=1e-6)
    # 10^-20·(1 + c·10^20) with c = 1·4^1.5·eps
    assert allowed[1] == pytest.approx(np.log10(1 + 8 * np.finfo(float).eps * 1e20 + 1e-9), rel=1e-12)
    wide = rounding_allowance(10, np.zeros(11), np.zeros(11), state_size=10**6)
    assert wide[10] > np.log10(1 + 10 * 1e9 * np.finfo(float).eps)


def summary_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert run(["gradients", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["results"][0]["summary"]


def test_vanishing_for_every_input_is_said_of_an_echo_state_matrix(tmp_path: Path, capsys):
    np.save(tmp_path / "W.npy", np.array([[0.5, 3.0], [0.02, 0.5]]))
    summary = summary_of(capsys, f"{tmp_path / 'W.npy'}:activation=tanh", "-T", "60")
    assert summary["vanishes_for_every_input"] is True
    assert summary["certificate"] == pytest.approx(0.5 + np.sqrt(0.06), abs=1e-6)
    assert summary["bound"]
    assert summary["bound_violations"] == 0


@pytest.mark.parametrize(
    ("W", "activation"),
    [
        ([[2.0, -4.0], [1.0, -2.0]], "tanh"),  # nilpotent, grows with one unit saturated (theory C01)
        ([[0.5, 100.0], [-1e-3, 0.5]], "tanh"),  # σ₁ = 100, yet a diagonal S makes it .59
        ([[2.0]], "tanh"),
    ],
)
def test_it_is_said_exactly_where_some_diagonal_scaling_on_a_grid_proves_it(tmp_path: Path, capsys, W, activation):
    W = np.array(W)
    np.save(tmp_path / "W.npy", W)
    summary = summary_of(capsys, f"{tmp_path / 'W.npy'}:activation={activation}", "-T", "40")
    best = min(
        np.linalg.norm(np.diag([1, s][: len(W)]) @ W @ np.diag([1, 1 / s][: len(W)]), 2)
        for s in np.geomspace(1e-4, 1e4, 2001)
    )
    assert summary["vanishes_for_every_input"] is bool(best < 1)
    assert summary["certificate"] == pytest.approx(min(best, np.linalg.norm(W, 2)), rel=1e-3) or best >= 1


def test_the_sigmoid_needs_a_quarter_of_the_norm(capsys):
    """γ = ¼: W = 3.9·orthogonal vanishes for every input, 4.1 is not certified."""
    below = summary_of(capsys, "rnn:hidden=5,activation=sigmoid,init=orthogonal,gain=3.9", "-T", "30")
    above = summary_of(capsys, "rnn:hidden=5,activation=sigmoid,init=orthogonal,gain=4.1", "-T", "30")
    assert below["vanishes_for_every_input"] is True
    assert below["certificate"] == pytest.approx(3.9 / 4, rel=1e-9)
    assert above["vanishes_for_every_input"] is False
    assert above["certificate"] == pytest.approx(4.1 / 4, rel=1e-9)


def test_a_stack_is_certified_by_its_worst_layer(capsys):
    stack = summary_of(capsys, "rnn:hidden=5,layers=2,gain=0.2", "-T", "30")
    assert run(["spectrum", "rnn:hidden=5,layers=2,gain=0.2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"][0]["rows"]
    assert stack["certificate"] == pytest.approx(max(row["scaled_norm"] for row in rows), rel=1e-3)
    assert stack["vanishes_for_every_input"] is True
    assert summary_of(capsys, "lstm:hidden=5,layers=2,gain=0.2", "-T", "30")["certificate"] is None


def test_gates_may_ask_for_the_certificate(tmp_path: Path):
    np.save(tmp_path / "W.npy", np.array([[0.5, 3.0], [0.02, 0.5]]))
    assert run(["gradients", str(tmp_path / "W.npy"), "-q", "--fail-on", "certificate > 0.75"]) == 0
    assert run(["gradients", str(tmp_path / "W.npy"), "-q", "--fail-on", "certificate > 0.74"]) == 1


def test_the_worst_inputs_reach_the_bound_that_was_promised(tmp_path: Path, capsys):
    """Inputs that hold every pre-activation at 0 keep all slopes at γ = 1, and W ≥ 0 then attains γ^k‖|W|^k‖."""
    W = np.array([[0.6, 0.3], [0.2, 0.5]])
    np.savez(tmp_path / "net.npz", weight_ih_l0=np.eye(2), weight_hh_l0=W)
    assert run(["gradients", str(tmp_path / "net.npz"), "-T", "25", "--inputs", "zeros", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"][0]["rows"]
    for row in rows:
        assert row["log10_norm"] == pytest.approx(row["log10_bound"], abs=3e-10)
