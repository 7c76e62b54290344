"""What every network around one cell answers alike."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.network import Network


@dataclass(frozen=True)
class OneCell(Network):
    """A network around a single cell; it adds how the cell is driven (``advance``) and linearised.

    Attributes
    ----------
    cell : Cell
    """

    cell: Cell

    @property
    def layers(self) -> tuple[Cell, ...]:
        """The one cell."""
        return (self.cell,)

    def layer_inputs(self, states: Array, x: Array, *, first: int = 1) -> list[Array]:
        """x: there is one layer."""
        return [x]
