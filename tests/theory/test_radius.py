"""ρ(W) between bounds that need no eigenvalue, the Kreiss constant and the peak that follow from ρ < 1."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.theory.certificate import certify
from gradscope.theory.eigen import eigendecompose
from gradscope.theory.kreiss import kreiss_constant
from gradscope.theory.powers import peak_power
from gradscope.theory.radius import power_bounds, spectral_radius, with_best_radius


def grcar(n, k=3):
    return -np.eye(n, k=-1) + sum(np.eye(n, k=j) for j in range(k + 1))


def best(W):
    return with_best_radius(W, eigendecompose(W), certify(W))


def test_grcar_against_arb():
    """0.4·Grcar(100): eigenvalues of W alone leave ρ within [0, 1.296]; Arb encloses ρ = 0.905170254264."""
    W = 0.4 * grcar(100)
    assert eigendecompose(W).spectral_radius_high > 1.2
    found = best(W)
    assert found.spectral_radius_low <= 0.905170254264 + 5e-13
    assert found.spectral_radius_high >= 0.905170254264 - 5e-13
    assert found.spectral_radius == pytest.approx(0.905170254264, abs=1e-10)
    assert found.spectral_radius_high - found.spectral_radius_low < 1e-10
    assert spectral_radius(W, certify(W)) == pytest.approx(0.905170254264, abs=1e-10)
    assert kreiss_constant(W, decomposition=found).value == pytest.approx(9_275_138, rel=1e-6)
    peak = peak_power(W, decomposition=found)
    assert peak.proven
    assert peak.log10_norm >= np.log10(9_275_138)


CASES = {
    "Grcar(60, 2)": (0.4 * grcar(60, 2), None),
    "Toeplitz": (0.3 * np.eye(80) + 0.9 * np.eye(80, k=1) + 0.1 * np.eye(80, k=-1), 0.3 + 0.6 * np.cos(np.pi / 81)),
    "skew Toeplitz": (0.9 * np.eye(70, k=1) - 0.1 * np.eye(70, k=-1), 0.6 * np.cos(np.pi / 71)),
    "graded similarity": (
        2.0 ** np.arange(0, -60, -2)[:, None] * (0.9 * np.roll(np.eye(30), 1, axis=1)) * 2.0 ** np.arange(0, 60, 2),
        0.9,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_intervals_hold_the_radius_and_are_narrow(name):
    W, radius = CASES[name]
    found = best(W)
    assert found.spectral_radius_low <= found.spectral_radius <= found.spectral_radius_high < 1
    assert found.spectral_radius_high - found.spectral_radius_low < 1e-6
    if radius is not None:
        assert found.spectral_radius_low <= radius * (1 + 1e-14)
        assert found.spectral_radius_high >= radius * (1 - 1e-14)
    assert kreiss_constant(W, decomposition=found) is not None


@given(n=st.integers(1, 12), seed=st.integers(0, 10**6), coupling=st.sampled_from([0.0, 1.0, 100.0]))
@settings(max_examples=40, deadline=None)
def test_traces_and_powers_enclose_the_radius(n, seed, coupling):
    """A W made from its eigenvalues: block triangular with known 2×2 blocks, turned by an orthogonal matrix."""
    rng = np.random.default_rng(seed)
    T = coupling * np.triu(rng.normal(size=(n, n)), 1)
    T[np.diag_indices(n)] = rng.uniform(-1, 1, n)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    W = Q @ T @ Q.T
    radius = np.abs(np.diag(T)).max()
    low, high = power_bounds(W / np.abs(W).max(), np.zeros(n))
    low, high = low * np.abs(W).max(), high * np.abs(W).max()
    # W itself is Q T Qᵀ to rounding, and so are its eigenvalues to the n-th root of it.
    rounding = (1 + coupling * n) * (50 * n * 2.2e-16) ** (1 / n)
    assert low <= radius + rounding
    assert high >= radius - rounding
    assert high < np.inf


def test_a_trace_whose_rounding_is_not_counted_would_lie():
    """The planted error: W nilpotent, ρ = 0, where computed powers have traces of rounding."""
    Q = np.linalg.qr(np.random.default_rng(3).normal(size=(20, 20)))[0]
    W = Q @ (3 * np.triu(np.random.default_rng(4).normal(size=(20, 20)), 1)) @ Q.T
    low, _ = power_bounds(W / np.abs(W).max(), np.zeros(20))
    powers = [np.trace(np.linalg.matrix_power(W / np.abs(W).max(), k)) for k in (16, 32, 64)]
    uncounted = max((abs(t) / 20) ** (1 / k) for t, k in zip(powers, (16, 32, 64), strict=True))
    assert low < 0.5 * uncounted
