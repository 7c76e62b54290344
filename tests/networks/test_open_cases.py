"""Hand-checked small networks: every Jacobian, loss gradient and per-step weight gradient in every entry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gradscope.cells import CELLS
from gradscope.networks.layer import Layer
from gradscope.networks.readout import LinearLoss
from gradscope.networks.stack import Stack
from gradscope.networks.trajectory import run_network
from gradscope.numerics.backprop import backpropagate

CASES = {
    case["id"]: case
    for case in json.loads((Path(__file__).parents[1] / "oracles" / "open_cases.json").read_text())["cases"]
}


class GivenInputs:
    def __init__(self, x):
        self.x = x

    @property
    def n_steps(self):
        return self.x.shape[0]

    @property
    def batch(self):
        return self.x.shape[-2]

    def read(self, first, last):
        return self.x[first - 1 : last]


def layer_of(cell, params, suffix):
    return CELLS[cell].from_layer(
        *(np.array(params[f"{name}_{suffix}"]) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    )


def close(found, truth):
    """Within 1e−9 of the largest entry, the cases' own tolerance."""
    truth = np.asarray(truth)
    assert np.shape(found) == truth.shape
    assert np.max(np.abs(found - truth)) <= 1e-9 * np.max(np.abs(truth))


def network_of(case):
    inputs = case["inputs"]
    cells = tuple(layer_of(inputs["cell"], inputs["params"], f"l{layer}") for layer in range(inputs["num_layers"]))
    return Layer(cells[0]) if len(cells) == 1 else Stack(cells)


def check(case):
    network = network_of(case)
    inputs, expected = case["inputs"], case["expected"]
    x = np.array(inputs["x"])[:, None]
    tape = run_network(network, GivenInputs(x), np.array(inputs["s0"])[None])
    T, n = tape.n_steps, tape.state_size
    close(np.array([tape.state(t)[0] for t in range(T + 1)]), expected["states"])
    product, products = np.eye(n), [np.eye(n)]
    for t in range(T, 0, -1):
        product = tape.pull(t, product[None])[0]
        products.insert(0, product)
    close(np.array(products), expected["dsT_dsi"])
    loss = LinearLoss(np.array(inputs["loss"]["v"]))
    out = network.output_components
    close(loss.value(tape.state(T)[:, out])[0], expected["loss"])

    def direct(t):
        if t < T:
            return None
        whole = np.zeros((1, n))
        whole[:, out] = loss.gradient(tape.state(T)[:, out])
        return whole

    by_state, by_weight = [], []
    for gradient in backpropagate(tape, direct):
        scale = 2.0 ** gradient.exponent[0]
        by_state.insert(0, gradient.vector[0] * scale)
        if gradient.step:
            layers = [
                np.concatenate([rows[0, :, None] * columns[0] for rows, columns in blocks]) * scale
                for blocks in gradient.weights
            ]
            by_weight.insert(0, layers if len(layers) > 1 else layers[0])
    close(np.array(by_state), expected["dL_dsi"])
    close(np.array(by_weight), expected["dL_dWhh_per_step"])
    close(np.array(by_weight).sum(axis=0), expected["dL_dWhh_total"])
    close(np.sqrt(np.square(by_weight).sum(axis=(-2, -1))), expected["norm_F_per_step"])


@pytest.mark.parametrize("name", ["D05_lstm", "D06_gru", "D10_stacked_rnn"])
def test_every_entry(name):
    check(CASES[name])


def test_a_wrong_weight_is_seen():
    case = json.loads(json.dumps(CASES["D06_gru"]))
    case["inputs"]["params"]["bias_hh_l0"][5] += 1e-7
    with pytest.raises(AssertionError):
        check(case)
