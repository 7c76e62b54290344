"""Products of diagonal steps from vectors: against exact sums of logarithms, the general road, and their hard cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.analysis.cases import cases_of
from gradscope.analysis.request import RunRequest
from gradscope.jacobians.per_unit import PerUnitJacobian
from gradscope.numerics.diagonal_products import measure_diagonal_norms, products_of
from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.propagate import measure_norms, step_norms
from gradscope.numerics.tape import StoredTape
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source


def tape_of(factors):
    """A tape of diag(d_t), d of shape (T, batch, n)."""
    return StoredTape(
        np.zeros((len(factors) + 1, *factors.shape[1:])), PerUnitJacobian(np.zeros_like(factors)[..., None, :], factors)
    )


def exact(factors):
    """log10 of the largest channel at every lag in 80-bit sums of logarithms; −inf where all are zero."""
    with np.errstate(divide="ignore"):
        logs = np.cumsum(np.log10(np.abs(factors).astype(np.longdouble)), axis=0)
    return logs


def check(factors, *, atol=1e-10):
    found = products_of([factors], len(factors), factors.shape[1:])
    logs = exact(factors)
    largest = logs.max(axis=-1)
    dead = np.isneginf(largest)
    assert np.array_equal(found.zero[1:], dead)
    assert np.allclose(found.log10_norm[1:][~dead], largest[~dead].astype(float), rtol=0, atol=atol)
    assert np.isnan(found.log10_norm[1:][dead]).all()
    shares = np.power(10.0, (logs - np.where(dead, 0, largest)[..., None]).astype(float))
    stable = np.square(shares).sum(axis=-1)
    assert np.allclose(found.stable_rank[1:][~dead], stable[~dead], rtol=1e-9)
    rank = (shares > factors.shape[-1] * np.finfo(float).eps).sum(axis=-1)
    assert np.mean(found.rank[1:][~dead] == rank[~dead]) > 0.999  # one on the edge may fall either way


@given(
    seed=st.integers(0, 9999),
    n=st.integers(1, 40),
    batch=st.integers(1, 3),
    steps=st.integers(1, 400),
    spread=st.sampled_from([0.01, 0.5, 5.0, 60.0, 600.0]),
    drift=st.sampled_from([-300.0, -1.0, 0.0, 0.5]),
    zeros=st.sampled_from([0.0, 0.001]),
)
@settings(max_examples=60, deadline=None)
def test_random_walks_of_every_size(seed, n, batch, steps, spread, drift, zeros):
    rng = np.random.default_rng(seed)
    log2 = np.clip(drift + spread * rng.normal(size=(steps, batch, n)), -1070, 1020)
    factors = np.exp2(log2)
    factors[rng.random(factors.shape) < zeros] = 0.0
    check(factors, atol=1e-9)


def test_channels_that_come_back_from_the_deep():
    """diag(2, ½)·1200, then diag(¼, 4)·1200: the whole product is diag(2^−1200, 2^1200), on both anchors."""
    factors = np.concatenate([np.tile([2.0, 0.5], (1200, 1, 1)), np.tile([0.25, 4.0], (1200, 1, 1))])
    check(factors)
    for anchor in ("end", "start"):
        assert measure_norms(tape_of(factors), anchor=anchor).log10_norm[-1, 0] == pytest.approx(1200 * np.log10(2))


def test_infinities_are_marked_and_signs_do_not_matter():
    factors = np.full((6, 2, 2), -0.5)
    factors[3, 1, 0] = np.inf
    norms = measure_norms(tape_of(factors), anchor="start")
    assert np.array_equal(norms.nonfinite[:, 1], [False] * 4 + [True] * 3)
    assert not norms.nonfinite[:, 0].any()
    assert np.allclose(norms.log10_norm[:, 0], np.arange(7) * np.log10(0.5))
    assert np.isnan(norms.log10_norm[4:, 1]).all()


@pytest.mark.parametrize("text", ["indrnn:hidden=9,gain=1.3", "lru:hidden=9", "mingru:hidden=9", "minlstm:hidden=9"])
@pytest.mark.parametrize("anchor", ["end", "start"])
def test_the_general_road_agrees(text, anchor):
    tape = cases_of(build_source(parse_source(text), seed=0), RunRequest(steps=300, batch=2))[0].tape
    fast, slow, dense = (measure_norms(tape, anchor=anchor, method=method) for method in ("auto", "thin", "dense"))
    assert measure_diagonal_norms(tape, anchor=anchor) is not None
    assert np.allclose(fast.log10_norm, slow.log10_norm, rtol=0, atol=1e-10)
    assert np.allclose(fast.log10_norm, dense.log10_norm, rtol=0, atol=1e-12)
    assert np.allclose(fast.stable_rank, dense.stable_rank, rtol=1e-10)
    assert np.mean(fast.rank == dense.rank) > 0.99
    for name in ("zero", "nonfinite", "zero_h"):
        assert np.array_equal(getattr(fast, name), getattr(dense, name)), name
    largest = np.array([np.linalg.norm(tape.dense(t), 2, axis=(-2, -1)) for t in (1, 150, 300)])
    assert np.allclose(step_norms(tape).log10_norm[[0, 149, 299]], np.log10(largest), rtol=0, atol=1e-12)


def test_what_is_not_diagonal_takes_the_general_road():
    for text in ("lstm:hidden=3", "indrnn:hidden=3,norm=layer", "indrnn:hidden=3,layers=2", "rnn:hidden=3"):
        tape = cases_of(build_source(parse_source(text), seed=0), RunRequest(steps=5))[0].tape
        assert measure_diagonal_norms(tape, anchor="end") is None


def test_in_stretches_of_any_size():
    factors = np.random.default_rng(0).uniform(0.3, 1.4, size=(1000, 2, 30))
    whole = products_of([factors], 1000, (2, 30))
    cut = products_of((factors[i : i + 7] for i in range(0, 1000, 7)), 1000, (2, 30))
    alone = products_of([factors], 1000, (2, 30), ranks=False)
    for other in (cut, alone):
        assert np.allclose(whole.log10_norm, other.log10_norm, rtol=0, atol=1e-12)
    assert np.isnan(alone.stable_rank).all()


def test_exponents_are_mean_logarithms():
    """Exactly, however short the run; the QR road agrees where its frame had time to turn."""
    factors = np.random.default_rng(3).uniform(0.3, 1.2, size=(600, 2, 5)) * np.array([1.0, 0.5, 0.25, 0.125, 0.06])
    truth = np.log(factors).mean(axis=0)
    found = measure_lyapunov(tape_of(factors))
    assert np.allclose(found.exponents, np.sort(truth, axis=-1)[:, ::-1], rtol=0, atol=1e-13)
    assert np.allclose(measure_lyapunov(tape_of(factors), k=2).exponents, found.exponents[:, :2], rtol=0, atol=0)
    by_frames = measure_lyapunov(tape_of(factors), qr_interval=1)
    assert np.allclose(found.exponents, by_frames.exponents, rtol=0, atol=1e-2)
    assert np.allclose(found.sum, found.mean_log_det, rtol=0, atol=1e-12)
    factors[300, :, 0] = 0.0
    dead = measure_lyapunov(tape_of(factors))
    assert (dead.status[:, -1] == "minus_infinity").all()
    assert np.allclose(dead.exponents[:, 0], truth[:, 1], rtol=0, atol=1e-13)
