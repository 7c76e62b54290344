"""The loss side many steps at once, against the recursion step by step."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.analysis.cases import cases_of
from gradscope.analysis.request import GradientsRequest
from gradscope.api import build
from gradscope.numerics.backprop import backpropagate, measure_loss_gradients


def log10(value):
    """NaN where it is exactly zero: h_0 = 0 meets the first copy of W."""
    return np.log10(np.where(value > 0, value, np.nan))


@pytest.mark.parametrize("n_steps", [1, 5, 128, 300])
@pytest.mark.parametrize("source", ["rnn:hidden=6,gain=0.5", "lstm:hidden=4,layers=2"])
def test_norms_many_steps_at_once_are_those_step_by_step(source, n_steps):
    """Decades per step: an exponent taken from the neighbouring step would show."""
    (case,) = cases_of(build(source), GradientsRequest(steps=n_steps, batch=2))
    direct = np.random.default_rng(0).normal(size=(2, case.tape.state_size))
    layers = len(case.network.layers)

    def direct_term(t):
        return direct if t in (n_steps, n_steps // 2) else None

    measured = measure_loss_gradients(case.tape, direct_term, n_layers=layers)
    for step, vector, exponent, weights in backpropagate(case.tape, direct_term):
        lag, scale = n_steps - step, exponent * np.log10(2.0)
        wanted = log10(np.linalg.norm(vector, axis=-1)) + scale
        np.testing.assert_allclose(measured.log10_dstate[lag], wanted, rtol=1e-13, atol=1e-13)
        if not weights:
            assert np.isnan(measured.log10_dweight[lag]).all()
            continue
        squares = [
            sum(np.linalg.norm(r[..., :, None] * c[..., None, :], axis=(-2, -1)) ** 2 for r, c in blocks)
            for blocks in weights
        ]
        np.testing.assert_allclose(measured.log10_dweight[lag], log10(sum(squares)) / 2 + scale, rtol=1e-12)
        for layer in range(layers if layers > 1 else 0):
            wanted = log10(squares[layer]) / 2 + scale
            np.testing.assert_allclose(measured.log10_dweight_layers[lag, layer], wanted, rtol=1e-12)
