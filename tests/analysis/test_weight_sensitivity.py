"""‖∂h_t/∂θ‖ by t against closed forms, complex steps and itself by the other road; vanishing told from sharp."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gradscope
from gradscope.analysis.cases import cases_of
from gradscope.analysis.request import RunRequest
from gradscope.errors import UsageError
from gradscope.networks.weight_sensitivity import Plan, measure_weight_sensitivity
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source

SOURCES = (
    "rnn:hidden=4,gain=1.3",
    "skip:hidden=3",
    "forget-gate:hidden=3",
    "input-gate:hidden=3",
    "lstm:hidden=3,forget_bias=1",
    "gru:hidden=3",
    "leaky:hidden=4",
    "indrnn:hidden=4",
    "mingru:hidden=4",
    "minlstm:hidden=4",
    "lru:hidden=5",
    "slstm:hidden=3",
    "lstm:hidden=2,layers=2",
    "lru:hidden=4,layers=2",
    "rnn:hidden=3,norm=layer",
)


def run(text, steps=12, batch=2, **extra):
    return cases_of(build_source(parse_source(text), seed=0), RunRequest(steps=steps, batch=batch, **extra))[0].tape


def by_complex_step(trajectory, t, kind):
    """‖∂h_t/∂θ‖_F by moving one number after the other: exact to rounding."""
    network, x, total = trajectory.network, trajectory.inputs.read(1, t), 0.0
    for layer, cell in enumerate(network.layers):
        base = getattr(cell, kind)
        for index in np.ndindex(base.shape):
            moved = base.astype(complex)
            moved[index] += 1e-30j
            cells = [replace(c, **{kind: moved}) if i == layer else c for i, c in enumerate(network.layers)]
            other = replace(network, cells=tuple(cells)) if len(cells) > 1 else replace(network, cell=cells[0])
            states = other.advance(trajectory.state(0).astype(complex), x)
            total = total + np.square(states[-1][..., network.output_components].imag / 1e-30).sum(axis=-1)
    return np.sqrt(total)


@pytest.mark.parametrize("text", SOURCES)
def test_every_cell_against_complex_steps_and_both_roads_against_each_other(text):
    trajectory = run(text)
    forward = measure_weight_sensitivity(trajectory, [1, 5, 12], Plan("forward", 7, 0))
    adjoint = measure_weight_sensitivity(trajectory, [1, 5, 12], Plan("adjoint", 2, 0))
    for kind, values in forward.log10_norms.items():
        assert np.array_equal(np.isfinite(values), np.isfinite(adjoint.log10_norms[kind])), kind
        known = np.isfinite(values)
        assert np.allclose(values[known], adjoint.log10_norms[kind][known], rtol=0, atol=1e-12), kind
    for kind in ("weight_hh", "weight_ih", "bias"):
        if kind in forward.log10_norms:
            truth = by_complex_step(trajectory, 12, kind)
            # With a layer norm the complex step itself cancels (tests/cells/test_step_derivatives.py).
            allowed = 1e-9 if "norm" in text else 1e-12
            assert np.allclose(10.0 ** forward.log10_norms[kind][-1], truth, rtol=allowed), kind


@pytest.mark.parametrize(("decay", "law"), [(0.5, 2.963), (0.9, 263.9)])
def test_the_scalar_law(decay, law):
    """h = λh + x, unit white x: E(∂h/∂λ)² = (1+λ²)/(1−λ²)³ to 1 %, while ∂h_t/∂h_i is λ^k (Zucchet, Orvieto 2024)."""
    assert (1 + decay**2) / (1 - decay**2) ** 3 == pytest.approx(law, rel=2e-4)
    weights = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.full((1, 1), decay)}
    # ∂h_t/∂λ = Σ_m m λ^(m−1) x_(t−m) is Gaussian: √2/√(samples / memory) of its mean square is the standard error.
    x = np.random.default_rng(1).normal(size=(20_000, 100, 1))
    (result,) = gradscope.gradients((weights, "activation=identity"), inputs=x, wrt="weights").results
    assert 10 ** (2 * result.summary["log10_rms_weight_hh"]) == pytest.approx(law, rel=0.01)
    assert result.summary["log10_rate"] == pytest.approx(np.log10(decay), abs=1e-12)
    assert result.summary["verdict"] == "vanishing"


def test_an_lru_has_the_law_of_its_complex_eigenvalues():
    """z = λz + Bx: E|dz/dλ|² = |B|² (1+|λ|²)/(1−|λ|²)³, the same for every angle; the columns are the report's."""
    text = "lru:hidden=2,inputs=1,r_min=0.7,r_max=0.7"
    (named,) = build_source(parse_source(text), seed=0).named_cells
    size = float(np.exp(-np.exp(named.cell.weight_hh[0, 0])))
    drive = np.square(named.cell.weight_ih).sum()
    x = np.random.default_rng(2).normal(size=(10_000, 40, 1))
    (result,) = gradscope.gradients(text, inputs=x, wrt="weights").results
    law = drive * (1 + size**2) / (1 - size**2) ** 3
    assert 10 ** (2 * result.summary["log10_rms_lambda"]) == pytest.approx(law, rel=0.02)
    assert np.isnan(result.columns["log10_dh_dforget_bias"]).all()
    assert result.summary["log10_rms_forget_bias"] is None


def test_vanishing_and_sharp_are_two_questions():
    """λ = .5 vanishes and is flat; λ = .99 at T = 1000 vanishes and is sharp; an rnn of gain 3 need not be either."""
    x = np.random.default_rng(0).normal(size=(4, 1000, 1))
    found = []
    for decay in (0.5, 0.99):
        weights = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.full((1, 1), decay)}
        report = gradscope.gradients((weights, "activation=identity"), inputs=x, wrt="weights")
        found.append(report.results[0].summary)
        assert ("the loss is not too sharp" if decay == 0.5 else "the loss is too sharp") in _verdict(report)
    assert [s["verdict"] for s in found] == ["vanishing", "vanishing"]
    assert [s["sharpness"] for s in found] == ["flat", "sharp"]
    # Of all parameters: W_ih and b are summed over 1/(1−λ) steps as well.
    assert found[1]["log10_amplification"] == pytest.approx(2, abs=0.5)


def _verdict(report):
    from gradscope.reports.views.gradient_words import verdict_sentence

    return verdict_sentence(report.results[0])


def test_an_exploding_run_stays_in_range_on_both_roads():
    """Identity, gain 60: 10^500 at T = 280, rescaled by powers of two; ∂h_T/∂W is as large as T‖W^T‖ says."""
    trajectory = run("rnn:hidden=3,activation=identity,gain=60", steps=150, batch=1)
    roads = [measure_weight_sensitivity(trajectory, [150], Plan(road, 4, 0)) for road in ("forward", "adjoint")]
    forward, adjoint = (one.log10_norms["weight_hh"][0, 0] for one in roads)
    assert forward > 200
    assert forward == pytest.approx(adjoint, abs=1e-11)


def test_stretches_and_selected_steps_change_nothing():
    whole = gradscope.gradients("lstm:hidden=5", steps=60, wrt="weights").results[0]
    cut = gradscope.gradients("lstm:hidden=5", steps=60, wrt="weights", memory=20_000, lags="10:60:25").results[0]
    assert list(cut.columns["lag"]) == [10, 35, 60]
    for name in ("log10_norm", "log10_one_step", "log10_dh_dweight_hh", "log10_dh_dforget_bias"):
        picked = whole.columns[name][[9, 34, 59]]
        assert np.allclose(cut.columns[name], picked, rtol=0, atol=1e-12), name
    # One row at a time is the least there is.
    assert cut.settings["sensitivity_bytes"] < 30_000 < whole.settings["sensitivity_bytes"]


def test_what_is_refused():
    for source in ("dnn:hidden=3", "seq2seq:hidden=3", np.stack([np.eye(2)] * 3)):
        with pytest.raises(UsageError, match="no recurrent weights that all its steps share"):
            gradscope.gradients(source, steps=3, wrt="weights")
    with pytest.raises(UsageError, match="drop --anchor start"):
        gradscope.gradients("rnn:hidden=3", steps=3, wrt="weights", anchor="start")
    with pytest.raises(UsageError, match="drop --wrt weights"):
        gradscope.gradients("rnn:hidden=3", steps=3, wrt="weights", factors=True)
    with pytest.raises(UsageError, match="rows at t = 1"):
        gradscope.gradients("rnn:hidden=3", steps=0, wrt="weights")
