"""w(W), α(W), the boundary of F(W): closed forms, the angle grid's own error bound, power inequalities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.theory.numerical_range import numerical_abscissa, numerical_radius, numerical_range_boundary

EPS = np.finfo(float).eps


def rotated(A, seed):
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal(A.shape))[0]
    return Q @ A @ Q.T


def gaussian(n, seed, complex_=False):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((n, n)) / np.sqrt(n)
    return W + 1j * rng.standard_normal((n, n)) / np.sqrt(n) if complex_ else W


def radius_on_a_grid(W, m):
    """Independent and slow: max over m angles, right to relative 1 − cos(π/m)."""
    best = 0.0
    for theta in 2 * np.pi * np.arange(m) / m:
        turned = np.exp(1j * theta) * W
        best = max(best, np.linalg.eigvalsh((turned + turned.conj().T) / 2)[-1])
    return best


@pytest.mark.parametrize("n", [2, 3, 4, 9, 40])
@pytest.mark.parametrize("eigenvalue", [0.0, 0.9, -2.0])
@pytest.mark.parametrize("turn", [False, True])
def test_jordan_blocks_have_a_disc_of_radius_cos_pi_over_n_plus_1(n, eigenvalue, turn):
    W = eigenvalue * np.eye(n) + np.eye(n, k=1)
    W = rotated(W, n) if turn else W
    found = numerical_radius(W)
    assert found.certified
    assert found.value == pytest.approx(abs(eigenvalue) + np.cos(np.pi / (n + 1)), rel=1e-12)
    assert found.value <= found.upper <= found.value * (1 + 1e-10)
    assert numerical_abscissa(W) == pytest.approx(eigenvalue + np.cos(np.pi / (n + 1)), rel=1e-12)


def test_a_discs_boundary_is_a_circle():
    W = rotated(0.3 * np.eye(5) + np.eye(5, k=1), 1)
    points = numerical_range_boundary(W, 37)
    np.testing.assert_allclose(np.abs(points - 0.3), np.cos(np.pi / 6), rtol=1e-12)
    assert np.all(np.diff(np.unwrap(np.angle(points - 0.3))) > 0)


def test_2x2_range_is_the_ellipse_with_the_eigenvalues_as_foci():
    # Elliptical range theorem: minor axis √(tr WᴴW − |λ₁|² − |λ₂|²) = |b| for [[a, b], [0, d]].
    a, b, d = 0.9 + 0.2j, 1.7, -0.4 + 0.5j
    points = numerical_range_boundary(rotated(np.array([[a, b], [0, d]]), 2), 60)
    np.testing.assert_allclose(np.abs(points - a) + np.abs(points - d), np.hypot(b, abs(a - d)), rtol=1e-11)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("complex_", [False, True])
def test_agrees_with_a_fine_angle_grid(seed, complex_):
    W = gaussian(7, seed, complex_)
    found, grid = numerical_radius(W), radius_on_a_grid(W, 2000)
    assert found.certified
    assert grid * (1 - 1e-13) <= found.value <= grid / np.cos(np.pi / 2000) * (1 + 1e-13)
    H = np.exp(-1j * found.angle) * W
    assert np.linalg.eigvalsh((H + H.conj().T) / 2)[-1] == pytest.approx(found.value, rel=1e-12)


def test_two_separate_maxima_do_not_fool_the_search():
    # A real direct sum whose second block has its range elsewhere, larger by 1e-6.
    block = np.array([[0.0, -1.0], [1.0, 0.0]])
    W = np.zeros((6, 6))
    W[:2, :2] = (1 + 1e-6) * block + np.array([[0, 0.3], [0, 0]])
    W[2:4, 2:4] = np.diag([1.1, -0.2])
    W[4:, 4:] = np.array([[0.2, 1.5], [0.1, 0.3]])
    W = rotated(W, 9)
    pieces = max(radius_on_a_grid(W, 20_000), 0)
    assert numerical_radius(W).value == pytest.approx(pieces, rel=2e-8)


@pytest.mark.parametrize("shift", [0.0, 1e-4, 1e-4j, 3e-3 * (1 + 1j), 0.05j])
def test_nearly_a_disc_about_zero_is_still_certified(shift):
    W = rotated(np.eye(8, k=1), 3) + shift * np.eye(8)
    found = numerical_radius(W)
    assert found.certified
    assert found.value == pytest.approx(np.cos(np.pi / 9) + abs(shift), rel=2e-10)


@pytest.mark.parametrize(
    "W", [np.eye(3), np.roll(np.eye(6), 1, 0), rotated(np.diag([1.0, -3, 2]), 0), np.zeros((2, 2))]
)
def test_normal_matrices_have_w_equal_to_rho(W):
    found = numerical_radius(W)
    assert found.certified
    assert found.value == pytest.approx(np.abs(np.linalg.eigvals(W)).max(), abs=1e-14)


def test_grcar_and_large_orthogonal_matrices_are_certified():
    grcar = 0.4 * (np.eye(16) - np.eye(16, k=-1) + sum(np.eye(16, k=k) for k in (1, 2, 3)))
    found = numerical_radius(grcar)
    assert found.certified
    assert found.value == pytest.approx(radius_on_a_grid(grcar, 1000), rel=5e-6)
    assert numerical_radius(np.linalg.qr(gaussian(200, 0))[0]).certified


def test_the_level_set_climbs_from_the_wrong_maximum():
    from gradscope.theory.numerical_range import _Cuts, _level_set_upper, _support

    for seed in range(5):
        W = gaussian(9, seed, complex_=True)
        cuts = _Cuts(lambda theta, W=W: _support(W, theta)[0], symmetric=False)
        angles = np.linspace(-np.pi, np.pi, 9)
        cuts.add(min(angles, key=lambda phi, W=W: _support(W, -phi)[0]))  # the worst of eight directions
        upper = _level_set_upper(W, cuts, 1e-10)
        truth = radius_on_a_grid(W, 2000)
        assert truth * (1 - 1e-12) <= upper <= truth * (1 + 3e-6)
        assert cuts.best[0] == pytest.approx(upper, rel=1e-9)


def test_too_few_cuts_are_admitted():
    W = rotated(np.eye(140, k=1), 0)  # a disc above the level-set limit
    found = numerical_radius(W, max_cuts=8)
    assert not found.certified
    assert found.value <= np.cos(np.pi / 141) * (1 + 1e-12) <= found.upper * (1 + 1e-12)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 7), seed=st.integers(0, 10**6), coupling=st.floats(0, 20), real=st.booleans())
def test_power_inequalities(n, seed, coupling, real):
    W = gaussian(n, seed, not real) + coupling * np.triu(gaussian(n, seed + 1), 1)
    found = numerical_radius(W)
    sigma = np.linalg.norm(W, 2)
    assert found.certified
    slack = 4 * n * EPS * sigma
    assert sigma / 2 - slack <= found.value <= sigma + slack
    assert numerical_abscissa(W) <= found.upper + slack
    power = np.eye(n)
    for k in range(1, 12):
        power = power @ W
        # Berger: ‖Wᵏ‖ ≤ 2wᵏ; k products leave k·n·eps·σ₁ᵏ.
        assert np.linalg.norm(power, 2) <= 2 * found.upper**k + 4 * k * n * EPS * sigma**k
