"""−1/⟨ln f⟩ unit by unit in the summary of gradients, and its histogram on the page."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.reports.views.gradient_figures import time_constant_figure
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source


def quantiles(result):
    return [result.summary[f"time_constant_{name}"] for name in ("q10", "median", "q90")]


def test_an_lru_has_those_of_its_eigenvalues():
    """Constant factors: −1/ln|λ| = exp(−ν) of each complex unit, whose two components share it."""
    text = "lru:hidden=42,r_min=0.9,r_max=0.999"
    result = gradscope.gradients(text, steps=30).results[0]
    (named,) = build_source(parse_source(text), seed=0).named_cells
    times = np.exp(-named.cell.weight_hh[:21, 0])
    truth = np.quantile(np.repeat(times, 2), [0.1, 0.5, 0.9], method="nearest")
    assert quantiles(result) == pytest.approx(list(truth), rel=1e-12)
    assert result.details["time_constants"][0][:21] == pytest.approx(list(times), rel=1e-12)


@pytest.mark.parametrize("anchor", ["end", "start"])
def test_gates_that_vary_count_by_their_geometric_mean(anchor):
    """mingru: ln(1−z) from inputs alone; in stretches too, and for a batch."""
    text, x = "mingru:hidden=9,inputs=3,forget_bias=2", np.random.default_rng(2).normal(size=(2, 400, 3))
    (named,) = build_source(parse_source(text), seed=0).named_cells
    log_kept = -np.log1p(np.exp((x @ named.cell.weight_ih.T + named.cell.bias)[..., :9]))
    truth = -1 / log_kept.mean(axis=(0, 1))
    for memory in (2**30, 2000):
        result = gradscope.gradients(text, inputs=x, memory=memory, anchor=anchor).results[0]
        assert result.details["time_constants"][0] == pytest.approx(list(truth), rel=1e-12)
    assert quantiles(result) == pytest.approx(list(np.quantile(truth, [0.1, 0.5, 0.9], method="nearest")), rel=1e-12)
    # The same three as advise has of the same run.
    advice = gradscope.advise(text, inputs=x, only=("tbptt",)).results[0]
    assert quantiles(advice) == pytest.approx(quantiles(result), rel=1e-12)


def test_what_does_not_decay_and_what_has_no_direct_path_is_null():
    skip = gradscope.gradients("skip:hidden=4", steps=9).results[0]
    assert quantiles(skip) == [None] * 3
    assert skip.details["time_constants"] == [[None] * 4]
    rnn = gradscope.gradients("rnn:hidden=4", steps=9).results[0]
    assert quantiles(rnn) == [None] * 3
    assert "time_constants" not in rnn.details
    assert quantiles(gradscope.gradients("lstm:hidden=4", steps=0).results[0]) == [None] * 3
    # A factor above 1 grows: that is no memory of 1/ln w steps.
    growing = gradscope.gradients("indrnn:hidden=3,init=identity,gain=1.5,activation=identity", steps=9).results[0]
    assert quantiles(growing) == [None] * 3


def test_layers_apart_and_the_histogram_counts_every_unit(tmp_path):
    report = gradscope.gradients("lstm:hidden=16,layers=2,init=chrono,chrono_max=50", steps=60)
    result = report.results[0]
    assert [len(layer) for layer in result.details["time_constants"]] == [16, 16]
    figure = time_constant_figure(result)
    assert [curve.name for curve in figure.curves] == ["layer 0", "layer 1"]
    for curve in figure.curves:
        assert sum(curve.y[1::2]) == 16  # each bar's height once
        assert curve.y[0] == curve.y[-1] == 0
    report.save(tmp_path / "page.html")
    assert "Time constants of the units" in (tmp_path / "page.html").read_text()
