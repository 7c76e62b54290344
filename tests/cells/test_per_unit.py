"""Recurrences whose units read themselves alone: closed forms of whole runs, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.errors import UsageError
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source


def cells_of(text, seed=0):
    return [named.cell for named in build_source(parse_source(text), seed=seed).named_cells]


def test_a_linear_indrnn_is_the_power_of_its_largest_weight():
    """h_t = w⊙h_{t−1} + U x: ‖∂h_T/∂h_{T−k}‖ = max|w|^k, theory and bound the same number."""
    result = gradscope.gradients("indrnn:hidden=6,activation=identity", steps=40).results[0]
    (cell,) = cells_of("indrnn:hidden=6,activation=identity")
    truth = np.arange(41) * np.log10(np.abs(cell.weight_hh).max())
    for column in ("log10_norm", "log10_theory", "log10_bound"):
        assert np.allclose(result.columns[column], truth, rtol=0, atol=1e-11), column
    assert result.summary["bound_violations"] == result.summary["theory_violations"] == 0


def test_theory_is_exact_with_slopes_too():
    result = gradscope.gradients("indrnn:hidden=7,gain=1.5", steps=60).results[0]
    assert np.allclose(result.columns["log10_theory"], result.columns["log10_norm"], rtol=0, atol=1e-11)
    assert np.all(result.columns["log10_bound"] >= result.columns["log10_norm"] - 1e-12)


@pytest.mark.parametrize("init", ["gaussian", "orthogonal", "identity", "uniform", "pytorch", "keras"])
def test_every_init_draws_a_column(init):
    (cell,) = cells_of(f"indrnn:hidden=5,inputs=3,init={init},gain=2")
    assert cell.weight_hh.shape == (5, 1)
    if init in ("orthogonal", "keras"):
        assert np.allclose(np.abs(cell.weight_hh), 2.0, rtol=0, atol=1e-15)


def test_gradients_of_the_weights_and_of_a_stack_are_there():
    """advise clips the gradient of all parameters; a stack and both directions run through the same roads."""
    for text in ("indrnn:hidden=4,layers=2", "indrnn:hidden=4,bidirectional=true", "seq2seq:cell=indrnn,hidden=4"):
        for result in gradscope.gradients(text, steps=12).results:
            assert np.isfinite(result.columns["log10_norm"]).all()
    report = gradscope.advise("indrnn:hidden=4", steps=20)
    assert report.results[0].summary["clip_value"] > 0


def test_what_has_no_meaning_is_refused():
    with pytest.raises(UsageError, match="a unit of indrnn reads itself alone: use gaussian"):
        build_source(parse_source("indrnn:init=nonnormal"), seed=0)
    with pytest.raises(UsageError, match="draws gate biases"):
        parse_source("indrnn:init=chrono")


def test_a_file_is_not_read_as_one(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, weight_ih_l0=np.ones((3, 2)), weight_hh_l0=np.eye(3))
    with pytest.raises(UsageError, match="wanted one of rnn"):
        gradscope.gradients(f"{path}:cell=indrnn", steps=3)
