"""Henrici's departure, its commutator bounds, and the normal control."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.theory.eigen import eigendecompose
from gradscope.theory.non_normality import normal_surrogate
from gradscope.theory.powers import log10_power_norms

EPS = np.finfo(float).eps


def gaussian(n, seed, complex_=False):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((n, n)) / np.sqrt(n)
    return W + 1j * rng.standard_normal((n, n)) / np.sqrt(n) if complex_ else W


def henrici_bounds(W):
    """Bounds on dep_F/‖W‖_F by the commutator C = WᴴW − WWᴴ, without an eigenvalue, widened by their own rounding.

    ‖W‖_F² − (‖W‖_F⁴ − ‖C‖_F²/2)^½ ≤ dep_F² ≤ ((n³ − n)/12)^½ ‖C‖_F (upper: Henrici 1962; lower: Elsner and
    Paardekooper, Linear Algebra Appl. 92 (1987) 107–124).
    """
    n = len(W)
    A = W / np.abs(W).max()
    A = A / np.linalg.norm(A)
    commutator, rounding = float(np.linalg.norm(A.conj().T @ A - A @ A.conj().T)), 4 * n * EPS
    # 1 − √(1 − x) written without cancellation.
    x = min(max(commutator - rounding, 0.0) ** 2 / 2, 1.0)
    low = np.sqrt(x / (1 + np.sqrt(1 - x))) * (1 - rounding)
    return low, min(1.0, np.sqrt(np.sqrt((n**3 - n) / 12) * (commutator + rounding)) * (1 + rounding))


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_departure_is_what_the_eigenvalues_leave_of_the_frobenius_norm(n, complex_):
    W = gaussian(n, n, complex_)
    square = np.linalg.norm(W) ** 2 - np.sum(np.abs(np.linalg.eigvals(W)) ** 2)
    # The difference of two nearly equal sums is good to eps only in the square.
    assert (eigendecompose(W).henrici * np.linalg.norm(W)) ** 2 == pytest.approx(max(square, 0), abs=50 * n * EPS)


def test_departure_of_normal_matrices_is_eps_and_not_its_root():
    for W in (np.linalg.qr(gaussian(30, 0))[0], np.roll(np.eye(9), 1, 0), 1e200 * (gaussian(6, 1) + gaussian(6, 1).T)):
        assert eigendecompose(W).henrici <= len(W) * EPS


def test_ginibre_departure_tends_to_one_over_root_two():
    # Σ|λ|² ≈ N/2 of ‖W‖_F² ≈ N; both fluctuate by O(1), so the ratio by O(1/N).
    assert eigendecompose(gaussian(300, 2)).henrici == pytest.approx(np.sqrt(0.5), abs=3 / 300)


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(1, 9),
    seed=st.integers(0, 10**6),
    coupling=st.floats(0, 1e6),
    scale=st.floats(-300, 300),
    real=st.booleans(),
)
def test_henrici_and_elsner_paardekooper_bounds_hold(n, seed, coupling, scale, real):
    W = gaussian(n, seed, not real) + coupling * np.triu(gaussian(n, seed + 1), 1)
    W = W * 10.0**scale
    departure, (low, high) = eigendecompose(W).henrici, henrici_bounds(W)
    assert 0 <= low <= departure + 10 * n * EPS
    assert departure - 10 * n * EPS <= high <= 1


def test_the_upper_bound_is_attained_by_a_nilpotent_2x2_and_the_lower_one_too():
    # [[0, 1], [0, 0]]: ‖C‖_F = √2, so low² = 1 − √(1 − 1) = 1, high² = √(1/2)·√2 = 1.
    low, high = henrici_bounds(np.array([[0.0, 3.0], [0.0, 0.0]]))
    assert low == pytest.approx(1, abs=1e-7)  # the root of a rounded 0 inside
    assert high == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 25])
def test_the_surrogate_is_normal_and_keeps_the_eigenvalues(n, complex_):
    W = gaussian(n, 10 + n, complex_)
    N = normal_surrogate(W)
    assert np.isrealobj(N) == (not complex_)
    scale = np.linalg.norm(W) ** 2
    assert np.linalg.norm(N @ N.conj().T - N.conj().T @ N) <= 10 * n * EPS * scale
    kept = np.sort_complex(np.linalg.eigvals(N).round(9))
    np.testing.assert_allclose(kept, np.sort_complex(np.linalg.eigvals(W).round(9)), atol=1e-8)
    rho = np.abs(np.linalg.eigvals(N)).max()
    np.testing.assert_allclose(log10_power_norms(N, 30), np.arange(31) * np.log10(rho), atol=1e-11)


def test_the_control_has_no_transient_where_the_original_has():
    J = 0.9 * np.eye(4) + np.eye(4, k=1)
    assert log10_power_norms(J, 60).max() > 2.3
    assert log10_power_norms(normal_surrogate(J), 60).max() == 0.0
