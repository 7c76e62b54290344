"""Finite-lag singular values against mpmath with more digits than the spectrum has decades."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradscope.errors import UsageError
from gradscope.numerics.qr_sweeps import finite_lag_singular_values, graded_singular_values
from gradscope.numerics.tape import tape_of_matrices


def product(matrices):
    """Exact product of float64 matrices, newest on the left (in the working precision)."""
    P = mpmath.matrix(matrices[0].tolist())
    for J in matrices[1:]:
        P = mpmath.matrix(J.tolist()) * P
    return P


def log10_svd(matrices, digits):
    """Truth by SVD in ``digits`` digits: more than twice the decades between σ_1 and σ_n are needed."""
    with mpmath.workdps(digits):
        values = mpmath.svd_r(product(matrices), compute_uv=False)
        return np.sort([float(mpmath.log10(value)) for value in values])[::-1]


def determinant(a, b, c, d, e, f, g, h, i):
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def log10_eigenvalues_of_gram(matrices, digits):
    """3×3 truth for thousands of decades: the roots of the characteristic polynomial of PᵀP separate as e_{k+1}/e_k."""
    with mpmath.workdps(digits):
        P = product(matrices)
        G = P.T * P
        e1 = G[0, 0] + G[1, 1] + G[2, 2]
        e2 = sum(G[i, i] * G[j, j] - G[i, j] ** 2 for i, j in ((0, 1), (0, 2), (1, 2)))
        with mpmath.workdps(60):  # det P from the factors: from P itself it would take 7300 digits instead of 4600
            e3 = mpmath.fprod(determinant(*map(mpmath.mpf, J.ravel().tolist())) for J in matrices) ** 2
        # λ_1 = e1(1 − O(λ_2/λ_1)): exact to 1e-100 once the gaps exceed 100 decades, which the test asserts.
        return np.array([float(mpmath.log10(x) / 2) for x in (e1, e2 / e1, e3 / e2)])


@pytest.mark.parametrize("n_steps", [1, 2, 12])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_short_gaussian_products(n, n_steps):
    """N04: 12 Gaussian factors, where QR sweeps alone still miss by 1e-4 after nine half-sweeps."""
    matrices = np.random.default_rng(10 * n + n_steps).standard_normal((n_steps, n, n))
    found = finite_lag_singular_values(tape_of_matrices(matrices), 1, n_steps)
    np.testing.assert_allclose(found.log10_singular_values[0], log10_svd(matrices, 120), rtol=0, atol=1e-12)
    assert found.converged


def test_four_hundred_factors_where_the_accumulated_product_is_noise():
    """N04's case in kind: 400 3×3 factors; the naive SVD is right in its first digit column only."""
    matrices = np.random.default_rng(4).standard_normal((400, 3, 3)) / np.sqrt(3)
    truth = log10_svd(matrices, 700)
    found = finite_lag_singular_values(tape_of_matrices(matrices), 1, 400).log10_singular_values[0]
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-11)
    P = np.eye(3)
    for J in matrices:
        P = J @ P
    naive = np.log10(np.linalg.svd(P, compute_uv=False))
    assert abs(naive[2] - truth[2]) > 1.0


def test_five_thousand_steps_4500_decades_apart():
    """σ_1/σ_3 > 10^4500: 5000 steps lose a few ε each, the logarithm of 10^3510 as much again."""
    rng = np.random.default_rng(1)
    # One frame at every step, so that the gaps add up instead of averaging out.
    matrices = np.diag([2.0, 0.7, 0.2]) @ (np.eye(3) + 0.1 * rng.standard_normal((5000, 3, 3)))
    truth = log10_eigenvalues_of_gram(matrices, 5000)
    assert truth[0] - truth[2] > 4500
    assert min(-np.diff(truth)) > 100
    found = finite_lag_singular_values(tape_of_matrices(matrices), 1, 5000)
    np.testing.assert_allclose(found.log10_singular_values[0], truth, rtol=0, atol=1e-11)
    assert found.determinant_residual < 1e-13
    assert found.converged


def test_one_qr_pass_is_not_the_singular_values():
    """N04: cumulated log|R_jj| is off by O(1), so the sweeps do something."""
    matrices = np.random.default_rng(0).standard_normal((100, 4, 4))
    without = finite_lag_singular_values(tape_of_matrices(matrices), 1, 100, sweeps=0)
    assert without.sweep_residual > 0.05
    assert finite_lag_singular_values(tape_of_matrices(matrices), 1, 100, sweeps=1).sweep_residual < 1e-6
    # … while Jacobi on the graded product makes up for it.
    np.testing.assert_allclose(without.log10_singular_values[0], log10_svd(matrices, 300), rtol=0, atol=1e-11)


def test_ties_and_a_close_pair():
    """Orthogonal times diag: σ exactly (1, 1, c)^T; sweeps never separate the tie."""
    matrices = np.linalg.qr(np.random.default_rng(5).standard_normal((40, 4, 4)))[0]
    found = finite_lag_singular_values(tape_of_matrices(matrices), 1, 40)
    np.testing.assert_allclose(found.log10_singular_values, 0.0, atol=1e-14)


def test_part_of_a_tape_and_batches():
    matrices = np.random.default_rng(6).standard_normal((30, 2, 3, 3))
    found = finite_lag_singular_values(tape_of_matrices(matrices), 11, 25)
    for b in range(2):
        np.testing.assert_allclose(
            found.log10_singular_values[b], log10_svd(matrices[10:25, b], 150), rtol=0, atol=1e-12
        )


def test_large_products_add_up_to_the_determinant():
    """n = 60, 100 steps of a driven tanh-like network: Σ log10 σ against LU, and σ_1 against the dense SVD."""
    rng = np.random.default_rng(7)
    W = 1.2 * rng.standard_normal((60, 60)) / np.sqrt(60)
    matrices = rng.uniform(0.2, 1.0, (100, 60, 1)) * W
    found = finite_lag_singular_values(tape_of_matrices(matrices), 1, 100)
    # n ε κ(J) of each step, κ(J) ≈ 1e4, relative to |Σ ln σ| ≈ 1e4.
    assert found.determinant_residual < 1e-13
    P = np.linalg.multi_dot(list(matrices[::-1]))
    # Blocked accumulation is exact to 1e-13 for the leading ones only.
    np.testing.assert_allclose(
        found.log10_singular_values[0, :3], np.log10(np.linalg.svd(P, compute_uv=False)[:3]), rtol=0, atol=1e-10
    )


def test_lost_rank_is_minus_infinity():
    matrices = np.random.default_rng(8).standard_normal((10, 4, 4))
    matrices[3, 2] = 0.0
    matrices[7, [0, 1]] = 0.0
    found = finite_lag_singular_values(tape_of_matrices(matrices), 1, 10)
    assert np.isneginf(found.log10_singular_values[0, 2:]).all()
    with mpmath.workdps(100):
        values = mpmath.svd_r(product(matrices), compute_uv=False)
        truth = [float(mpmath.log10(values[i])) for i in range(2)]
    np.testing.assert_allclose(found.log10_singular_values[0, :2], truth, rtol=0, atol=1e-11)
    assert np.isnan(found.determinant_residual)


@pytest.mark.parametrize("decades", [0.0, 3.0, 40.0, 4000.0])
def test_graded_jacobi_against_mpmath(decades):
    rng = np.random.default_rng(9)
    U = np.eye(5) + 0.5 * rng.standard_normal((5, 5))
    logs = np.linspace(0.0, -decades * np.log(10.0), 5)
    found, cosine = graded_singular_values(logs, U)
    digits = int(3 * decades) + 50
    if decades > 100:
        # Gaps of 1000 decades: σ_j is the ratio of leading Gram determinants to 1e-1000.
        with mpmath.workdps(60):
            rows = mpmath.matrix(U.tolist())
            volumes = [mpmath.sqrt(mpmath.det(rows[:k, :] * rows[:k, :].T)) for k in range(1, 6)]
            ratios = [volumes[0]] + [volumes[k] / volumes[k - 1] for k in range(1, 5)]
            truth = logs + np.array([float(mpmath.log(ratio)) for ratio in ratios])
    else:
        with mpmath.workdps(digits):
            A = mpmath.diag([mpmath.exp(float(x)) for x in logs]) * mpmath.matrix(U.tolist())
            values = mpmath.svd_r(A, compute_uv=False)
            truth = np.sort([float(mpmath.log(value)) for value in values])[::-1]
    np.testing.assert_allclose(found, truth, rtol=1e-15, atol=1e-13)
    assert cosine < 1e-14


def test_graded_jacobi_converges_quadratically(monkeypatch):
    """Eight sweeps settle 20 rows; with a rotation angle a few per cent off convergence is linear and takes more."""
    monkeypatch.setattr("gradscope.numerics.qr_sweeps.JACOBI_SWEEPS", 8)
    U = np.eye(20) + 0.3 * np.random.default_rng(2).standard_normal((20, 20))
    assert graded_singular_values(np.linspace(0.0, -9.0, 20), U)[1] < 1e-13


@pytest.mark.parametrize(("first", "last"), [(0, 3), (3, 2), (1, 6)])
def test_steps_outside_the_tape(first, last):
    with pytest.raises(UsageError, match="first"):
        finite_lag_singular_values(tape_of_matrices(np.ones((5, 2, 2))), first, last)
