"""Thin QR: both roads against the definition, and the small rows' digits against mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradscope.numerics import orthonormal
from gradscope.numerics.orthonormal import orthonormalise, roughly_orthonormalise


def with_condition(rng, n, k, condition):
    """A random n×k matrix with singular values from 1 down to 1/condition."""
    left = np.linalg.qr(rng.standard_normal((n, k)))[0]
    right = np.linalg.qr(rng.standard_normal((k, k)))[0]
    return left * np.logspace(0, -np.log10(condition), k) @ right


@pytest.mark.parametrize("condition", [1.0, 1e2, 3e4, 1e6, 1e8, 1e12, 1e15])
@pytest.mark.parametrize(("n", "k"), [(64, 64), (130, 60), (20, 20), (9, 3), (5, 1)])
def test_factors_hold_at_every_condition(n, k, condition):
    """QᵀQ = I and QR = A to n·ε, through both regime switches of the Cholesky road and past its end."""
    A = with_condition(np.random.default_rng(n), n, k, condition if k > 1 else 1.0)
    Q, R = orthonormalise(A)
    tolerance = 4 * n * np.finfo(float).eps
    assert np.abs(Q.T @ Q - np.eye(k)).max() < tolerance
    assert np.abs(Q @ R - A).max() < tolerance
    assert np.all(np.tril(R, -1) == 0.0)
    assert np.all(np.diag(R) > 0.0)


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e6])
def test_cholesky_road_keeps_the_digits_of_householder(condition):
    """diag(R) of both roads differ by no more than its own conditioning, κ·n·ε."""
    A = with_condition(np.random.default_rng(2), 80, 80, condition)
    fast = orthonormal._cholesky(A)
    assert fast is not None
    slow = orthonormal._householder(A)
    relative = np.diag(fast[1]) / np.diag(slow[1]) - 1
    assert np.abs(relative).max() < 80 * condition * np.finfo(float).eps


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6, 1e7, 1e8, 1e9, 1e12])
@pytest.mark.parametrize("k", [3, 20, 64])
def test_one_pass_factors_to_rounding_and_stays_far_from_dependent(k, condition):
    A = with_condition(np.random.default_rng(k), 70, k, condition)
    Q, R = roughly_orthonormalise(A)
    assert np.abs(Q @ R - A).max() < 280 * np.finfo(float).eps
    # ε κ² k with κ ≤ 1e7 · a modest factor is the bound; a frame this far from orthonormal is still safe.
    assert np.linalg.norm(Q.T @ Q - np.eye(k), 2) < 0.3


def test_cholesky_road_refuses_what_it_cannot_do():
    rng = np.random.default_rng(0)
    assert orthonormal._cholesky(with_condition(rng, 64, 64, 1e10)) is None
    assert orthonormal._cholesky(np.zeros((64, 64))) is None


def test_stacks_equal_single_matrices():
    rng = np.random.default_rng(1)
    for k in (6, 50):
        A = rng.standard_normal((3, 2, 55, k))
        Q, R = orthonormalise(A)
        alone = orthonormalise(A[2, 1])
        np.testing.assert_allclose(Q[2, 1], alone[0], rtol=0, atol=1e-13)
        np.testing.assert_allclose(R[2, 1], alone[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [4, 60])
def test_rows_of_very_different_size_keep_their_digits(n):
    """diag(10^0 … 10^−200)·B, rows shuffled: diag(R) agrees with mpmath at 450 digits to 1e-10."""
    rng = np.random.default_rng(n)
    A = (10.0 ** np.linspace(0, -200, n))[:, None] * rng.standard_normal((n, n))
    A = A[rng.permutation(n)]
    found = np.log(np.diag(orthonormalise(A)[1]))
    with mpmath.workdps(450):
        # ln R_jj from the Cholesky factor of AᵀA in exact enough arithmetic
        exact = mpmath.matrix(A.tolist())
        factor = mpmath.cholesky(exact.T * exact)
        truth = np.array([float(mpmath.log(factor[j, j])) for j in range(n)])
    assert np.abs(found - truth).max() < 1e-10


def test_zero_rows_give_zeros_on_the_diagonal():
    A = np.random.default_rng(0).standard_normal((6, 6))
    A[[1, 4]] = 0.0
    Q, R = orthonormalise(A)
    np.testing.assert_array_equal(np.diag(R) > 0, [True] * 4 + [False] * 2)
    np.testing.assert_allclose(Q.T @ Q, np.eye(6), atol=1e-14)
