"""Recurrences whose units read themselves alone: closed forms of whole runs, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gradscope
from gradscope.cells.activations import GATE_ACTIVATIONS
from gradscope.errors import InputError, UsageError
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
    # Short enough for the bound to say something: further on it is twenty decades above the path bound, and left out.
    result = gradscope.gradients("indrnn:hidden=7,gain=1.5", steps=30).results[0]
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
    with pytest.raises(UsageError, match="indrnn, whose units read themselves alone, is drawn with init=gaussian or"):
        build_source(parse_source("indrnn:init=nonnormal"), seed=0)
    with pytest.raises(UsageError, match="draws gate biases"):
        parse_source("indrnn:init=chrono")


def test_a_file_is_not_read_as_one(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, weight_ih_l0=np.ones((3, 2)), weight_hh_l0=np.eye(3))
    with pytest.raises(UsageError, match="wanted one of rnn"):
        gradscope.gradients(f"{path}:cell=indrnn", steps=3)


@pytest.mark.parametrize("name", ["mingru", "minlstm"])
def test_gates_of_the_input_alone_are_known_before_the_run(name):
    """‖∂h_T/∂h_{T−k}‖ = max over units of the product of what is kept: from inputs and W_ih, without a state."""
    text = f"{name}:hidden=6,inputs=3,forget_bias=1"
    x = np.random.default_rng(3).normal(size=(50, 3))
    result = gradscope.gradients(text, inputs=x).results[0]
    (cell,) = cells_of(text)
    pre = x @ cell.weight_ih.T + cell.bias
    if name == "mingru":
        kept = 1 / (1 + np.exp(pre[:, :6]))
    else:
        f, i = (1 / (1 + np.exp(-pre[:, part])) for part in (slice(0, 6), slice(6, 12)))
        kept = f / (f + i)
    truth = np.concatenate([[0.0], np.cumsum(np.log10(kept)[::-1], axis=0).max(axis=1)])
    for column in ("log10_norm", "log10_theory"):
        assert np.allclose(result.columns[column], truth, rtol=0, atol=1e-11), column
    assert np.all(result.columns["log10_bound"] == 0.0)
    assert np.isnan(result.columns["log10_dloss_dweight"]).all()
    assert result.summary["tbptt_length"] is None


@pytest.mark.parametrize("name", ["mingru", "minlstm"])
def test_forget_bias_lengthens_memory_and_chrono_spreads_it(name):
    short, long = (
        gradscope.gradients(f"{name}:forget_bias={b}", steps=60).results[0].columns["log10_norm"] for b in (0, 2)
    )
    assert np.all(long[1:] > short[1:])
    chrono = gradscope.gradients(f"{name}:init=chrono,chrono_max=200,input_gain=0.01", steps=100).results[0]
    assert chrono.columns["log10_norm"][-1] > -1


def test_two_gates_that_are_both_shut_still_have_shares():
    """σ(−800) is 0 in float64; f/(f+i) with both at −800 is ½, and e/(1+e) with f one above i."""
    (cell,) = cells_of("minlstm:hidden=2,inputs=1,activation=identity")
    drive = np.array([[-800.0, -799.0, -800.0, -800.0, 4.0, 4.0]])
    h = np.array([[2.0, 2.0]])
    kept = np.array([0.5, np.e / (1 + np.e)])
    assert np.allclose(cell.step(h, drive), kept * 2.0 + (1 - kept) * 4.0, rtol=1e-15)
    assert np.allclose(cell.linearise(h, drive).jacobian.dense()[0], np.diag(kept), rtol=1e-13)


def test_every_verb_takes_them():
    texts = (
        "mingru:hidden=4",
        "lru:hidden=5",
        "lru:hidden=4,layers=2,gain=0.5",
        "minlstm:hidden=4,layers=2",
        "seq2seq:cell=mingru,hidden=4",
    )
    for text in texts:
        advice = gradscope.advise(text, steps=15).results[0]
        assert ("gain" in advice.columns["kind"]) == ("gain=" in text)
        for result in gradscope.lyapunov(text, steps=40).results:
            assert np.isfinite(result.summary["max"])
    inputs = gradscope.gradients("mingru:hidden=4", steps=9, wrt="inputs").results[0]
    assert np.isfinite(inputs.columns["log10_dloss_dinput"][:-1]).all()
    with pytest.raises(InputError, match="its gates hear the input alone"):
        gradscope.spectrum("mingru")


def test_gates_other_than_logistic_are_refused():
    (cell,) = cells_of("minlstm:hidden=2,inputs=1")
    with pytest.raises(UsageError, match="are sigmoid, not hard_sigmoid"):
        replace(cell, gate_activation=GATE_ACTIVATIONS["hard_sigmoid"])


def test_an_lru_is_its_complex_recurrence():
    """z_t = λ z_{t−1} + B x_t in complex numbers, h = [Re z; Im z], and ‖∂h_T/∂h_{T−k}‖ = max|λ|^k at every lag."""
    text = "lru:hidden=6,inputs=3"
    (cell,) = cells_of(text)
    nu, theta = cell.weight_hh[:3, 0], cell.weight_hh[3:, 0]
    eigenvalues = np.exp(-np.exp(nu) + 1j * theta)
    B = cell.weight_ih[:3] + 1j * cell.weight_ih[3:]
    x = np.random.default_rng(0).normal(size=(30, 3))
    z, s = np.zeros(3, dtype=complex), np.zeros((1, 6))
    for row in x:
        z, s = eigenvalues * z + B @ row, cell.step(s, cell.drive(row[None]))
    assert np.allclose(s[0], [*z.real, *z.imag], rtol=0, atol=1e-14)
    result = gradscope.gradients(text, inputs=x).results[0]
    truth = np.arange(31) * np.log10(np.abs(eigenvalues).max())
    for column in ("log10_norm", "log10_theory", "log10_bound"):
        assert np.allclose(result.columns[column], truth, rtol=0, atol=1e-11), column
    spectrum = gradscope.spectrum(text).results[0]
    assert spectrum.columns["spectral_radius"][0] == pytest.approx(np.abs(eigenvalues).max(), rel=1e-12)
    exponents = np.sort(gradscope.lyapunov(text, steps=200).results[0].columns["exponent"])
    assert np.allclose(exponents, np.sort(np.repeat(np.log(np.abs(eigenvalues)), 2)), rtol=0, atol=0.02)


def test_white_input_keeps_an_lru_at_the_size_of_its_drive():
    """B's rows carry √(1−|λ|²): E|z|² is that of one step's B x however near |λ| is to 1 (Orvieto 2023, §3.4)."""
    (cell,) = cells_of("lru:hidden=200,inputs=40,r_min=0.9,r_max=0.99")
    modulus = np.exp(-np.exp(cell.weight_hh[:100, 0]))
    assert 0.9 <= modulus.min() < 0.91 < 0.98 < modulus.max() <= 0.99
    drive = np.sum(cell.weight_ih**2, axis=1)
    expected = (drive[:100] + drive[100:]) / (1 - modulus**2)
    assert np.allclose(expected.mean(), 2.0, rtol=0.05)


def test_the_disk_of_a_default_lru_is_that_of_a_gaussian_matrix():
    """|λ|² uniform on (0, gain²), as the eigenvalues of N(0, gain²/n) are; an odd one out is real and positive."""
    (cell,) = cells_of("lru:hidden=4001,gain=0.5")
    squares = np.exp(-2 * np.exp(cell.weight_hh[:2001, 0])) / 0.25
    assert squares.mean() == pytest.approx(0.5, abs=0.03)
    assert squares.var() == pytest.approx(1 / 12, rel=0.08)
    assert cell.weight_hh.shape == (4001, 1)


def test_what_an_lru_refuses_and_says():
    with pytest.raises(UsageError, match="gain·r_max ≤ 1"):
        build_source(parse_source("lru:gain=1.5"), seed=0)
    with pytest.raises(UsageError, match="is drawn with init=gaussian"):
        build_source(parse_source("lru:init=orthogonal"), seed=0)
    source = build_source(parse_source("lru:activation=relu"), seed=0)
    assert source.warnings == ("lru is linear: activation has no effect",)


def test_bounds_of_float32_weights_do_not_underflow():
    """λ = exp(−exp 5) = 10^-64: nothing in float32, and yet what the Jacobian holds."""
    (cell,) = cells_of("lru:hidden=4,inputs=2")
    weight = np.full_like(cell.weight_hh, 5.0).astype(np.float32)
    block = replace(cell, weight_hh=weight).recurrent_blocks()["u"]
    assert np.isclose(np.log10(np.linalg.norm(block, 2)), -np.exp(5) / np.log(10), rtol=1e-6)
