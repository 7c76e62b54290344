"""Bounds that hold for every input: hunted by an optimiser, and attained where they can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.theory.bounds import CONDITION_LIMITS, product_bounds, says_nothing, scaled_bound
from gradscope.theory.certificate import certify
from gradscope.theory.scaled_norm import scaled_norm

#: A norm of a computed product of at most 12 factors of size 6 is right to k·n^{3/2}·eps·(Π‖J‖/‖ΠJ‖); in decades.
ROUNDING = 1e-9


def bounds_of(W, slope, n_steps):
    proof = certify(W, slope=slope)
    return product_bounds(W, slope, n_steps, proof), slope * proof.value


def worst_product(W, slope, k, rng, restarts=6, sweeps=20):
    """A large ‖D_k W ⋯ D_1 W‖₂ over D ∈ [0, γ]^n: with u, v of the product, each D in turn at its best vertex."""
    n, best = len(W), -np.inf
    for _ in range(restarts):
        # Inside the box, since a start at vertices may have the product 0 and no direction to climb in.
        D = slope * rng.random((k, n))
        reached = -np.inf
        for _ in range(sweeps):
            for j in range(k):
                after = np.eye(n)
                for d in D[j + 1 :]:
                    after = d[:, None] * (W @ after)
                before = np.eye(n)
                for d in D[:j]:
                    before = d[:, None] * (W @ before)
                U, s, Vt = np.linalg.svd(after @ (D[j][:, None] * (W @ before)))
                D[j] = np.where((U[:, 0] @ after) * (W @ before @ Vt[0]) > 0, slope, 0.0)
            if s[0] <= reached * (1 + 1e-12):
                break
            reached = s[0]
        best = max(best, float(np.log10(s[0])) if s[0] > 0 else -np.inf)
    return best


@given(
    n=st.integers(1, 6),
    k=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    gain=st.sampled_from([0.2, 0.6, 1.0, 4.0]),
    slope=st.sampled_from([1.0, 0.25]),
    shape=st.sampled_from(["gaussian", "positive", "triangular", "graded", "sparse"]),
)
@settings(max_examples=30, deadline=None)
def test_the_worst_slopes_an_optimiser_finds_stay_below_every_bound(n, k, seed, gain, slope, shape):
    rng = np.random.default_rng(seed)
    W = gain * rng.standard_normal((n, n)) / np.sqrt(n)
    if shape == "positive":
        W = np.abs(W)
    elif shape == "triangular":
        W = np.triu(W)
    elif shape == "graded":
        W = W * 10.0 ** rng.uniform(-2, 2, n)[:, None] / 10.0 ** rng.uniform(-2, 2, n)
    elif shape == "sparse":
        W = W * (rng.random((n, n)) < 0.4)
    found, certificate = bounds_of(W, slope, k)
    worst = worst_product(W, slope, k, rng, restarts=2, sweeps=8)
    for bound in found:
        assert bound.log10.shape == (k + 1,)
        assert bound.log10[0] == pytest.approx(0.0, abs=1e-8)
        assert not worst > bound.log10[-1] + ROUNDING, bound.name
    assert certificate <= slope * np.linalg.norm(W, 2) * (1 + 1e-12)


def test_the_powers_of_a_positive_matrix_attain_the_absolute_bound():
    """All slopes γ: ‖(γW)^k‖ itself, so γ^k‖|W|^k‖ is attained at every lag, here to its stated rounding."""
    W = np.array([[0.5, 0.3], [0.1, 0.4]])
    found, _ = bounds_of(W, 0.25, 8)
    absolute = next(bound for bound in found if "|W|^k" in bound.name)
    for k in range(9):
        truth = np.log10(np.linalg.norm(np.linalg.matrix_power(0.25 * W, k), 2))
        assert 0 <= absolute.log10[k] - truth <= 2e-10


def test_scaling_certifies_where_the_norm_is_silent():
    """[[.5, 3], [.02, .5]]: σ₁ = 3.08, and min_S ‖SWS⁻¹‖ = ρ = ½ + √.06 as W ≥ 0 (theory C05)."""
    W = np.array([[0.5, 3.0], [0.02, 0.5]])
    _, certificate = bounds_of(W, 1.0, 4)
    assert 0.5 + np.sqrt(0.06) <= certificate < 0.5 + np.sqrt(0.06) + 1e-6


def test_no_certificate_for_a_nilpotent_matrix_that_slopes_can_blow_up():
    """ρ = 0, but one saturated unit makes it grow as √5·2^k (theory C01): the optimiser must find growth too."""
    W = np.array([[2.0, -4.0], [1.0, -2.0]])
    _, certificate = bounds_of(W, 1.0, 8)
    assert certificate >= 2.0
    assert worst_product(W, 1.0, 8, np.random.default_rng(0)) >= np.log10(np.sqrt(5) * 2**8 / 2) - 1e-12


@given(n=st.integers(2, 6), seed=st.integers(0, 10**6), gain=st.sampled_from([0.5, 0.9, 1.5]))
@settings(max_examples=20, deadline=None)
def test_a_certificate_below_one_is_kept_by_the_optimiser_and_only_then_given(n, seed, gain):
    """Where something grows for ever (ρ ≥ 1 at D = γ, or any vertex product), the certificate may not be below 1."""
    rng = np.random.default_rng(seed)
    W = gain * rng.standard_normal((n, n)) / np.sqrt(n)
    _, certificate = bounds_of(W, 1.0, 4)
    for _ in range(20):
        mask = rng.integers(0, 2, n)
        assert certificate >= np.abs(np.linalg.eigvals(mask[:, None] * W)).max() * (1 - 1e-9)


def layered(widths):
    """A feed-forward net as one matrix: all weights .9 from each layer to the next."""
    starts = np.concatenate([[0], np.cumsum(widths)])
    W = np.zeros((starts[-1], starts[-1]))
    for i in range(len(widths) - 1):
        W[starts[i] : starts[i + 1], starts[i + 1] : starts[i + 2]] = 0.9
    return W


# Widths 1, 2, 3, 1, …: one step of power iteration in three sees a growth of 2.7, where σ₁ = .9·√6 = 2.2.
@pytest.mark.parametrize("W", [50.0 * np.eye(60, k=1), layered([1, 2, 3] * 20)])
def test_a_feed_forward_pattern_vanishes_exactly_and_is_certified(W):
    found, certificate = bounds_of(W, 1.0, 70)
    assert certificate == 0.0
    tight = np.min([bound.log10 for bound in found], axis=0)
    assert np.isneginf(tight[60:]).all()
    assert np.isfinite(tight[:60]).all()


@pytest.mark.parametrize("several", [0, 32], ids=["one S and its powers", "several limits"])
def test_the_family_of_scalings_is_no_worse_than_either_end(several, monkeypatch):
    monkeypatch.setattr("gradscope.theory.bounds.SEVERAL_S_UP_TO", several)
    W = 0.9 * np.eye(4) + np.eye(4, k=1)
    lags = np.arange(60.0)
    best = certify(W).scaled
    envelope = scaled_bound(W, 1.0, lags, best)
    assert (envelope <= best.log10_power_bound(lags) + 1e-12).all()
    powers = [np.log10(np.linalg.norm(np.linalg.matrix_power(W, int(k)), 2)) for k in lags]
    assert (envelope >= np.array(powers) - 1e-12).all()
    # In between it must gain what S = I and the optimum cannot give: more than a decade at k = 20.
    two = np.minimum(lags * np.log10(np.linalg.norm(W, 2)), best.log10_power_bound(lags))
    assert two[20] - envelope[20] > 1.0


def test_limits_on_the_condition_pay_at_short_lags(monkeypatch):
    """A graded triangle wants κ(S) → ∞; three factors cannot afford it, and no power of that S is the best they can."""
    rng = np.random.default_rng(0)
    W = 0.5 * np.eye(6) + np.triu(rng.standard_normal((6, 6)), 1) * 2 + 0.001
    lags = np.arange(6.0)
    best = certify(W).scaled
    several = scaled_bound(W, 1.0, lags, best)
    monkeypatch.setattr("gradscope.theory.bounds.SEVERAL_S_UP_TO", 0)
    single = scaled_bound(W, 1.0, lags, best)
    assert several[3] < single[3] - 0.05
    assert (several <= single + 1e-12).all()


def test_no_search_for_what_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # At n = 100 and gain 0.9 every start is far above 1, and none is searched further; half of it is.
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("searched")

    W = 0.9 * np.random.default_rng(1).standard_normal((100, 100)) / 10
    monkeypatch.setattr("gradscope.theory.scaled_norm._descend", refuse)
    assert certify(W).value > 1.5
    with pytest.raises(AssertionError, match="searched"):
        certify(0.5 * W)


@pytest.mark.parametrize("kind", ["gaussian", "triangular", "rescaled"])
def test_limits_left_out_would_have_found_nothing_else(kind):
    """The envelope is never above that of a search of its own within every limit on κ(S)."""
    rng = np.random.default_rng(7)
    W = rng.normal(size=(12, 12)) * 0.8 / np.sqrt(12)
    if kind == "triangular":
        W = np.triu(W)
    elif kind == "rescaled":
        scales = 10.0 ** rng.uniform(-1, 1, 12)
        W = scales[:, None] * W / scales
    lags = np.arange(101.0)
    best = certify(W).scaled
    envelope = scaled_bound(W, 1.0, lags, best)
    searches = [scaled_norm(W, max_condition=limit, max_steps=120) for limit in CONDITION_LIMITS]
    assert best.value <= min(found.value for found in searches) * (1 + 1e-12)
    for found in searches:
        assert (envelope[1:] <= found.log10_power_bound(lags, 1.0)[1:] + 1e-10).all()


def test_an_empty_bound_is_left_out():
    lags = np.arange(201.0)
    assert says_nothing(1.76 * lags, 0.18 * lags)
    assert not says_nothing(-0.01 * lags, -2.0 * lags)  # it falls, and proves something
    assert not says_nothing(0.2 * lags, 0.18 * lags)
    assert not says_nothing(np.zeros(1), np.zeros(1))
    assert says_nothing(np.full(201, 5.0) * lags, np.full(201, -np.inf))  # a path that is exactly zero
