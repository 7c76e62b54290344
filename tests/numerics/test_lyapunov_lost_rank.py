"""Exponents of −∞: directions that products of Jacobians annihilate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matrix_tapes import gaussians, qr_road, repeated

from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.tape import tape_of_matrices


@pytest.mark.parametrize("n", [2, 5, 7])
@pytest.mark.parametrize("similar", [False, True])
def test_nilpotent_has_only_minus_infinity(n, similar):
    """Eigenvalues of a dense nilpotent matrix come out as ε^(1/n); the rank decides instead (theory N07)."""
    W = np.diag(np.ones(n - 1), 1)
    if similar:
        # Orthogonal, since rounding W = P N P⁻¹ makes it invertible by ε κ(P)², which is no longer noise.
        P = np.linalg.qr(np.random.default_rng(n).standard_normal((n, n)))[0]
        W = P @ W @ P.T
    constant = measure_lyapunov(repeated(W, 100))
    assert constant.method == "schur"
    for spectrum in (constant, qr_road(W, 100)):
        assert np.all(np.isneginf(spectrum.exponents)), spectrum.method
        assert np.all(spectrum.status == "minus_infinity")
        assert np.all(np.isnan(spectrum.low))


def test_eigenvalues_that_cannot_be_trusted_leave_the_time_average():
    """Nilpotent but for a corner of 2e-14: above the rank's floor, yet rounding moves ln|λ| by per cents."""
    W = np.diag(np.ones(6), 1)
    W[6, 0] = 2e-14
    P = np.linalg.qr(np.random.default_rng(7).standard_normal((7, 7)))[0]
    assert measure_lyapunov(repeated(P @ W @ P.T, 100)).method == "qr"


def test_alternating_nilpotent_factors_grow_by_ln_2():
    """C01: [[0, 2], [0, 0]] and its transpose: one direction gains ln 2 per step, the other is annihilated."""
    A = np.array([[0.0, 2.0], [0.0, 0.0]])
    spectrum = measure_lyapunov(tape_of_matrices(np.array([A, A.T] * 60)))
    assert spectrum.exponents[0, 0] == pytest.approx(
        math.log(2.0), abs=1e-2
    )  # one step of 120 may be lost at the start
    aligned = measure_lyapunov(tape_of_matrices(np.array([A, A.T] * 60)), align=20)
    assert aligned.exponents[0, 0] == pytest.approx(math.log(2.0), abs=1e-14)
    assert aligned.exponents[0, 1] == -np.inf


def test_dead_relu_units_leave_the_others_as_they_are():
    """Three units dead at every step: their exponents are −inf, the rest are those of the live corner."""
    matrices = gaussians(2, 200, 2, 8)
    matrices[:, :, [1, 4, 6], :] = 0.0
    live = [0, 2, 3, 5, 7]
    spectrum = measure_lyapunov(tape_of_matrices(matrices), align=50)
    assert np.all(spectrum.status[:, 5:] == "minus_infinity")
    assert np.all(np.isneginf(spectrum.sum))
    assert np.all(np.isneginf(spectrum.mean_log_det))
    corner = measure_lyapunov(tape_of_matrices(matrices[:, :, live][:, :, :, live]), align=50)
    # Different first frames, both aligned: what is left after 50 steps of mean gap 0.2 moves the average by < 1e-2.
    np.testing.assert_allclose(spectrum.exponents[:, :5], corner.exponents, rtol=0, atol=2e-2)
    assert spectrum.exponents[:, :5].sum(axis=-1) == pytest.approx(corner.mean_log_det, abs=1e-2)


@pytest.mark.parametrize("n", [10, 16, 24, 64])
@pytest.mark.parametrize("seed", range(6))
def test_rank_lost_once_within_a_long_block_is_seen(n, seed):
    """A unit dead at one step of 200, where the others are so calm that blocks take several steps."""
    rng = np.random.default_rng(seed)
    matrices = np.linalg.qr(rng.standard_normal((200, n, n)))[0] * rng.uniform(0.7, 1.3, (200, n, 1))
    matrices[101, n // 2] = 0.0
    spectrum = measure_lyapunov(tape_of_matrices(matrices))
    assert spectrum.gain_steps.max() > 2
    assert list(np.isneginf(spectrum.exponents[0])) == [False] * (n - 1) + [True]


def test_rank_lost_by_one_batch_entry_alone():
    matrices = gaussians(2, 100, 2, 4)
    matrices[30, 1, 2] = 0.0
    spectrum = measure_lyapunov(tape_of_matrices(matrices))
    assert np.all(spectrum.status[0] == "ok")
    assert list(spectrum.status[1]) == ["ok", "ok", "ok", "minus_infinity"]
    alone = measure_lyapunov(tape_of_matrices(matrices[:, :1]))
    truth = alone.sum[0]
    assert spectrum.sum[0] == pytest.approx(truth, abs=1e-9)


def test_a_unit_dead_in_one_entry_does_not_shorten_the_blocks_of_all():
    rng = np.random.default_rng(0)
    matrices = np.linalg.qr(rng.standard_normal((300, 2, 20, 20)))[0] * rng.uniform(0.8, 1.0, (300, 2, 20, 1))
    matrices[50:, 1, 3] = 0.0
    spectrum = measure_lyapunov(tape_of_matrices(matrices), align=100)
    alone = measure_lyapunov(tape_of_matrices(matrices[:, :1]), align=100)
    assert np.median(spectrum.gain_steps) == np.median(alone.gain_steps) > 3
    assert list(np.isneginf(spectrum.exponents).sum(axis=-1)) == [0, 1]


def test_zero_jacobians():
    spectrum = measure_lyapunov(tape_of_matrices(np.zeros((60, 3, 3))))
    assert np.all(np.isneginf(spectrum.exponents))
