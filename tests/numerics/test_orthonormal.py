"""Thin QR: both roads against the definition, and the small rows' digits against mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradscope.numerics import orthonormal
from gradscope.numerics.orthonormal import orthonormalise, roughly_orthonormalise, try_one_pass


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


def doubly_dependent(rng, n, condition):
    """Gaussian, but for two columns: the last of the first panel, within 1/condition of the one before it, and the very
    last, within 1/condition of the first panel's span. What the one lacks in Q, the other one multiplies up."""
    A, first = rng.standard_normal((n, n)), orthonormal.PANEL
    A[:, first - 1] = A[:, first - 2] + A[:, first - 1] / condition
    span = np.linalg.qr(A[:, :first])[0]
    A[:, -1] = span @ rng.standard_normal(first) + A[:, -1] / condition
    return A / np.abs(A).max()


@pytest.mark.parametrize("n", [80, 150])
@pytest.mark.parametrize("condition", np.logspace(1, 9, 17))
def test_loss_of_orthogonality_carried_from_panel_to_panel_is_foreseen(n, condition):
    """It is about ε κ³, 1 at κ = 1e5: where the pass says yes, Q is near orthonormal."""
    for seed in range(5):
        A = doubly_dependent(np.random.default_rng(seed), n, condition)
        pair = try_one_pass(A)
        if condition <= 3e2:
            assert pair is not None
        if pair is not None:
            Q, R = pair
            assert np.abs(Q @ R - A).max() < 4 * n * np.finfo(float).eps
            assert np.linalg.norm(Q.T @ Q - np.eye(n), 2) < 0.02


def test_a_panel_too_ill_conditioned_for_one_cholesky_gets_a_second():
    """κ = 1e7: ε κ² = 0.02 after the first, rounding after the second."""
    rng = np.random.default_rng(0)
    R = np.triu(rng.uniform(-0.1, 0.1, (24, 24)), 1) + np.diag([1.0] * 23 + [1e-7])
    A = np.linalg.qr(rng.standard_normal((30, 24)))[0] @ R
    pair = try_one_pass(A)
    assert pair is not None
    assert np.abs(pair[0].T @ pair[0] - np.eye(24)).max() < 1e-12
    np.testing.assert_allclose(np.diag(pair[1]), np.diag(R), rtol=1e-8)


@pytest.mark.parametrize("n", [16, 24, 64, 100])
@pytest.mark.parametrize("kind", ["row", "direction", "two rows"])
def test_no_singular_matrix_gets_through_in_one_pass(n, kind):
    """R_nn² is rounding then, k·ε·|R₁₁⁻¹R₁₂|², and may pass for a number: one matrix in fifteen used to."""
    rng = np.random.default_rng(n)
    for _ in range(300):
        A = rng.standard_normal((n, n))
        if kind == "direction":
            u = rng.standard_normal(n)
            A -= np.outer(u, u @ A) / (u @ u)
        else:
            A[: 1 + (kind == "two rows")] = 0.0
        assert try_one_pass(A / np.abs(A).max()) is None
        diagonal = np.diag(roughly_orthonormalise(A)[1])
        assert diagonal.min() < 1e-10 * diagonal.max()


def test_columns_hundreds_of_decades_apart_go_to_householder():
    """R_jj of 1e-161 is the root of the smallest subnormal number, and its ratio to 1 has no square."""
    A = np.random.default_rng(0).standard_normal((30, 20))
    A[:, 7] *= 1e-161
    assert try_one_pass(A) is None
    Q, R = roughly_orthonormalise(A)
    assert np.abs(Q @ R - A).max() < 1e-14
    assert 1e-162 < R[7, 7] < 1e-159


@pytest.mark.parametrize("shape", [(40, 17), (64, 33), (100, 64), (131, 97), (200, 200)])
def test_one_pass_has_the_diagonal_of_householder(shape):
    A = with_condition(np.random.default_rng(3), *shape, 1e3)
    pair = try_one_pass(A)
    assert pair is not None
    slow = orthonormal._householder(A)[1]
    assert np.all(np.tril(pair[1], -1) == 0.0)
    assert np.abs(np.diag(pair[1]) / np.diag(slow) - 1).max() < 1e-9


def test_one_pass_takes_stacks_and_leaves_its_argument_alone():
    rng = np.random.default_rng(0)
    for A in (rng.standard_normal((2, 3, 50, 40)), np.asfortranarray(rng.standard_normal((50, 40)))):
        before = A.copy()
        pair = try_one_pass(A)
        assert pair is not None
        np.testing.assert_array_equal(A, before)
        np.testing.assert_allclose(pair[0] @ pair[1], A, rtol=0, atol=1e-13)
    A = rng.standard_normal((3, 40, 40))
    A[1, :, 5] = A[1, :, 4]
    assert try_one_pass(A) is None
    Q, R = roughly_orthonormalise(A)
    np.testing.assert_allclose(Q @ R, A, rtol=0, atol=1e-13)


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
