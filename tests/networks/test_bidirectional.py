"""Bidirectional networks: both halves, exact zeros, the trap of the last output, open case D12."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.cells import CELLS
from gradscope.errors import ShapeError
from gradscope.networks import bidirectional
from gradscope.networks.bidirectional import (
    layer_output,
    measure_last_output,
    output_input_jacobians,
    probe_last_output,
    split_bidirectional,
)
from gradscope.networks.dropout import SeededDropout

CASES = json.loads((Path(__file__).parents[1] / "oracles" / "open_cases.json").read_text())["cases"]
BILSTM = next(case for case in CASES if case["id"] == "D12_bilstm")


def pairs_of(build, name, layers=2, hidden=2, inputs=2, **kind):
    widths = [inputs, *[2 * hidden] * (layers - 1)]
    return [
        (build(name, hidden, width, seed=2 * n, **kind), build(name, hidden, width, seed=2 * n + 1, **kind))
        for n, width in enumerate(widths)
    ]


def run(pairs, x, **kind):
    parts = split_bidirectional(pairs, x, **kind)
    return layer_output(parts[-2], parts[-1])


def test_open_case_in_every_entry(close):
    inputs, expected = BILSTM["inputs"], BILSTM["expected"]
    pair = tuple(
        CELLS["lstm"].from_layer(
            *(
                np.array(inputs[f"params_{d}"][f"{name}_l0"])
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
        )
        for d in ("forward", "backward")
    )
    x = np.array(inputs["x"])[:, None]
    close(run([pair], x)[:, 0], expected["out"], 1e-9)
    J = output_input_jacobians([pair], x)
    close(J[:, :, 0, :, 0], expected["dout_t_dx_j"], 1e-9)
    v_f, v_b = np.array(inputs["v_forward"]), np.array(inputs["v_backward"])
    last = np.concatenate([v_f, v_b]) @ J[-1, :, 0]
    close(last[:, 0], expected["dL_dx_loss_on_last_output"], 1e-9)
    final = v_f @ J[-1, :, 0, :2] + v_b @ J[0, :, 0, 2:]
    close(final[:, 0], expected["dL_dx_loss_on_final_states"], 1e-9)


@given(name=st.sampled_from(sorted(CELLS)), T=st.integers(1, 6), hidden=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_what_a_half_has_not_read_is_exactly_zero(name, T, hidden, seed, build_cell):
    x = np.random.default_rng(seed).normal(size=(T, 2, 2))
    J = output_input_jacobians(pairs_of(build_cell, name, 1, hidden), x)
    assert J.shape == (T, T, 2, 2 * hidden, 2)
    for t in range(T):
        assert not J[t, t + 1 :, :, :hidden].any()
        assert not J[t, :t, :, hidden:].any()
        assert J[t, : t + 1, :, :hidden].any()
        assert J[t, t:, :, hidden:].any()


@pytest.mark.parametrize("name", sorted(CELLS))
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_output_jacobians_are_the_derivative_of_the_outputs(name, layers, build_cell, derivative, close):
    pairs = pairs_of(build_cell, name, layers)
    dropout = SeededDropout(0.3, 5) if layers > 1 else None
    x = np.random.default_rng(4).normal(size=(4, 1, 2))
    J = output_input_jacobians(pairs, x, dropout=dropout)
    for j in range(4):

        def outputs(v, j=j):
            moved = x.astype(complex)
            moved[j] = v
            return run(pairs, moved, dropout=dropout)

        close(J[:, j], derivative(outputs, x[j]))


def test_the_last_outputs_backward_half_has_seen_the_last_step_only(build_cell):
    x = np.random.default_rng(4).normal(size=(5, 1, 2))
    reach = measure_last_output(output_input_jacobians(pairs_of(build_cell, "lstm", 1), x), 2)
    assert (reach.forward > 0).all()
    assert not reach.backward[:-1].any()
    assert reach.steps_seen_backward == 1
    assert "x_5 only, not the other 4 steps" in reach.warning
    stacked = measure_last_output(output_input_jacobians(pairs_of(build_cell, "lstm", 2), x), 2)
    assert stacked.steps_seen_backward == 5
    assert stacked.warning is None


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("forgetful_below", [False, True])
def test_one_direction_per_step_finds_the_zeros_of_the_full_jacobians(build_cell, name, layers, forgetful_below):
    """W_hh = 0 below: an rnn's layer hands on x_t alone, so that two layers fall into the trap as well."""
    pairs = pairs_of(build_cell, name, layers)
    if forgetful_below:
        pairs[0] = tuple(dataclasses.replace(cell, weight_hh=0 * cell.weight_hh) for cell in pairs[0])
    x = np.random.default_rng(4).normal(size=(5, 3, 2))
    dropout = SeededDropout(0.3, seed=1)
    full = measure_last_output(output_input_jacobians(pairs, x, dropout=dropout), 2)
    probed = probe_last_output(pairs, x, rng=np.random.default_rng(0), dropout=dropout)
    assert np.array_equal(probed.forward > 0, full.forward > 0)
    assert np.array_equal(probed.backward > 0, full.backward > 0)
    assert probed.warning == full.warning
    trapped = layers == 1 or (forgetful_below and name == "rnn")
    assert (probed.warning is not None) == trapped


def test_the_probe_is_the_jacobian_times_its_directions_and_t_columns_wide(build_cell, close, monkeypatch):
    pairs, x = pairs_of(build_cell, "lstm", 2), np.random.default_rng(4).normal(size=(5, 1, 2))
    v = np.random.default_rng(7).standard_normal((5, 2))
    J = output_input_jacobians(pairs, x)[-1, :, 0]
    widths = []

    def push(network, states, inputs, tangents):
        widths.append(tangents.shape[-1])
        return push_inputs(network, states, inputs, tangents)

    push_inputs = bidirectional.push_inputs
    monkeypatch.setattr(bidirectional, "push_inputs", push)
    probed = probe_last_output(pairs, x, rng=np.random.default_rng(7))
    expected = np.einsum("jhi,ji->jh", J, v)
    close(probed.forward[:, 0], np.linalg.norm(expected[:, :2], axis=-1))
    close(probed.backward[:, 0], np.linalg.norm(expected[:, 2:], axis=-1))
    assert set(widths) == {5}


def test_each_layer_reads_both_directions_below_and_backward_starts_at_the_end(build_cell):
    pairs = pairs_of(build_cell, "lstm", 2)
    x = np.random.default_rng(4).normal(size=(5, 1, 2))
    parts = split_bidirectional(pairs, x)
    assert [(part.layer, part.direction) for part in parts] == [
        (0, "forward"), (0, "backward"), (1, "forward"), (1, "backward"),
    ]  # fmt: skip
    assert np.array_equal(parts[1].inputs[0], x[-1])
    below = layer_output(parts[0], parts[1])
    assert np.array_equal(below[:, :, 2:], parts[1].states[:0:-1, :, :2])
    assert np.array_equal(parts[2].inputs, below)
    assert np.array_equal(parts[3].inputs, below[::-1])
    for part in parts:
        assert part.network.cell is pairs[part.layer][part.direction == "backward"]
    given_states = [np.full((1, 4), 0.1 * k) for k in range(4)]
    again = split_bidirectional(pairs, x, given_states)
    assert all(np.array_equal(part.states[0], s) for part, s in zip(again, given_states, strict=True))


def test_layers_that_do_not_fit_are_refused(build_cell):
    x = np.zeros((2, 1, 2))
    with pytest.raises(ShapeError, match="layer 1 reads inputs of width 2, layer 0 puts out 4"):
        split_bidirectional(pairs_of(build_cell, "rnn", 1) * 2, x)
    with pytest.raises(ShapeError, match="width 2 forward and 3 backward"):
        split_bidirectional([(build_cell("rnn"), build_cell("rnn", inputs=3))], x)
