"""The simplest network: one layer of one cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.cells.base import Cell
from gradscope.jacobians.base import Array
from gradscope.networks.base import Linearised


@dataclass(frozen=True)
class Layer:
    """A single cell as a network."""

    cell: Cell

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.cell.name

    @property
    def layers(self) -> tuple[Cell, ...]:
        """The one cell."""
        return (self.cell,)

    @property
    def state_size(self) -> int:
        """n."""
        return self.cell.state_size

    @property
    def input_size(self) -> int:
        """I."""
        return self.cell.input_size

    @property
    def h_components(self) -> Array | None:
        """The first H components, or None if there are no others."""
        return None if len(self.cell.state_parts) == 1 else np.arange(self.cell.hidden_size)

    @property
    def output_components(self) -> Array:
        """h."""
        return np.arange(self.cell.hidden_size)

    @property
    def layer_slices(self) -> tuple[slice, ...]:
        """The whole state."""
        return (slice(0, self.state_size),)

    @property
    def weight_axes(self) -> tuple[int, ...]:
        """Leading axes of the weights."""
        return tuple(self.cell.weight_hh.shape[:-2])

    @property
    def step_weight_bytes(self) -> int:
        """0: every step has the same weights."""
        return 0

    def input_matrix(self, first: int, last: int) -> Array:
        """U, the same at every step."""
        return self.cell.weight_ih

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
