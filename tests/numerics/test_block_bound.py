"""The block bound against products taken one by one, at any magnitude."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.numerics import block_bound
from gradscope.numerics.block_bound import log10_block_bound
from gradscope.numerics.propagate import step_norms
from gradscope.numerics.tape import tape_of_matrices


def log10_norms(products, exponents):
    return np.log10(np.linalg.norm(products, 2, axis=(-2, -1))) + exponents


def plainly(J, block, anchor):
    """log10 of the bound at lags that are whole blocks; J (T, B, n, n) of matrices near one times 10^e."""
    T = len(J) // block * block
    J = J[len(J) - T :] if anchor == "end" else J[:T]
    bounds = [np.zeros(J.shape[1])]
    blocks = J.reshape(-1, block, *J.shape[1:])
    for steps in blocks[::-1] if anchor == "end" else blocks:
        product, exponent = np.broadcast_to(np.eye(J.shape[-1]), J.shape[1:]), np.zeros(J.shape[1])
        for step in steps:
            sizes = np.linalg.norm(step @ product, axis=(-2, -1))
            product, exponent = step @ product / sizes[:, None, None], exponent + np.log10(sizes)
        bounds.append(bounds[-1] + log10_norms(product, exponent))
    return np.array(bounds)


@pytest.mark.parametrize("anchor", ["end", "start"])
@pytest.mark.parametrize("size", [2**17, 2 * 3 * 36])
@pytest.mark.parametrize("decades", [0, 40])
def test_every_block_at_any_magnitude(monkeypatch, anchor, size, decades):
    """Blocks side by side and two at a time; tame steps, and steps whose product of ten would leave float64."""
    monkeypatch.setattr(block_bound, "NUMBERS_AT_ONCE", size)
    rng = np.random.default_rng(3)
    J = (
        rng.normal(size=(57, 3, 6, 6))
        * 10.0 ** (decades * rng.choice([-1, 1], size=(5, 3)).repeat(12, axis=0)[:57])[..., None, None]
    )
    tape = tape_of_matrices(J)
    found = log10_block_bound(tape, step_norms(tape).log10_norm, anchor=anchor)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[::10], plainly(J, 10, anchor), rtol=1e-10, atol=1e-10)


def test_a_block_that_is_zero_and_one_that_is_not_finite():
    J = np.random.default_rng(0).normal(size=(30, 2, 4, 4))
    J[14, 0] = 0.0
    tape = tape_of_matrices(J)
    steps = step_norms(tape)
    found = log10_block_bound(tape, np.where(steps.zero, -np.inf, steps.log10_norm), anchor="start")
    assert np.isneginf(found[20:, 0]).all()
    assert np.isfinite(found[:, 1]).all()
    J[14, 0] = np.inf
    tape = tape_of_matrices(J)
    assert log10_block_bound(tape, step_norms(tape).log10_norm, anchor="start") is None


def test_the_budget_is_that_of_one_network(monkeypatch):
    tape = tape_of_matrices(np.random.default_rng(0).normal(size=(20, 8, 4, 4)))
    steps = step_norms(tape).log10_norm
    monkeypatch.setattr(block_bound, "BUDGET", 2.0 * 20 * 4**3)
    assert log10_block_bound(tape, steps, anchor="end") is None
    assert log10_block_bound(tape, steps, anchor="end", n_networks=8) is not None
