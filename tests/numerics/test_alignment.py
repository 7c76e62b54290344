"""Two frames from different starts: agreement comes with gap times warm-up, and nothing is claimed before."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.numerics.alignment import align
from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.tape import tape_of_matrices

SLOW = "forget-gate:hidden=16,inputs=4,forget_bias=4"
#: λ₁ of that network from 40,000 steps, 0.0001 known.
SLOW_EXPONENT = -0.0089


def noisy_diagonal(gaps: list[float], n_steps: int, seed: int = 0) -> np.ndarray:
    """Random basis, exponents 0, −gaps[0], −gaps[0] − gaps[1], …, with noise common to all directions."""
    rng = np.random.default_rng(seed)
    exponents = -np.concatenate([[0.0], np.cumsum(gaps)])
    n = exponents.size
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    factors = np.exp(exponents + 0.3 * rng.standard_normal((n_steps, 1)))
    return basis @ (factors[:, :, None] * basis.T)


@pytest.mark.parametrize(("gap", "resolved"), [(0.5, True), (0.1, True), (0.002, False)])
def test_the_gap_times_the_warm_up_decides(gap: float, resolved: bool) -> None:
    tape = tape_of_matrices(noisy_diagonal([gap, 0.5, 0.5], 120))
    found = align(tape, 4, np.random.default_rng(1))
    assert found.resolved.tolist() == [resolved, True, True, True]
    assert found.groups()[0] == ((0, 0) if resolved else (0, 1))


def test_the_pace_is_extrapolated() -> None:
    """e^(−2·0.02·t) reaches 0.01 about ln(100)/0.04 = 115 steps after it was 1."""
    found = align(tape_of_matrices(noisy_diagonal([0.02, 0.5], 100)), 1, np.random.default_rng(3))
    assert not found.resolved[0]
    assert found.wanted is not None
    assert 100 < found.wanted < 400


def test_an_unresolved_group_is_named_with_its_sum() -> None:
    spectrum = measure_lyapunov(tape_of_matrices(noisy_diagonal([0.5, 0.001, 0.5], 4000)))
    assert spectrum.converged
    assert "exponents 2 to 3 (sum -1.00" in spectrum.verdict


def test_two_equal_leading_exponents_are_known_by_their_mean() -> None:
    """The leading two are one exponent to within the interval; their span is found."""
    spectrum = measure_lyapunov(tape_of_matrices(noisy_diagonal([0.0, 0.7], 2000, seed=4)))
    assert spectrum.converged
    assert np.all(np.abs(spectrum.exponents[0, :2]) < 0.05)


def test_an_exponent_that_may_be_zero_says_so() -> None:
    spectrum = measure_lyapunov(tape_of_matrices(noisy_diagonal([0.5], 4000)))
    assert spectrum.converged
    assert "indistinguishable from 0 within" in spectrum.verdict


@pytest.mark.parametrize(
    ("source", "exponent", "n_steps"),
    [
        (SLOW, SLOW_EXPONENT, 100),
        (SLOW, SLOW_EXPONENT, 400),
        # 9 memories: 4 of 60 claimed and missed before 40 were asked for.
        ("lstm:hidden=8,inputs=4,forget_bias=2", -0.0871, 100),
        ("rnn:hidden=16,inputs=4", -0.6218, 100),
    ],
)
def test_short_runs_do_not_claim_convergence_and_miss(source: str, exponent: float, n_steps: int) -> None:
    """At most one of 20 input draws (60 in docs/lyapunov.md), where 57 of 60 used to."""
    missed = 0
    for draw in range(20):
        x = np.random.default_rng(1000 + draw).standard_normal((n_steps + 200, 4))
        result = gradscope.lyapunov(source, inputs=x, transient=200, k=1).results[0]
        (row,) = result.rows()
        missed += result.summary["converged"] and not row["low"] <= exponent <= row["high"]
    assert missed <= 1


def test_a_run_of_few_memories_is_told_how_many_it_takes() -> None:
    x = np.random.default_rng(1000).standard_normal((300, 4))
    result = gradscope.lyapunov("lstm:hidden=8,inputs=4,forget_bias=2", inputs=x, transient=200, k=1).results[0]
    assert not result.summary["converged"]
    assert "memories 1/|λ_1|" in result.summary["verdict"] or "would do" in result.summary["verdict"]
