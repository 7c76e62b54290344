"""Kreiss constant, transient peak, pseudospectral radius: closed forms, published values, the theorems between them."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gradscope.errors import UsageError
from gradscope.theory.eigen import eigendecompose
from gradscope.theory.kreiss import finite_time_lower_bound, kreiss_constant
from gradscope.theory.powers import (
    log10_power_norms,
    nilpotency_by_pattern,
    peak_power,
)
from gradscope.theory.pseudospectra import pseudospectral_radius
from gradscope.theory.resolvent import complex_triangle, smallest_singular_triplet, smallest_singular_values

EPS = np.finfo(float).eps
GRCAR = 0.4 * (np.eye(16) - np.eye(16, k=-1) + sum(np.eye(16, k=k) for k in (1, 2, 3)))
COUPLED = np.array([[0.5, 100.0], [0.0, 0.5]])


def jordan(eigenvalue, n):
    return eigenvalue * np.eye(n) + np.eye(n, k=1)


def rotated(A, seed):
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal(A.shape))[0]
    return Q @ A @ Q.T


def stable_gaussian(n, seed, radius=0.95):
    W = np.random.default_rng(seed).standard_normal((n, n))
    return W * radius / np.abs(np.linalg.eigvals(W)).max()


def kreiss_on_the_axis(W):
    """Independent: 50 digits, golden section in ln(r − 1) for an entrywise nonnegative W (the sup lies on z > 0)."""
    with mpmath.workdps(40):
        A = mpmath.matrix(W.tolist())

        def height(x):
            step = mpmath.e**x
            M = (1 + step) * mpmath.eye(len(W)) - A
            return step / min(mpmath.svd_r(M, compute_uv=False))

        low, high, golden = mpmath.mpf(-9), mpmath.mpf(4), (mpmath.sqrt(5) - 1) / 2
        for _ in range(60):
            a, b = high - golden * (high - low), low + golden * (high - low)
            low, high = (low, b) if height(a) > height(b) else (a, high)
        return float(height((low + high) / 2))


@pytest.mark.parametrize("W", [jordan(0.9, 4), COUPLED, jordan(0.5, 3)])
def test_kreiss_against_50_digits(W):
    truth = kreiss_on_the_axis(W)
    for turned in (W, -W, rotated(W, 5)):
        # The rotation perturbs a defective W by eps, which (r − 1)/σ_min feels as K·eps/(r − 1).
        assert kreiss_constant(turned).value == pytest.approx(truth, rel=1e-9)


def test_published_values():
    # theory.md C02, C05; rounding of the printed digits.
    assert kreiss_constant(jordan(0.9, 4)).value == pytest.approx(107.3836, abs=5e-5)
    assert kreiss_constant(GRCAR).value == pytest.approx(1.90045, abs=5e-6)
    assert kreiss_constant(GRCAR).power_bound == pytest.approx(82.66, abs=5e-3)
    assert kreiss_constant(COUPLED).value == pytest.approx(50.005, abs=5e-4)
    peak = peak_power(GRCAR)
    assert 10**peak.log10_norm == pytest.approx(4.52250, abs=5e-6)


def test_kreiss_of_grcar_against_a_dense_grid_of_svds():
    found = kreiss_constant(GRCAR)
    r, theta = abs(found.z), np.angle(found.z)
    around = (1 + (r - 1) * np.linspace(0.5, 2, 61))[:, None] * np.exp(1j * (theta + np.linspace(-0.2, 0.2, 61)))
    sigma = np.linalg.svd(around[..., None, None] * np.eye(16) - GRCAR, compute_uv=False)[..., -1]
    heights = (np.abs(around) - 1) / sigma
    assert heights.max() <= found.value * (1 + 1e-12)
    assert heights.max() == pytest.approx(found.value, rel=1e-3)


@pytest.mark.parametrize("W", [0.9 * np.eye(3), 0.99 * np.roll(np.eye(5), 1, 0), rotated(np.diag([0.5, -0.9]), 1)])
def test_normal_matrices_have_kreiss_constant_and_peak_one(W):
    found = kreiss_constant(W)
    assert (found.value, found.z) == (1.0, None)
    peak = peak_power(W)
    assert (peak.k, peak.log10_norm, peak.proven) == (0, 0.0, True)


def test_nothing_is_said_at_radius_one():
    for W in (np.eye(2), jordan(1.0, 3), 1.1 * np.eye(1)):
        assert kreiss_constant(W) is None
        assert peak_power(W) is None


def test_nothing_is_proved_where_rounding_carries_the_radius_across_one():
    W = rotated(jordan(0.99, 8), 11)  # eps^(1/8) = 0.011 > 1 − 0.99
    known = eigendecompose(W)
    if known.spectral_radius < 1:
        assert known.spectral_radius_high >= 1
        assert kreiss_constant(W) is None
        assert not peak_power(W, max_steps=50).proven
    # [[1, −1], [1, 0]] has order six: ρ = 1, whatever the last bit of eig says.
    periodic = np.array([[1.0, -1.0], [1.0, 0.0]])
    assert kreiss_constant(periodic) is None
    peak = peak_power(periodic)
    assert peak is None or not peak.proven


def test_a_resolvent_below_rounding_is_not_made_a_lower_bound():
    # Norm 1e15 by scaling alone: the Schur form knows σ_min to eps·‖W‖ only, but K must stay below sup ‖Wᵏ‖.
    D = 2.0 ** np.array([0, 30, -20, 10, 25])
    W = D[:, None] * stable_gaussian(5, 1) / D
    assert peak_power(W).proven
    assert kreiss_constant(W).value <= 10 ** peak_power(W).log10_norm


def test_a_decomposition_at_hand_is_used():
    W = stable_gaussian(6, 0)
    known = eigendecompose(W)
    assert kreiss_constant(W, decomposition=known) == kreiss_constant(W)
    assert peak_power(W, decomposition=known) == peak_power(W)


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**900])
def test_extreme_scales_neither_overflow_nor_lie(scale):
    W = stable_gaussian(5, 3)
    assert (kreiss_constant(W * scale) is None) == (peak_power(W * scale) is None) == (scale > 1)
    found, plain = pseudospectral_radius(W * scale, 0.1 * scale), pseudospectral_radius(W, 0.1)
    assert found.value == pytest.approx(plain.value * scale, rel=1e-12)


@pytest.mark.parametrize("n", [30, 60, 130])
def test_triangular_solves_agree_with_dense_singular_values(n):
    W = stable_gaussian(n, n)
    T = complex_triangle(W)
    z = np.array([1.05, 1.3 * np.exp(1j), -2.0, 0.7j])
    truth = np.linalg.svd(z[:, None, None] * np.eye(n) - W, compute_uv=False)[:, -1]
    coarse = smallest_singular_values(T, z, steps=10)
    assert np.all(coarse >= truth * (1 - 1e-10))
    np.testing.assert_allclose(coarse, truth, rtol=0.05)
    for point, sigma in zip(z, truth, strict=True):
        value, u, v = smallest_singular_triplet(T, complex(point))
        assert value == pytest.approx(sigma, rel=1e-11)
        assert np.linalg.norm((point * np.eye(n) - T) @ v - value * u) <= 1e-12
    np.testing.assert_allclose(np.log10(smallest_singular_values(T, z)), np.log10(truth), atol=0.02)


@pytest.mark.parametrize("eigenvalue", [0.9, 0.99, -0.9])
def test_the_peak_of_a_jordan_block_against_binomials(eigenvalue):
    n = 4
    with mpmath.workdps(40):

        def norm(k):
            J = mpmath.matrix(n)
            for i in range(n):
                for j in range(i, min(n, i + k + 1)):
                    J[i, j] = mpmath.binomial(k, j - i) * mpmath.mpf(eigenvalue) ** (k - j + i)
            return max(mpmath.svd_r(J, compute_uv=False))

        centre = round(3 / (1 - abs(eigenvalue))) - 1
        truth = {k: norm(k) for k in range(centre - 4, centre + 5)}
    k = max(truth, key=truth.get)
    exactly, turned = peak_power(jordan(eigenvalue, n)), peak_power(rotated(jordan(eigenvalue, n), 2))
    assert (exactly.k, exactly.proven) == (turned.k, turned.proven) == (k, True)
    log10_truth = float(mpmath.log10(truth[k]))
    assert exactly.log10_norm == pytest.approx(log10_truth, abs=1e-13)
    # Rotating perturbs W by E = n·eps: ‖ΔWᵏ‖ ≤ Σ ‖Wⁱ‖‖E‖‖W^(k−1−i)‖ ≤ k·n·eps·sup², relative to sup.
    assert turned.log10_norm == pytest.approx(log10_truth, abs=k * n * EPS * float(truth[k]))


def test_a_budget_is_admitted_and_the_hump_still_found():
    found = peak_power(jordan(0.999, 4), max_steps=50)
    assert not found.proven
    scan = peak_power(jordan(0.999, 4))
    assert scan.proven
    assert found.k == scan.k == 2999
    assert found.log10_norm == pytest.approx(scan.log10_norm, abs=1e-11)


def test_nilpotent_powers_end_in_an_exact_zero():
    W = np.random.default_rng(3).permutation(np.eye(6))
    chain = W @ (10 * np.eye(6, k=1)) @ W.T
    norms = log10_power_norms(chain, 9)
    np.testing.assert_allclose(norms[:6], np.arange(6), atol=1e-14)
    assert np.all(np.isneginf(norms[6:]))
    assert nilpotency_by_pattern(chain) == 6
    peak = peak_power(chain)
    assert (peak.k, peak.proven) == (5, True)
    # Exact cancellation, which no pattern shows.
    assert np.isneginf(log10_power_norms(np.array([[1.0, -1], [1, -1]]), 2)[2])
    assert nilpotency_by_pattern(np.array([[1.0, -1], [1, -1]])) is None


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_power_norms_at_any_magnitude(scale):
    W = stable_gaussian(5, 1)
    with mpmath.workdps(50):
        power, truth = mpmath.eye(5), []
        for _ in range(31):
            truth.append(float(mpmath.log10(max(mpmath.svd_r(power, compute_uv=False)))))
            power = power * mpmath.matrix(W.tolist())
    found = log10_power_norms(W * scale, 30)
    k = np.arange(31)
    np.testing.assert_allclose(found, truth + k * np.log10(scale), rtol=1e-13, atol=1e-12)


def test_compressed_power_norms_agree_with_full_products():
    W = stable_gaussian(90, 4, radius=0.9)
    power, full = np.eye(90), []
    for _ in range(200):
        full.append(np.log10(np.linalg.norm(power, 2)))
        power = power @ W
    np.testing.assert_allclose(log10_power_norms(W, 199), full, atol=1e-11)


def test_compression_keeps_directions_that_will_matter_later():
    # A transient of 1e14·k·0.3ᵏ hides the 0.99ᵏ part by 4e-8 at k = 16, where rows are first dropped; it wins later.
    W = 0.99 * np.eye(80)
    W[:2, :2] = [[0.3, 1e14], [0.0, 0.3]]
    found = log10_power_norms(W, 80)
    assert found[16] == pytest.approx(np.log10(16e14 * 0.3**15), abs=1e-6)
    assert found[80] == pytest.approx(80 * np.log10(0.99), abs=1e-12)


def test_a_plateau_reports_its_first_lag():
    peak = peak_power(jordan(0.0, 5))  # norms 1, 1, 1, 1, 1, 0
    assert (peak.k, peak.log10_norm, peak.proven) == (0, 0.0, True)


@pytest.mark.parametrize("point", [(-1.0, 0.3), (0.7, 1.2), (-2.0, 2.9)])
def test_the_ascent_needs_few_resolvents_because_its_gradient_is_right(point, monkeypatch):
    from gradscope.theory import kreiss

    calls = 0
    honest = kreiss.smallest_singular_triplet

    def counted(*arguments):
        nonlocal calls
        calls += 1
        return honest(*arguments)

    monkeypatch.setattr(kreiss, "smallest_singular_triplet", counted)
    kreiss._ascend(complex_triangle(GRCAR), *point, on_axis=False)
    assert calls < 60  # a wrong gradient falls back to some 150 simplex steps


def test_absolute_powers_bound_every_product_with_slopes():
    rng = np.random.default_rng(5)
    W = rng.standard_normal((6, 6))
    bound = log10_power_norms(np.abs(W), 20)
    product = np.eye(6)
    for k in range(1, 21):
        product = rng.uniform(-1, 1, 6)[:, None] * W @ product
        assert np.log10(np.linalg.norm(product, 2)) <= bound[k] + 1e-12
    np.testing.assert_allclose(bound, log10_power_norms(np.abs(W), 20), atol=0)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3, 0.3])
def test_pseudospectral_radius_of_a_2x2_jordan_block(epsilon):
    # σ_min of [[z−a, −1], [0, z−a]] = ε at |z − a| = √(ε² + ε).
    truth = 0.5 + np.sqrt(epsilon**2 + epsilon)
    for W in (jordan(0.5, 2), -jordan(0.5, 2), rotated(jordan(0.5, 2), 1)):
        found = pseudospectral_radius(W, epsilon)
        assert found.certified
        assert found.value == pytest.approx(truth, rel=1e-8)


def test_the_search_above_the_size_limit_agrees_where_both_run():
    for W in (GRCAR, stable_gaussian(20, 2), rotated(jordan(0.0, 5), 1)):
        for epsilon in (1e-2, 0.3):
            exact, followed = (pseudospectral_radius(W, epsilon, criss_cross_limit=limit) for limit in (100, 0))
            assert followed.value == pytest.approx(exact.value, rel=1e-9)
            assert not followed.certified


def test_no_epsilon_no_pseudospectrum():
    with pytest.raises(UsageError, match="ε > 0"):
        pseudospectral_radius(np.eye(2), 0.0)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 7), seed=st.integers(0, 10**6), radius=st.floats(0.3, 0.98), coupling=st.floats(0, 10))
def test_kreiss_theorem_and_the_bounds_around_it(n, seed, radius, coupling):
    W = stable_gaussian(n, seed) + coupling * np.triu(stable_gaussian(n, seed + 1), 1)
    rho = np.abs(np.linalg.eigvals(W)).max()
    assume(rho > 1e-3)
    W = W * radius / rho
    found, peak = kreiss_constant(W), peak_power(W)
    assert peak.proven
    sup = 10**peak.log10_norm
    assert 1 <= found.value <= sup * (1 + 1e-9)  # K is attained at a z, so it is a lower bound whatever the search did
    assert sup <= found.power_bound * (1 + 1e-9)
    norms = 10 ** log10_power_norms(W, 40)
    assert sup >= norms.max() * (1 - 1e-12)
    if found.z is not None:
        for k in (1, 5, 40):
            assert finite_time_lower_bound(W, k, found.z) <= norms[: k + 1].max() * (1 + 1e-9)
    for epsilon in (1e-3, 0.1):
        outer = pseudospectral_radius(W, epsilon)
        assert outer.certified
        assert outer.value >= radius + epsilon - 1e-9
        assert (outer.value - 1) / epsilon <= found.value * (1 + 1e-6)  # K = sup_ε (ρ_ε − 1)/ε
        sigma = np.linalg.svd(outer.z * np.eye(n) - W, compute_uv=False)[-1]
        assert sigma <= epsilon * (1 + 1e-6) + 1e-12
        for k in (0, 3, 20):
            # ‖Wᵏ‖ ≤ ρ_ε^(k+1)/ε (Trefethen and Embree 2005).
            assert np.log10(norms[k]) <= (k + 1) * np.log10(outer.value) - np.log10(outer.epsilon) + 1e-9
