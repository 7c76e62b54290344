"""The source grammar: a union of what the parts of a network declare."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.cells import CELLS
from gradscope.errors import UsageError
from gradscope.sources.build import build_source
from gradscope.sources.spec import BUILT_CELLS, known_keys, parse_source


@pytest.mark.parametrize("name", BUILT_CELLS)
def test_an_unknown_key_is_answered_with_the_known_ones(name):
    with pytest.raises(UsageError) as refused:
        parse_source(f"{name}:colour=red")
    for key in known_keys("cell", name, {}):
        assert key in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rnn:leak=0.1", "rnn has no leak: its keys are hidden"),
        ("lstm:reset=before", "lstm has no reset"),
        ("skip:forget_bias=1", "skip has no forget_bias"),
        ("dnn:norm=layer", "dnn has no norm"),
        ("seq2seq:cell=skip,forget_bias=1", "seq2seq has no forget_bias"),
        ("seq2seq:cell=lstm,leak=0.1", "seq2seq has no leak"),
        ("seq2seq:cell=lstn", "one of rnn, skip"),
        ("leaky:init=chrono", "draws gate biases, and leaky has no gates"),
        ("w.npz:leek=1", "Did you mean 'leak'"),
    ],
)
def test_a_key_belongs_to_its_cell(text, said):
    with pytest.raises(UsageError, match=said):
        parse_source(text)


@pytest.mark.parametrize("cell", CELLS)
def test_every_key_of_every_cell_is_taken_where_the_cell_is(cell):
    for key, declared in CELLS[cell].declared_keys().items():
        if key == "chrono_max":
            continue
        assert parse_source(f"{cell}:{key}={declared.default}")[key] == declared.default
        assert parse_source(f"seq2seq:cell={cell},{key}={declared.default}")[key] == declared.default


def test_a_built_gru_resets_where_it_is_told_to():
    """With h_0 = 0 the first step is the same; afterwards W_n (r⊙h) is not r⊙(W_n h)."""
    after, before = (
        gradscope.gradients(f"gru:hidden=5,reset={reset}", steps=4).results[0] for reset in ("after", "before")
    )
    assert not np.allclose(after.columns["log10_norm"][1:], before.columns["log10_norm"][1:], atol=1e-6)


def test_a_change_may_be_appended_to_a_key_that_is_there_and_the_last_counts():
    spec = parse_source("lstm:gain=2,init=chrono,chrono_max=50,gain=0.5,init=orthogonal")
    assert (spec["gain"], spec["init"], spec["chrono_max"]) == (0.5, "orthogonal", 100)
    source = build_source(spec, seed=0)
    assert [text.split(" stands")[0] for text in source.warnings] == ["gain", "init"]
    assert (
        source.record["sha256"] == build_source(parse_source("lstm:gain=0.5,init=orthogonal"), seed=0).record["sha256"]
    )


@pytest.mark.parametrize("name", ["mamba", "Mamba2", "xlstm", "mlstm", "qrnn", "s4", "rwkv", "conv-lstm", "sru", "foo"])
def test_a_recurrence_that_is_no_cell_here_is_answered_with_the_road_to_it(name):
    with pytest.raises(UsageError) as error:
        parse_source(name)
    first, second = str(error.value).split("\n")
    assert first == (
        f"'{name}' is neither a cell nor a file here. Any other recurrence: "
        "gradscope.torch.measure(step, inputs, state) with step(x, state) → state."
    )
    assert "Did you mean" not in second


@pytest.mark.parametrize(
    ("name", "meant"), [("gruu", "gru"), ("LSTM", "lstm"), ("indrn", "indrnn"), ("mingur", "mingru")]
)
def test_a_misspelt_cell_is_asked_about(name, meant):
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        parse_source(name)
