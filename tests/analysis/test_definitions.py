"""Definitions of the contract, each against arithmetic that was done apart from the program."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.analysis.verdict import horizon_of, verdict_of
from gradscope.numerics.course import Course
from gradscope.sources.ensembles import orthogonal
from gradscope.theory.bounds import block_norms


@pytest.mark.parametrize(
    ("low", "high", "rate", "level", "status", "verdict"),
    [
        (-0.3, -0.1, -0.2, -20.0, "ok", "vanishing"),
        (-0.3, -0.1, -0.2, -0.9, "ok", "neutral"),  # the norm at lag T is not a decade down
        (-0.3, 0.1, -0.2, -20.0, "ok", "neutral"),  # the interval holds 0
        (-0.012, -0.008, -0.0099, -1.0, "ok", "neutral"),  # less than a decade over the run
        (0.1, 0.3, 0.2, 20.0, "ok", "exploding"),
        (0.1, 0.3, 0.2, 0.9, "ok", "neutral"),
        (-0.1, 0.3, 0.2, 20.0, "ok", "neutral"),
        (0.008, 0.012, 0.0099, 1.0, "ok", "neutral"),
        (np.nan, np.nan, np.nan, np.nan, "zero", "vanishing"),
        (np.nan, np.nan, np.nan, np.nan, "nonfinite", "undetermined"),
        (np.nan, np.nan, -0.2, -20.0, "ok", "undetermined"),  # no interval, no verdict
    ],
)
def test_verdicts(low: float, high: float, rate: float, level: float, status: str, verdict: str) -> None:
    assert verdict_of(Course("exponential", rate, low, high), level, status, 100) == verdict


def test_three_steps_are_too_few_for_a_verdict() -> None:
    assert verdict_of(Course("exponential", 6.0, 6.0, 6.0), 18.0, "ok", 3) == "undetermined"


@pytest.mark.parametrize(
    ("log10", "horizon", "censored", "dip"),
    [
        ([0.0, -1.0, -2.0], None, True, None),  # never below 1e-3
        ([0.0, -1.0, -4.0], 1, False, None),
        ([0.0, -4.0, -1.0, -5.0], 2, False, 1),  # the largest lag, even after a dip
        ([0.0, -4.0, -1.0], None, True, 1),  # at lag T still there: censored, and the dip is said
        ([0.0, -3.0, -3.1], 1, False, None),  # epsilon itself counts
        ([0.0, np.nan, np.nan], 0, False, None),  # exactly zero
    ],
)
def test_horizons(log10: list[float], horizon: int | None, censored: bool, dip: int | None) -> None:
    status = np.where(np.isnan(log10), "zero", "ok").astype(object)
    found = horizon_of(np.array(log10), status, np.arange(len(log10)), 1e-3)
    assert found == {"horizon": horizon, "horizon_censored": censored, "horizon_dip": dip}


def test_an_epsilon_above_one_that_no_lag_reaches() -> None:
    found = horizon_of(np.array([0.0, -1.0]), np.array(["ok", "ok"], dtype=object), np.arange(2), 10.0)
    assert found == {"horizon": -1, "horizon_censored": False, "horizon_dip": None}
    grown = horizon_of(np.array([0.0, 2.0, 0.5]), np.array(["ok"] * 3, dtype=object), np.arange(3), 10.0)
    assert grown == {"horizon": 1, "horizon_censored": False, "horizon_dip": 0}


def test_a_loss_at_all_steps_begins_with_step_one(tmp_path) -> None:
    # h_t = W h_{t−1}, L = Σ_{t=1..T} vᵀh_t: ∂L/∂h_0 = Σ_{t≥1} (Wᵀ)^t v, without a term of step 0 itself.
    rng = np.random.default_rng(4)
    W, v = 0.7 * rng.standard_normal((3, 3)), rng.standard_normal(3)
    np.save(tmp_path / "W.npy", W)
    np.save(tmp_path / "v.npy", v)
    result = gradscope.gradients(
        f"{tmp_path}/W.npy:activation=identity", steps=4, loss="linear", loss_at="all", readout=str(tmp_path / "v.npy")
    ).results[0]
    wanted = sum(np.linalg.matrix_power(W.T, t) @ v for t in range(1, 5))
    assert result.columns["log10_dloss_dstate"][4] == pytest.approx(np.log10(np.linalg.norm(wanted)), abs=1e-12)
    # ∂L/∂h_T is v alone.
    assert result.columns["log10_dloss_dstate"][0] == pytest.approx(np.log10(np.linalg.norm(v)), abs=1e-12)


def test_the_default_target_is_class_zero() -> None:
    columns = {
        target: gradscope.gradients("rnn:hidden=4", steps=5, target=target).results[0].columns["log10_dloss_dstate"]
        for target in (None, "0", "1")
    }
    np.testing.assert_array_equal(columns[None], columns["0"])
    assert not np.array_equal(columns["0"], columns["1"])


def test_chrono_biases_spread_over_the_range_and_close_the_input_gate() -> None:
    cell = gradscope.build("lstm:hidden=400,init=chrono,chrono_max=100,forget_bias=0").network.layers[0]
    i, f, g, o = cell.bias.reshape(4, 400)
    np.testing.assert_array_equal(i, -f)
    assert not g.any()
    assert not o.any()
    times = np.exp(f)
    assert 1.0 <= times.min() < 5.0
    assert 95.0 < times.max() <= 99.0
    # Uniform on (1, 99): mean 50, standard error 28.3/20.
    assert abs(times.mean() - 50.0) < 4.5 * 28.3 / 20


def test_orthogonal_matrices_are_haar_distributed() -> None:
    rng = np.random.default_rng(8)
    draws = np.array([orthogonal(rng, 3, 2.0) for _ in range(400)])
    np.testing.assert_allclose(draws[0].T @ draws[0], 4.0 * np.eye(3), atol=1e-14)
    # Every entry of a Haar matrix has mean 0 and variance 1/n; a QR without its signs has means of −1/2.
    assert np.abs(draws.mean(axis=0)).max() < 4.5 * 2.0 / np.sqrt(3 * 400)


def test_the_decoder_starts_from_how_far_the_encoder_may_have_come() -> None:
    # |c| ≤ 6 after six lstm steps from 0, and the decoder's first step bound is taken there.
    source = "seq2seq:cell=lstm,feedback=teacher,hidden=3,vocab=4"
    decoder = gradscope.build(source).seq2seq.decoder
    bound = gradscope.gradients(source, steps=6, anchor="start").results[0].columns["log10_bound"]
    wanted = np.log10(decoder.step_norm_bound(block_norms(decoder), 6.0))
    assert bound[7] - bound[6] == pytest.approx(wanted, abs=1e-12)


def test_input_sensitivities_count_back_from_the_last_step() -> None:
    # Linear: ∂h_T/∂x_j = W^(T−j) U.
    source = "rnn:hidden=4,inputs=2,activation=identity"
    cell = gradscope.build(source).network.layers[0]
    columns = gradscope.gradients(source, steps=6, wrt="inputs").results[0].columns
    np.testing.assert_array_equal(columns["lag"], np.arange(6))
    np.testing.assert_array_equal(columns["step"], np.arange(6, 0, -1))
    wanted = [np.linalg.norm(np.linalg.matrix_power(cell.weight_hh, k) @ cell.weight_ih, 2) for k in range(6)]
    np.testing.assert_allclose(columns["log10_norm"], np.log10(wanted), atol=1e-12)
