"""The simplest network: one layer of one cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.network import Linearised
from gradscope.networks.one_cell import OneCell


@dataclass(frozen=True)
class Layer(OneCell):
    """A single cell as a network."""

    def advance(self, state: Array, x: Array, *, first: int = 1) -> Array:
        """Run the cell over x."""
        drive = self.cell.drive(x)
        states = np.empty((x.shape[0] + 1, *state.shape), dtype=np.result_type(state, drive))
        states[0] = state
        for t in range(x.shape[0]):
            states[t + 1] = self.cell.step(states[t], drive[t])
        return states

    def linearise(self, states: Array, x: Array, *, first: int = 1) -> Linearised:
        """Linearise every step at once."""
        line = self.cell.linearise(states[:-1], self.cell.drive(x))
        return Linearised(line.jacobian, (line.traces,))
