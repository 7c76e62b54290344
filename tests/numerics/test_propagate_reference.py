"""The dense reference, and the public function, against 50-digit arithmetic and exact cases."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradscope.errors import UsageError
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled, RowScaledSum
from gradscope.numerics.propagate import measure_norms, step_norms
from gradscope.numerics.reference import measure_norms_densely
from gradscope.numerics.tape import StoredTape, tape_of_matrices

BOTH = pytest.mark.parametrize("measure", [measure_norms, measure_norms_densely], ids=["public", "reference"])
ANCHORS = pytest.mark.parametrize("anchor", ["end", "start"])


def exact_log10_norms(matrices, anchor, corner=None):
    """log10 of the largest singular value of every product, 50 digits, straight from the definition."""
    with mpmath.workdps(50):
        factors = [mpmath.matrix(m.tolist()) for m in matrices]
        P = mpmath.eye(matrices.shape[-1])
        logs = []
        for k in range(len(factors) + 1):
            if k:
                P = P * factors[-k] if anchor == "end" else factors[k - 1] * P
            block = P if corner is None else mpmath.matrix([[P[i, j] for j in corner] for i in corner])
            logs.append(float(mpmath.log10(mpmath.svd_r(block, compute_uv=False)[0])))
    return np.array(logs)


@BOTH
@ANCHORS
def test_every_lag_agrees_with_fifty_digits(measure, anchor):
    matrices = np.random.default_rng(1).normal(size=(25, 4, 4))
    tape = StoredTape(np.zeros((26, 1, 4)), tape_of_matrices(matrices).steps, corner=np.array([0, 1]))
    measured = measure(tape, anchor=anchor)
    # 1e-12: 25 products of 4x4 factors lose at most ~25·4·eps·(growth of the condition, < 20 here).
    assert np.abs(measured.log10_norm[:, 0] - exact_log10_norms(matrices, anchor)).max() < 1e-12
    assert np.abs(measured.log10_norm_h[:, 0] - exact_log10_norms(matrices, anchor, [0, 1])).max() < 1e-12


@BOTH
@ANCHORS
@pytest.mark.parametrize("per_step", [2.0**-500, 2.0**500, 1e-300, 1e300])
def test_far_beyond_float64(measure, anchor, per_step):
    """Twelve factors of 2^±500 reach 2^±6000; factors of 1e±300 must not overflow on the way."""
    matrices = np.random.default_rng(2).normal(size=(12, 3, 3))
    measured = measure(tape_of_matrices(matrices * per_step), anchor=anchor).log10_norm[:, 0]
    expected = exact_log10_norms(matrices, anchor) + np.arange(13) * np.log10(per_step)
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-10)


def shift(n):
    return np.eye(n, k=1)


def permuted_triangle(n, rng):
    order = rng.permutation(n)
    return np.triu(rng.normal(size=(n, n)), k=1)[np.ix_(order, order)]


NILPOTENT = {
    "shift": shift(7),
    "graded shift": np.diag(np.logspace(-3, 3, 6), k=1),
    "permuted strict triangle": permuted_triangle(7, np.random.default_rng(3)),
    "cancelling": np.kron(np.eye(1), np.array([[1.0, -1.0], [1.0, -1.0]])),
}


@BOTH
@ANCHORS
@pytest.mark.parametrize("name", NILPOTENT)
def test_nilpotent_products_are_zero_at_the_right_lag(measure, anchor, name):
    N = NILPOTENT[name]
    n = len(N)
    measured = measure(tape_of_matrices(np.broadcast_to(N, (n + 4, n, n))), anchor=anchor)
    np.testing.assert_array_equal(measured.zero[:, 0], np.arange(n + 5) >= n)
    np.testing.assert_array_equal(np.isnan(measured.log10_norm), measured.zero)
    np.testing.assert_array_equal(np.isnan(measured.stable_rank), measured.zero)
    assert (measured.rank[measured.zero] == 0).all()
    assert not measured.nonfinite.any()


@BOTH
@ANCHORS
def test_a_shift_loses_one_rank_per_lag(measure, anchor):
    measured = measure(tape_of_matrices(np.broadcast_to(shift(6), (8, 6, 6))), anchor=anchor)
    np.testing.assert_array_equal(measured.rank[:, 0], [6, 5, 4, 3, 2, 1, 0, 0, 0])
    np.testing.assert_allclose(measured.stable_rank[:6, 0], [6, 5, 4, 3, 2, 1], rtol=1e-13)


@BOTH
@ANCHORS
def test_nonfinite_factors_are_said_and_contained(measure, anchor):
    """An infinite factor spoils its own batch element from its own lag on, and nothing else."""
    matrices = np.random.default_rng(4).normal(size=(6, 2, 3, 3))
    matrices[2, 1, 0, 0] = np.inf
    measured = measure(tape_of_matrices(matrices), anchor=anchor)
    first = 4 if anchor == "end" else 3
    np.testing.assert_array_equal(measured.nonfinite[:, 1], np.arange(7) >= first)
    np.testing.assert_array_equal(np.isnan(measured.log10_norm[:, 1]), np.arange(7) >= first)
    assert not measured.nonfinite[:, 0].any()
    assert np.isfinite(measured.log10_norm[:, 0]).all()


@BOTH
@ANCHORS
def test_a_corner_that_vanishes_alone(measure, anchor):
    """h does not reach h in one step, but does in two (through c): zero_h at lag 1 only."""
    J = np.array([[0.0, 0.5], [0.5, 0.0]])
    tape = StoredTape(np.zeros((3, 1, 2)), tape_of_matrices(np.stack([J, J])).steps, corner=np.array([0]))
    measured = measure(tape, anchor=anchor)
    np.testing.assert_array_equal(measured.zero_h[:, 0], [False, True, False])
    np.testing.assert_allclose(measured.log10_norm_h[[0, 2], 0], [0.0, np.log10(0.25)], atol=1e-15)
    assert not measured.zero.any()


@BOTH
def test_without_steps_there_is_lag_zero_only(measure):
    tape = StoredTape(np.zeros((1, 3, 4)), tape_of_matrices(np.zeros((0, 3, 4, 4))).steps)
    measured = measure(tape)
    np.testing.assert_array_equal(measured.log10_norm, np.zeros((1, 3)))
    np.testing.assert_array_equal(measured.rank, np.full((1, 3), 4))
    assert np.isnan(measured.log10_norm_h).all()


@BOTH
def test_progress_counts_every_lag(measure):
    seen = []
    measure(tape_of_matrices(np.ones((5, 2, 2))), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_an_unknown_anchor_is_refused():
    with pytest.raises(UsageError, match="'end' or 'start'; got 'middle'"):
        measure_norms(tape_of_matrices(np.ones((1, 1, 1))), anchor="middle")


def test_the_oracle_notices_a_planted_error():
    """One entry off by 1e-9 must show: otherwise the agreement above would mean nothing."""
    matrices = np.random.default_rng(1).normal(size=(5, 3, 3))
    wrong = matrices.copy()
    wrong[2, 0, 0] *= 1 + 1e-9
    measured = measure_norms(tape_of_matrices(wrong)).log10_norm[:, 0]
    assert np.abs(measured - exact_log10_norms(matrices, "end")).max() > 1e-12


def test_step_norms_of_every_step_and_batch():
    rng = np.random.default_rng(5)
    slopes = rng.uniform(0.1, 1, size=(130, 3, 5))
    slopes[100, 1] = 0.0
    W = rng.normal(size=(5, 5))
    tape = StoredTape(np.zeros((131, 3, 5)), DiagonalPlusRowScaled(None, RowScaledSum(slopes[..., None, :], W[None])))
    measured = step_norms(tape)
    with np.errstate(divide="ignore"):
        expected = np.log10(np.linalg.norm(slopes[..., None] * W, ord=2, axis=(-2, -1)))
    np.testing.assert_array_equal(measured.zero, expected == -np.inf)
    np.testing.assert_allclose(measured.log10_norm[~measured.zero], expected[~measured.zero], atol=1e-13)
    assert np.isnan(measured.log10_norm[100, 1])


def test_step_norms_at_the_edge_of_float64():
    matrices = np.random.default_rng(6).normal(size=(2, 3, 3))
    measured = step_norms(tape_of_matrices(matrices * np.array([1e300, 1e-300])[:, None, None])).log10_norm[:, 0]
    expected = np.log10(np.linalg.norm(matrices, ord=2, axis=(-2, -1))) + np.array([300, -300])
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-12)
