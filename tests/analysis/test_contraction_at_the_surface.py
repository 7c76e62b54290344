"""What a report says of a contraction: for whom, its bound beside the measurement, and nothing where none is proven."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gradscope
from gradscope.cli import run

CONTRACTING = "lstm:hidden=8,inputs=3,gain=0.2,input_gain=0.1,forget_bias=-1"


def result(source: object, **options: object) -> gradscope.Result:
    return gradscope.gradients(source, **options).results[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "dtype"),
    [
        (CONTRACTING, "float64"),
        (CONTRACTING, "float32"),
        ("gru:hidden=6,inputs=2,gain=0.1,input_gain=0.1", "float64"),
        ("gru:hidden=6,inputs=2,gain=0.1,input_gain=0.1,reset=before", "float32"),
        ("forget-gate:hidden=6,inputs=2,gain=0.1,input_gain=0.1", "float64"),
        ("input-gate:hidden=6,inputs=2,gain=0.1,input_gain=0.1,forget_bias=-2", "float64"),
    ],
)
@pytest.mark.parametrize("anchor", ["end", "start"])
def test_bound_above_measurement(source: str, dtype: str, anchor: str) -> None:
    found = result(source, steps=40, inputs="uniform", dtype=dtype, anchor=anchor, batch=3, loss="none")
    assert 0 < found.summary["contraction"] < 1
    assert found.summary["contracts_for"] == "every input whose drive U x + b stays within this run's range"
    assert found.summary["bound_violations"] == 0
    bound = np.array(found.columns["log10_contraction_bound"], dtype=float)
    assert (bound >= np.array(found.columns["log10_norm"], dtype=float) - 1e-9).all()
    # It falls, and no faster than the factor that is proven.
    assert bound[40] < -1
    assert bound[40] >= 40 * np.log10(found.summary["contraction"]) - 1e-9


def test_other_inputs_within_the_range_are_covered() -> None:
    found = result(CONTRACTING, steps=40, inputs="uniform", loss="none")
    x = np.random.default_rng(1).uniform(-0.5, 0.5, (40, 3))
    ours = result(CONTRACTING, steps=40, inputs=x, loss="none")
    assert (np.array(ours.columns["log10_norm"]) <= np.array(found.columns["log10_contraction_bound"]) + 1e-9).all()


def silent_gates() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    W, U, b = 0.05 * rng.standard_normal((16, 4)), rng.standard_normal((16, 2)), np.zeros(16)
    U[4:8] = 0.0  # the forget gate hears no input
    b[4:8] = -1.0
    return {"weight_ih_l0": U, "weight_hh_l0": W, "bias_ih_l0": b, "bias_hh_l0": np.zeros(16)}


def test_for_every_input_it_is_certificate_and_bound() -> None:
    found = result(silent_gates(), steps=30, loss="none")
    assert found.summary["contracts_for"] == "every input"
    assert found.summary["certificate"] == found.summary["contraction"] < 1
    assert found.summary["vanishes_for_every_input"] is True
    assert found.summary["bound"] == "contraction in a weighted norm"
    loud = result(silent_gates(), steps=30, inputs=20 * np.random.default_rng(2).standard_normal((30, 2)), loss="none")
    assert (np.array(loud.columns["log10_norm"]) <= np.array(found.columns["log10_bound"]) + 1e-9).all()
    spectrum = gradscope.spectrum(silent_gates()).results[0]
    assert spectrum.summary["contraction"] == pytest.approx(found.summary["certificate"])
    assert spectrum.summary["vanishes_for_every_input"] is True
    assert spectrum.summary["contracts_within"] is None
    assert spectrum.summary["blocks"] == 4


def test_spectrum_says_how_large_inputs_may_be() -> None:
    found = gradscope.spectrum(CONTRACTING).results[0]
    within = found.summary["contracts_within"]
    assert within > 0
    assert found.summary["contraction"] is None
    assert found.summary["vanishes_for_every_input"] is False
    x = within * np.sign(np.random.default_rng(3).standard_normal((40, 3)))
    assert result(CONTRACTING, inputs=x, loss="none").summary["contraction"] < 1
    assert gradscope.spectrum("lstm:hidden=8,inputs=2").results[0].summary["contracts_within"] is None
    assert gradscope.spectrum("rnn:hidden=8").results[0].summary["contracts_within"] is None


STACKS = [
    ("lstm:hidden=6,inputs=3,layers=2,gain=0.2,input_gain=0.1,forget_bias=-1", "float64"),
    ("lstm:hidden=4,inputs=3,layers=3,gain=0.2,input_gain=0.1,forget_bias=-1,dropout=0.3", "float32"),
    ("gru:hidden=5,inputs=2,layers=3,gain=0.1,input_gain=0.1", "float32"),
    ("gru:hidden=5,inputs=2,layers=2,gain=0.1,input_gain=0.1,reset=before", "float64"),
    ("forget-gate:hidden=5,inputs=2,layers=2,gain=0.1,input_gain=0.1", "float64"),
    ("input-gate:hidden=5,inputs=2,layers=3,gain=0.1,input_gain=0.1,forget_bias=-2", "float32"),
]


@pytest.mark.parametrize(("source", "dtype"), STACKS)
@pytest.mark.parametrize("anchor", ["end", "start"])
def test_a_stack_of_gated_layers_has_it_too(source: str, dtype: str, anchor: str) -> None:
    found = result(source, steps=40, inputs="uniform", dtype=dtype, anchor=anchor, batch=3, loss="none")
    assert 0 < found.summary["contraction"] < 1
    assert found.summary["contracts_for"] == "every input whose drive U x + b stays within this run's range"
    assert found.summary["bound_violations"] == 0
    bound = np.array(found.columns["log10_contraction_bound"], dtype=float)
    assert (bound >= np.array(found.columns["log10_norm"], dtype=float) - 1e-9).all()
    assert bound[40] < -1
    within = gradscope.spectrum(source, dtype=dtype).results[0].summary["contracts_within"]
    assert within > 0
    width = int(source.split("inputs=")[1].split(",")[0])
    x = 0.999 * within * np.sign(np.random.default_rng(3).standard_normal((40, width)))
    loud = result(source, inputs=x, loss="none", dtype=dtype)
    assert loud.summary["contraction"] < 1
    assert loud.summary["bound_violations"] == 0


def stack_of(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A second layer on top, whose gates hear h below."""
    rng = np.random.default_rng(1)
    above = {"weight_ih_l1": 0.3 * rng.standard_normal((16, 4)), "weight_hh_l1": 0.05 * rng.standard_normal((16, 4))}
    return {**weights, **above, "bias_ih_l1": np.repeat([0.0, -1.5, 0.0, 0.0], 4), "bias_hh_l1": np.zeros(16)}


def test_a_stack_for_every_input() -> None:
    """h of the layer below stays within 1, so a gate above that hears it cannot be held open by any input."""
    weights = stack_of(silent_gates())
    found = result(weights, steps=30, loss="none")
    assert found.summary["contracts_for"] == "every input"
    assert found.summary["certificate"] == found.summary["contraction"] < 1
    assert found.summary["vanishes_for_every_input"] is True
    assert found.summary["bound"] == "contraction layer by layer"
    alone = result(silent_gates(), steps=30, loss="none").summary["contraction"]
    assert found.summary["contraction"] >= alone
    loud = result(weights, steps=30, inputs=20 * np.random.default_rng(2).standard_normal((30, 2)), loss="none")
    assert (np.array(loud.columns["log10_norm"]) <= np.array(found.columns["log10_bound"]) + 1e-9).all()
    assert loud.summary["bound_violations"] == 0
    spectrum = gradscope.spectrum(weights).results[0]
    assert spectrum.summary["contraction"] == pytest.approx(found.summary["certificate"])
    assert spectrum.summary["certificate"] == spectrum.summary["contraction"]
    assert spectrum.summary["vanishes_for_every_input"] is True
    assert spectrum.summary["contracts_within"] is None


@pytest.mark.parametrize(
    "source",
    [
        "lstm:hidden=4,inputs=2,layers=2",
        "lstm:hidden=4,inputs=2,layers=2,norm=layer,gain=0.01,input_gain=0.01,forget_bias=-2",
        "rnn:hidden=4,inputs=2,layers=2,gain=0.1",
        "seq2seq:hidden=4,inputs=2,gain=0.01,input_gain=0.01",
    ],
)
def test_nothing_is_shown_of_a_stack_where_nothing_is_proven(source: str) -> None:
    found = result(source, steps=20, **({} if source.startswith("seq2seq") else {"loss": "none"}))
    assert found.summary["contraction"] is None
    assert {row["log10_contraction_bound"] for row in found.rows()} == {None}


def test_a_person_is_told_of_the_slowest_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", STACKS[0][0], "-T", "30", "--inputs", "uniform", "--color", "never"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "Certified: it vanishes for every input whose drive U x + b stays within this run's range (in the slowest"
        in out
    )


def test_a_planted_error_in_a_stack_counts_as_a_broken_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradscope.theory import stack_contraction

    honest = stack_contraction.contraction

    def too_small(domination: object) -> object:
        found = honest(domination)  # type: ignore[arg-type]
        return found and replace(
            found,
            weighted_factor=found.weighted_factor * 0.5,
            domination=replace(found.domination, fixed=0.5 * found.domination.fixed),
        )

    monkeypatch.setattr(stack_contraction, "contraction", too_small)
    assert result(STACKS[0][0], steps=40, inputs="uniform", loss="none").summary["bound_violations"] > 0


@pytest.mark.parametrize("source", ["lstm:hidden=8,inputs=2", "gru:hidden=8,inputs=2", "rnn:hidden=8,inputs=2"])
def test_nothing_is_shown_where_nothing_is_proven(source: str) -> None:
    found = result(source, steps=20, loss="none")
    assert found.summary["contraction"] is None
    assert found.summary["contracts_for"] is None
    assert {row["log10_contraction_bound"] for row in found.rows()} == {None}


def test_an_empty_bound_is_left_out() -> None:
    """The issue's case: 10^352 at lag 200 where the path bound is 10^36."""
    found = result("lstm:hidden=32", steps=200, loss="none")
    assert {row["log10_bound"] for row in found.rows()} == {None}
    assert found.summary["bound"] is None


def test_a_person_is_told_for_whom(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", CONTRACTING, "-T", "30", "--inputs", "uniform", "--color", "never"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Certified: it vanishes for every input whose drive U x + b stays within this run's range" in out


def test_a_planted_error_counts_as_a_broken_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradscope.analysis import contracting

    honest = contracting.contraction_of

    def too_small(*args: object) -> object:
        found = honest(*args)  # type: ignore[arg-type]
        return found and replace(found, weighted_factor=found.weighted_factor * 0.5)

    monkeypatch.setattr(contracting, "contraction_of", too_small)
    assert result(CONTRACTING, steps=40, inputs="uniform", loss="none").summary["bound_violations"] > 0
