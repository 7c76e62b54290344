"""inf_S ‖SWS⁻¹‖: a certified upper bound, from both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from gradscope.theory.eigen import eigendecompose
from gradscope.theory.scaled_norm import scaled_norm

EPS = np.finfo(float).eps


def gaussian(n, seed):
    return np.random.default_rng(seed).standard_normal((n, n)) / np.sqrt(n)


def test_the_echo_state_example():
    W = np.array([[0.5, 3.0], [0.02, 0.5]])
    # Nonnegative: the infimum is ρ = ½ + √0.06, though σ₁ = 3.08 says nothing.
    assert scaled_norm(W).value == pytest.approx(0.5 + np.sqrt(0.06), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_nonnegative_matrices_reach_their_spectral_radius(n):
    W = np.abs(gaussian(n, n))
    assert scaled_norm(W).value == pytest.approx(np.abs(np.linalg.eigvals(W)).max(), rel=1e-12)


def test_perron_vectors_alone_are_optimal_for_nonnegative_matrices():
    W = np.abs(gaussian(9, 4))
    assert scaled_norm(W, max_steps=0).value == pytest.approx(np.abs(np.linalg.eigvals(W)).max(), rel=1e-11)


@pytest.mark.parametrize("n", [2, 7, 20])
def test_a_hidden_scaling_of_an_orthogonal_matrix_is_found(n):
    rng = np.random.default_rng(n)
    D = np.exp(2 * rng.standard_normal(n))
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    found = scaled_norm(0.8 * D[:, None] * Q / D)
    assert found.value == pytest.approx(0.8, rel=1e-9)
    assert found.value >= 0.8 * (1 - 1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_from_below_by_the_structured_radius(seed):
    # For up to three complex scalar blocks the scaled norm *is* max_θ ρ(diag(e^{iθ})W) (Packard and Doyle 1993).
    W = gaussian(3, seed)

    def negative_radius(theta):
        return -np.abs(np.linalg.eigvals(np.exp(1j * np.array([0, *theta]))[:, None] * W)).max()

    starts = np.random.default_rng(seed).uniform(-np.pi, np.pi, (12, 2))
    options = {"xatol": 1e-9, "fatol": 1e-14}
    truth = -min(minimize(negative_radius, x, method="Nelder-Mead", options=options).fun for x in starts)
    assert scaled_norm(W).value == pytest.approx(truth, rel=1e-7)


def test_a_convex_search_from_elsewhere_finds_nothing_better():
    W = gaussian(8, 3)

    def norm(x):
        return np.linalg.norm(np.exp(x)[:, None] * W * np.exp(-x), 2)

    found = scaled_norm(W)
    assert norm(found.log_scales) == pytest.approx(found.value, rel=1e-13)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        step = rng.standard_normal(8) * 10 ** rng.uniform(-5, 0)
        assert norm(found.log_scales + step) >= found.value * (1 - 1e-7)


def test_a_triangular_matrix_is_stopped_by_the_condition_limit():
    W = np.eye(3, k=1)
    for limit in (1e2, 1e6):
        found = scaled_norm(W, max_condition=limit)
        assert found.log10_condition <= np.log10(limit) * (1 + 1e-12)
        assert found.value == pytest.approx(limit**-0.5, rel=1e-6)  # two links share the whole range


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**900])
def test_scale_passes_through(scale):
    assert scaled_norm(gaussian(5, 1) * scale).value == scaled_norm(gaussian(5, 1)).value * scale


def test_zero_has_norm_zero():
    found = scaled_norm(np.zeros((2, 2)))
    assert (found.value, found.log10_condition) == (0.0, 0.0)
    assert np.isneginf(found.log10_power_bound(1))
    assert found.log10_power_bound(0) == 0


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 8), seed=st.integers(0, 10**6), coupling=st.floats(0, 100), gamma=st.sampled_from([0.25, 1.0]))
def test_no_product_with_slopes_exceeds_the_bound(n, seed, coupling, gamma):
    rng = np.random.default_rng(seed)
    W = gaussian(n, seed) + coupling * np.triu(gaussian(n, seed + 1), 1)
    found = scaled_norm(W, max_steps=60)
    sigma = np.linalg.norm(W, 2)
    assert eigendecompose(W).spectral_radius_low <= found.value  # similar matrices share ρ
    assert found.value <= sigma * (1 + 10 * n * EPS)
    product, log10_scale = np.eye(n), 0.0
    for k in range(1, 25):
        product = rng.uniform(-gamma, gamma, n)[:, None] * W @ product
        size = np.linalg.norm(product, 2)
        if size == 0:
            break
        product, log10_scale = product / size, log10_scale + np.log10(size)
        # k products and divisions by their norm: k·n·eps, as seen through κ(S).
        allowance = 4 * k * n * EPS * 10**found.log10_condition
        assert log10_scale <= found.log10_power_bound(k, gamma) + allowance + 1e-12
