"""What every network around one cell answers alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class OneCell:
    """A network around a single cell; it adds how the cell is driven (``advance``) and linearised.

    Attributes
    ----------
    cell : Cell
    """

    cell: Cell

    @property
    def name(self) -> str:
        return self.cell.name

    @property
    def layers(self) -> tuple[Cell, ...]:
        """The one cell."""
        return (self.cell,)

    @property
    def state_size(self) -> int:
        return self.cell.state_size

    @property
    def input_size(self) -> int:
        return self.cell.input_size

    @property
    def h_components(self) -> Array | None:
        """The first H components, or None if there are no others."""
        return None if len(self.cell.state_parts) == 1 else np.arange(self.cell.hidden_size)

    @property
    def output_components(self) -> Array:
        return np.arange(self.cell.hidden_size)

    @property
    def layer_slices(self) -> tuple[slice, ...]:
        return (slice(0, self.state_size),)

    @property
    def weight_axes(self) -> tuple[int, ...]:
        """Leading axes of the weights."""
        return tuple(self.cell.weight_hh.shape[:-2])

    @property
    def mask_gain(self) -> float:
        """1: there is no layer above."""
        return 1.0

    @property
    def step_weight_bytes(self) -> int:
        """0: every step has the same weights."""
        return 0

    def input_matrix(self, first: int, last: int) -> Array:
        """U, the same at every step."""
        return self.cell.weight_ih

    def layer_inputs(self, states: Array, x: Array, *, first: int = 1) -> list[Array]:
        """x: there is one layer."""
        return [x]
