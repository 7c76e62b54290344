"""The eigendecomposition against closed forms, mpmath, and what rounding can and cannot prove."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.errors import InputError, ShapeError
from gradscope.theory.eigen import eigendecompose

EPS = np.finfo(float).eps


def jordan(eigenvalue, n):
    return eigenvalue * np.eye(n) + np.eye(n, k=1)


def rotated(A, seed):
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal(A.shape))[0]
    return Q @ A @ Q.T


def gaussian(n, seed, gain=1.0):
    return gain * np.random.default_rng(seed).standard_normal((n, n)) / np.sqrt(n)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_random_matrix_agrees_with_50_digit_eigenvalues(n):
    W = gaussian(n, n)
    with mpmath.workdps(50):
        truth, right = mpmath.eig(mpmath.matrix(W.tolist()))
        moduli = sorted((abs(complex(z)) for z in truth), reverse=True)
        for j in range(n):
            column = right[:, j]
            right[:, j] = column / mpmath.norm(column)
        condition = mpmath.svd_c(right, compute_uv=False)
        log10_condition = float(mpmath.log10(condition[0] / condition[n - 1]))
    found = eigendecompose(W)
    # First order: each eigenvalue moves by at most κ_i‖E‖, ‖E‖ ≲ n·eps‖W‖ for the QR algorithm.
    np.testing.assert_allclose(np.abs(found.eigenvalues), moduli, atol=n * EPS * found.condition_numbers.max() * 4)
    assert found.diagonalizable
    assert found.log10_condition == pytest.approx(log10_condition, abs=1e-12 * 10**log10_condition)
    assert found.reconstruction_error < 10**log10_condition * n * EPS * 10
    assert np.all(np.diff(np.abs(found.eigenvalues)) <= 0)


def test_eigenvalue_condition_numbers_of_a_2x2_have_a_closed_form():
    # [[a, b], [0, d]]: κ = √(1 + b²/(a−d)²) for both eigenvalues.
    found = eigendecompose(rotated(np.array([[0.9, 7.0], [0.0, 0.4]]), 1))
    np.testing.assert_allclose(found.condition_numbers, np.sqrt(1 + (7 / 0.5) ** 2), rtol=1e-11)
    assert not found.ill_conditioned.any()


def test_conjugate_pairs_stand_together_with_the_positive_imaginary_part_first():
    found = eigendecompose(gaussian(31, 5))
    values = found.eigenvalues
    complex_ones = np.flatnonzero(values.imag)
    assert complex_ones.size
    for first, second in complex_ones.reshape(-1, 2):
        assert second == first + 1
        assert values[first].imag > 0
        assert values[first] == values[second].conj()
    residual = gaussian(31, 5) @ found.P - found.P * values
    assert np.abs(residual).max() < 31 * EPS * found.spectral_norm * 4


@pytest.mark.parametrize("n", [2, 3, 4, 8, 30])
@pytest.mark.parametrize("eigenvalue", [0.0, 0.9, -1.3])
def test_a_jordan_block_is_not_diagonalisable_in_any_basis(n, eigenvalue):
    for W in (jordan(eigenvalue, n), jordan(eigenvalue, n).T, rotated(jordan(eigenvalue, n), n)):
        found = eigendecompose(W)
        assert not found.diagonalizable
        assert found.log10_condition is None
        assert found.ill_conditioned.all()
        assert np.isfinite(found.reconstruction_error)
    exactly = eigendecompose(jordan(eigenvalue, n))
    assert exactly.exact
    assert np.all(exactly.eigenvalues == eigenvalue)
    assert exactly.reconstruction_error > 0.1


@pytest.mark.parametrize("n", range(2, 12))
def test_nilpotent_matrices_are_never_said_to_have_a_positive_radius(n):
    order = np.random.default_rng(n).permutation(n)
    upper = np.triu(np.random.default_rng(n).standard_normal((n, n)), 1)
    hidden = eigendecompose(upper[np.ix_(order, order)])
    assert hidden.nilpotent
    assert hidden.spectral_radius == hidden.spectral_radius_high == 0.0
    turned = eigendecompose(rotated(jordan(0.0, n), n))
    assert not turned.nilpotent  # rounding has destroyed the proof ...
    assert turned.spectral_radius > 0
    assert turned.spectral_radius_low == 0.0  # ... but 0 stays inside what is claimed
    assert turned.ill_conditioned.all()


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_interval_holds_the_radius_of_a_defective_matrix(size):
    for seed in range(20):
        found = eigendecompose(rotated(jordan(0.9, size), seed))
        assert found.spectral_radius_low <= 0.9 <= found.spectral_radius_high
        assert found.spectral_radius_high - found.spectral_radius_low < 0.05


def test_spectral_variation_is_elsners():
    from gradscope.theory.eigen import _spectral_variation

    # Near equality for a Jordan block of size n and norm about s: ε in its corner moves 0 to s^(1−1/n)·ε^(1/n).
    for n, s, epsilon in ((3, 100.0, 1e-9), (5, 1e-3, 1e-12)):
        W = s * np.eye(n, k=1)
        W[-1, 0] = epsilon
        moved = np.abs(np.linalg.eigvals(W)).max()
        assert moved == pytest.approx(s ** (1 - 1 / n) * epsilon ** (1 / n), rel=1e-9)
        assert moved <= _spectral_variation(n, s, epsilon) <= 2 * moved * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_balancing_keeps_badly_scaled_eigenvalues_certain(seed):
    rng = np.random.default_rng(seed)
    D = 2.0 ** rng.integers(-26, 27, 6)  # exact: D G D⁻¹ has G's eigenvalues, and norm 1e14
    G = gaussian(6, seed)
    plain, scaled = eigendecompose(G), eigendecompose(D[:, None] * G / D)
    assert scaled.spectral_norm > 1e4 * plain.spectral_norm
    assert scaled.spectral_radius == pytest.approx(plain.spectral_radius, rel=1e-12)
    assert scaled.spectral_radius_high - scaled.spectral_radius_low < 1e-9


def test_an_exactly_diagonalisable_matrix_within_rounding_of_a_defective_one_is_refused():
    # Eigenvalues 1e-6 apart under a coupling of 100: κ_i = 1e8, so an entry of 2.5e-15 merges them.
    found = eigendecompose(rotated(np.array([[0.5, 100.0], [0.0, 0.5 + 1e-7]]), 3))
    assert not found.diagonalizable
    apart = eigendecompose(rotated(np.array([[0.5, 100.0], [0.0, 0.6]]), 3))
    assert apart.diagonalizable


def test_multiple_eigenvalues_alone_are_no_defect():
    X = np.random.default_rng(7).standard_normal((6, 6))
    found = eigendecompose(X @ np.diag([1.0, 1, 1, 2, 2, 3]) @ np.linalg.inv(X))
    assert found.diagonalizable
    assert found.reconstruction_error < 1e-12


@pytest.mark.parametrize(
    "W",
    [
        np.eye(4),
        np.roll(np.eye(7), 1, axis=0),
        rotated(np.diag([3.0, 1, 1, -2]), 0),
        np.linalg.qr(gaussian(40, 2))[0],
        1j * rotated(np.diag([3.0, 1, 1, -2]), 0),
        np.array([[0.3, -0.8], [0.8, 0.3]]),
    ],
)
def test_normal_matrices_have_a_unitary_eigenbasis(W):
    found = eigendecompose(W)
    n = len(W)
    assert found.is_normal
    assert found.henrici <= n * EPS  # not the √eps that ‖W‖_F² − Σ|λ|² would leave
    assert found.log10_condition == 0.0
    np.testing.assert_allclose(found.P.conj().T @ found.P, np.eye(n), atol=4 * n * EPS)
    assert found.reconstruction_error <= 4 * n * EPS
    assert found.spectral_radius == pytest.approx(found.spectral_norm, rel=4 * n * EPS)


def test_henrici_departure_of_a_2x2_is_its_off_diagonal_entry():
    for W in (np.array([[0.9, 7.0], [0.0, 0.4]]), rotated(np.array([[0.9, 7.0], [0.0, 0.4]]), 4)):
        assert eigendecompose(W).henrici == pytest.approx(7 / np.sqrt(0.81 + 49 + 0.16), rel=1e-13)
    # A real 2×2 with complex eigenvalues: ‖W‖_F² − 2 det.
    W = np.array([[0.2, 3.0], [-0.5, 0.1]])
    departure = np.sqrt(np.sum(W**2) - 2 * np.linalg.det(W))
    assert eigendecompose(W).henrici == pytest.approx(departure / np.linalg.norm(W), rel=1e-12)


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-300, 2.0**900])
def test_powers_of_two_only_scale(scale):
    plain, scaled = eigendecompose(gaussian(9, 3)), eigendecompose(gaussian(9, 3) * scale)
    np.testing.assert_array_equal(scaled.eigenvalues, plain.eigenvalues * scale)
    assert scaled.spectral_norm == plain.spectral_norm * scale
    assert scaled.henrici == plain.henrici
    assert scaled.log10_condition == plain.log10_condition


def test_zero_and_one_by_one():
    zero = eigendecompose(np.zeros((3, 3)))
    assert (zero.spectral_radius, zero.reconstruction_error, zero.henrici) == (0.0, 0.0, 0.0)
    assert zero.diagonalizable
    assert zero.nilpotent
    assert eigendecompose(np.array([[-2]])).eigenvalues[0] == -2


@pytest.mark.parametrize("shape", [(0, 0), (2, 3), (4,), (2, 2, 2)])
def test_shapes_that_have_no_spectrum_are_refused(shape):
    with pytest.raises(ShapeError, match="square"):
        eigendecompose(np.zeros(shape))


def test_nan_and_objects_are_refused():
    with pytest.raises(InputError, match="NaN"):
        eigendecompose(np.array([[np.nan]]))
    with pytest.raises(InputError, match="numbers"):
        eigendecompose(np.array([["a"]]))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 8), seed=st.integers(0, 10**6), gain=st.floats(0.01, 5), coupling=st.floats(0, 50))
def test_powers_obey_the_diagonalisation_bounds(n, seed, gain, coupling):
    W = gaussian(n, seed, gain) + coupling * np.triu(gaussian(n, seed + 1), 1)
    found = eigendecompose(W)
    power = np.eye(n)
    for k in range(1, 12):
        power = power @ W
        norm = np.linalg.norm(power, 2)
        # k gemms leave n·k·eps·σ₁ᵏ; ρ moves by its uncertainty, ρᵏ by k times its relative size.
        slack = k * n * EPS * found.spectral_norm**k * 4
        assert found.spectral_radius_low**k <= norm * (1 + 1e-12) + slack
        if found.diagonalizable:
            kappa = 10**found.log10_condition
            assert norm <= kappa * found.spectral_radius_high**k * (1 + 1e-9) + slack
