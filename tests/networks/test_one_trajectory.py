"""Bound and measurement see one trajectory, bit for bit, whatever is recomputed; and one Jacobian, rows or columns."""

import mpmath
import numpy as np
import pytest

import gradscope
from gradscope.analysis.cases import cases_of
from gradscope.analysis.request import GradientsRequest
from gradscope.cells.layer_norm import EPSILON, norm_jacobian
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source

FOUND = [
    ("lstm:hidden=5,inputs=1,norm=layer,gain=0.5309,bias=-0.9419", {"inputs": "zeros", "steps": 39, "seed": 1}),
    ("gru:hidden=7,norm=layer", {"inputs": "zeros", "steps": 39, "seed": 1}),
    ("gru:hidden=7,norm=layer,bias=0.7,gain=0.3", {"inputs": "zeros", "steps": 60, "seed": 3}),
    ("rnn:hidden=6,norm=layer,bias=1.5,gain=0.4", {"inputs": "zeros", "steps": 40, "seed": 2}),
]


@pytest.mark.parametrize("anchor", ["end", "start"])
@pytest.mark.parametrize(("source", "options"), FOUND)
def test_no_bound_is_exceeded_by_a_layer_norm_of_little_variance(source, options, anchor):
    (result,) = gradscope.gradients(source, anchor=anchor, loss="none", **options).results
    assert result.summary["bound_violations"] == 0
    norms = np.asarray(result.columns["log10_norm"], dtype=float)
    for name in ("log10_block_bound", "log10_path_bound"):
        assert (norms <= np.asarray(result.columns[name], dtype=float) + 1e-9).all()


def test_the_norm_of_the_found_lstm():
    """15.852675 at lag 10 (with the true Jacobian of the layer norm); the rows' road alone said 15.852465."""
    source, options = FOUND[0]
    (result,) = gradscope.gradients(source, anchor="start", loss="none", **options).results
    assert result.columns["log10_norm"][10] == pytest.approx(15.852675217, abs=1e-8)


def exact_jacobian(p):
    """∂â/∂p of layer normalisation in 60 digits."""
    with mpmath.workdps(60):
        n = len(p)
        x = [mpmath.mpf(float(v)) for v in p]
        mean = sum(x) / n
        centred = [v - mean for v in x]
        s = mpmath.sqrt(sum(c * c for c in centred) / n + mpmath.mpf(EPSILON))
        return np.array(
            [
                [
                    float(((i == j) - mpmath.mpf(1) / n - centred[i] * centred[j] / (n * s * s)) / s)
                    for j in range(n)
                ]
                for i in range(n)
            ]
        )  # fmt: skip


@pytest.mark.parametrize("spread", [0.0, 1e-17, 1e-16, 1e-15, 1e-12, 1e-8, 1e-3, 1.0, 1e5])
@pytest.mark.parametrize("level", [0.0, -0.9419, 1e3])
def test_rows_and_columns_meet_the_same_jacobian(level, spread):
    """Pre-activations that differ by rounding alone, or by much: symmetric, and right to rounding."""
    for seed in range(20):
        p = level + spread * np.random.default_rng(seed).normal(size=7)
        N = norm_jacobian(p, 7)
        rows, columns = N.pull(np.eye(7)[:, None])[:, 0], N.push(np.eye(7)[None])[0]
        exact = exact_jacobian(p)
        # p − mean p is right to eps of p: its direction to that of the spread, of which 1 − κ = var/(var + ε) shows.
        centred = np.abs(p - p.mean()).max()
        known = 2e-16 * np.abs(p).max() * centred / (centred**2 + EPSILON) + 2e-15
        np.testing.assert_allclose(rows, columns, rtol=0, atol=1e-14 * np.abs(exact).max())
        np.testing.assert_allclose(rows, exact, rtol=0, atol=40 * known * np.abs(exact).max())


CHAOTIC = ["rnn:hidden=12,gain=2.5", "lstm:hidden=6,norm=layer,gain=4", "gru:hidden=8,layers=2"]


@pytest.mark.parametrize("source", CHAOTIC)
def test_stretches_across_checkpoints_are_the_trajectory(source, monkeypatch):
    """A run kept in many stretches: J_first … J_last are bit for bit what J_t are one by one."""
    monkeypatch.setattr("gradscope.networks.trajectory.SEGMENT_BYTES", 2**15)
    request = GradientsRequest(steps=400, seed=1, loss="none", memory=1)
    (case,) = cases_of(build_source(parse_source(source), seed=1, dtype="float64"), request)
    tape = case.tape
    assert 1 < tape.spacing < 200
    for first, last in ((1, 400), (30, 80), (tape.spacing, tape.spacing + 1), (111, 333)):
        together = tape.jacobians(first, last)
        for t in range(first, last + 1, 7):
            np.testing.assert_array_equal(together[t - first].dense(), tape.dense(t))
