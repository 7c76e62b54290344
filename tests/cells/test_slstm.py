"""The slstm on its own: closed forms, gates that no float64 holds, and the paper's stabilised recurrence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gradscope
from gradscope.cells.activations import GATE_ACTIVATIONS
from gradscope.errors import UsageError


def still(build_cell, **settings):
    """No weights at all: every gate at its bias, which is 0."""
    cell = build_cell("slstm", hidden=2, inputs=1, **settings)
    zero = {name: 0 * getattr(cell, name) for name in ("weight_ih", "weight_hh", "bias")}
    return replace(cell, **zero)


def test_an_exponential_forget_gate_at_zero_is_the_running_mean(build_cell):
    """f = i = 1: n_t = 1 + t, y_t the mean of y_0 and all candidates, so ∂y_T/∂y_{T−k} = (T − k + 1)/(T + 1)."""
    cell = still(build_cell, forget="exp")
    s = np.array([[0.0, 0.0, 0.0, 0.0, 1.0, -0.5]])
    P = np.eye(6)[None]
    jacobians = []
    for t in range(1, 21):
        jacobians.append(cell.linearise(s, np.zeros((1, 8))).jacobian)
        s = cell.step(s, np.zeros((1, 8)))
        assert np.allclose(s[0, 2:4], np.log(1 + t), rtol=1e-14)
        assert np.allclose(s[0, 4:], np.array([1.0, -0.5]) / (1 + t), rtol=1e-14)
    for k, jacobian in enumerate(reversed(jacobians), 1):
        P = jacobian.pull(P)
        assert np.allclose(np.diag(P[0])[4:], (20 - k + 1) / 21, rtol=1e-13)


def test_gates_beyond_float64_keep_their_ratio(build_cell):
    """i = e^2000 and n = e^1999 are no float64: y_1 = k y_0 + (1−k) φ, k = σ(1999 + ln ½ − 2000), is."""
    cell = still(build_cell)
    s = np.array([[0.0, 0.0, 1999.0, 1999.0, 0.25, -0.75]])
    drive = np.array([[2000.0, 2000.0, 0.0, 0.0, 0.3, 0.3, 0.0, 0.0]])
    new = cell.step(s, drive)
    kept = 0.5 / (0.5 + np.e)
    assert np.allclose(new[0, 4:], kept * s[0, 4:] + (1 - kept) * np.tanh(0.3), rtol=1e-13)
    assert np.allclose(new[0, 2:4], 2000 + np.log1p(0.5 / np.e), rtol=1e-15)
    line = cell.linearise(s, drive)
    assert np.isfinite(line.jacobian.dense()).all()
    assert not line.traces.underflow.any()


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_it_is_the_stabilised_recurrence_of_the_paper(forget, build_cell):
    """c, n and m as in Beck et al. 2024, eq. 8 to 17: h is the same, ln n is ln n′ + m, y is c′/n′."""
    cell = build_cell("slstm", hidden=4, inputs=3, forget=forget)
    x = 3 * np.random.default_rng(1).normal(size=(40, 3))
    s = np.zeros((1, 12))
    h, c, n, m = np.zeros(4), np.zeros(4), np.ones(4), np.zeros(4)
    for row in x:
        s = cell.step(s, cell.drive(row[None]))
        a_i, a_f, a_g, a_o = np.split(cell.weight_ih @ row + cell.weight_hh @ h + cell.bias, 4)
        log_f = a_f if forget == "exp" else -np.log1p(np.exp(-a_f))
        new_m = np.maximum(log_f + m, a_i)
        i, f = np.exp(a_i - new_m), np.exp(log_f + m - new_m)
        c, n, m = f * c + i * np.tanh(a_g), f * n + i, new_m
        h = c / n / (1 + np.exp(-a_o))
        assert np.allclose(s[0], [*h, *(np.log(n) + m), *(c / n)], rtol=0, atol=1e-12)


def test_every_verb_takes_it():
    for text in ("slstm:hidden=4", "slstm:hidden=4,layers=2,forget=exp", "seq2seq:cell=slstm,hidden=4"):
        result = gradscope.gradients(text, steps=20).results[0]
        assert np.isfinite(result.columns["log10_norm"]).all()
        if not text.startswith("seq2seq"):  # the first copy multiplies h_0 = 0
            assert np.isfinite(result.columns["log10_dloss_dweight"][:-2]).all()
        assert result.summary["bound_violations"] == 0
        assert np.isfinite(gradscope.lyapunov(text, steps=40).results[0].summary["max"])
        assert gradscope.spectrum(text).results
    assert "forget_bias" in gradscope.advise("slstm:hidden=4", steps=15).results[0].columns["kind"]
    kept = [gradscope.gradients(f"slstm:hidden=8,forget_bias={b}", steps=40).results[0] for b in (0, 3)]
    assert kept[1].columns["log10_norm_h"][-1] > kept[0].columns["log10_norm_h"][-1] + 1


def test_what_it_refuses(build_cell):
    with pytest.raises(UsageError, match="forget is 'sigmoid' or 'exp', not 'relu'"):
        build_cell("slstm", forget="relu")
    with pytest.raises(UsageError, match="are exponential or sigmoid, not hard_sigmoid"):
        build_cell("slstm", gate_activation=GATE_ACTIVATIONS["hard_sigmoid"])
