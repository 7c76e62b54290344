"""What checks and what is checked share no code: an error planted in the measured product shows between columns."""

import numpy as np
import pytest

import gradscope
from gradscope.analysis import gradient_results as analysis

DECADES_PER_LAG = 0.02


@pytest.fixture
def planted(monkeypatch):
    """Every product of Jacobians comes out 0.02·k decades too large at lag k."""
    honest = analysis.measure_norms

    def measure(tape, **options):
        norms = honest(tape, **options)
        lags = np.arange(len(norms.log10_norm)).reshape(-1, *(1,) * (norms.log10_norm.ndim - 1))
        norms.log10_norm[...] += DECADES_PER_LAG * lags
        return norms

    monkeypatch.setattr(analysis, "measure_norms", measure)


def violations(source, **options):
    summary = gradscope.gradients(source, loss="none", **options).results[0].summary
    return summary["theory_violations"] + summary["bound_violations"]


# Identity activation: the closed form is the product itself. Contracting W: the bound is nearly attained.
SOURCES = ["rnn:hidden=24,activation=identity", "rnn:hidden=80,activation=identity,init=orthogonal", "rnn:gain=0.4"]


@pytest.mark.parametrize("source", SOURCES)
def test_honest_columns_agree(source):
    columns = gradscope.gradients(source, steps=200, loss="none").results[0].columns
    assert (columns["log10_norm"] <= columns["log10_theory"] + 1e-9).all() or "identity" not in source


@pytest.mark.parametrize("source", SOURCES)
def test_an_error_in_the_measured_product_lights_up(source, planted):
    assert violations(source, steps=400) > 100
