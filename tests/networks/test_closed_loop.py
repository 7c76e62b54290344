"""Closed-loop Jacobians against complex-step derivatives of the loop itself."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.cells import CELLS
from gradscope.errors import ShapeError
from gradscope.networks.closed_loop import ClosedLoop
from gradscope.networks.layer import Layer
from gradscope.networks.stack import Stack


def draw_cell(name: str, width: int, hidden: int, rng: np.random.Generator):
    gates = len(CELLS[name].gates)
    return CELLS[name].from_layer(
        rng.standard_normal((gates * hidden, width)),
        rng.standard_normal(CELLS[name].recurrent_shape(hidden)),
        rng.standard_normal(gates * hidden),
        rng.standard_normal(gates * hidden),
    )


def loop_of(name: str, rng: np.random.Generator, layers: int = 1) -> ClosedLoop:
    cells = [draw_cell(name, 3, 4, rng)] + [draw_cell(name, 4, 4, rng) for _ in range(layers - 1)]
    network = Layer(cells[0]) if layers == 1 else Stack(tuple(cells))
    return ClosedLoop(network, rng.standard_normal((3, 4)), rng.standard_normal(3))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ["rnn", "forget-gate", "lstm", "gru"])
def test_the_loop_is_differentiated_through_its_output(name: str, layers: int) -> None:
    rng = np.random.default_rng(11)
    loop = loop_of(name, rng, layers)
    state = 0.5 * rng.standard_normal((1, loop.state_size))
    nothing = np.zeros((1, 1, 0))
    jacobian = loop.linearise(loop.advance(state, nothing), nothing).jacobian
    h = 1e-30
    wanted = np.empty((loop.state_size, loop.state_size))
    for j in range(loop.state_size):
        bumped = state.astype(complex)
        bumped[0, j] += 1j * h
        wanted[:, j] = loop.advance(bumped, nothing)[1, 0].imag / h
    np.testing.assert_allclose(jacobian.dense()[0, 0], wanted, rtol=1e-12, atol=1e-14)
    Q = rng.standard_normal((1, 1, loop.state_size, 2))
    np.testing.assert_allclose(jacobian.push(Q)[0, 0], wanted @ Q[0, 0], rtol=1e-11, atol=1e-13)


def test_a_readout_that_puts_out_no_input_is_refused() -> None:
    cell = draw_cell("rnn", 3, 4, np.random.default_rng(0))
    with pytest.raises(ShapeError, match="must put out what the network reads"):
        ClosedLoop(Layer(cell), np.zeros((2, 4)), np.zeros(2))
