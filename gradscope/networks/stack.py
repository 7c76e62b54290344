"""Stacked layers: each is fed the h of the one below at the same step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.errors import ShapeError
from gradscope.jacobians.block_triangular import BlockTriangularJacobian, Coupling
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.dropout import SeededDropout
from gradscope.networks.layer import Layer
from gradscope.networks.network import Linearised, Network
from gradscope.networks.part import Part


@dataclass(frozen=True)
class Stack(Network):
    """Cells on top of one another; the state is all layers' states, bottom first ([h1; c1; h2; c2] of an lstm).

    Attributes
    ----------
    cells : tuple of Cell
        Bottom first; layer l + 1 reads inputs as wide as layer l's h.
    dropout : SeededDropout or None
        Masks on what goes up from one layer to the next (as in PyTorch, neither on the input nor on the output).
    """

    cells: tuple[Cell, ...]
    dropout: SeededDropout | None = field(default=None)

    def __post_init__(self) -> None:
        """Refuse layers that do not fit on one another."""
        for number, (below, above) in enumerate(zip(self.cells, self.cells[1:], strict=False)):
            if above.input_size != below.hidden_size:
                raise ShapeError(
                    f"layer {number + 1} reads inputs of width {above.input_size}, layer {number} has "
                    f"{below.hidden_size} units: these layers do not stack"
                )

    @property
    def mask_gain(self) -> float:
        """The largest factor on what one layer passes up to the next."""
        return 1.0 if self.dropout is None else self.dropout.largest

    @property
    def layers(self) -> tuple[Cell, ...]:
        """The cells, bottom first."""
        return self.cells

    def _mask(self, layer: int, first: int, h: Array) -> Array | None:
        """The mask on h^layer, h of shape (steps, ..., batch, H) for steps first …."""
        if self.dropout is None:
            return None
        return self.dropout.mask(layer, first, first + h.shape[0] - 1, h.shape[1:-1], h.shape[-1])

    def layer_inputs(self, states: Array, x: Array, *, first: int = 1) -> list[Array]:
        """What each layer reads along the states that :meth:`advance` returned: x, then masked h from below."""
        inputs = [x]
        for layer, part in enumerate(self.h_slices[:-1]):
            h = states[1:, ..., part]
            mask = self._mask(layer, first, h)
            inputs.append(h if mask is None else (h * mask).astype(h.dtype))
        return inputs

    def advance(self, state: Array, x: Array, *, first: int = 1) -> Array:
        """Run layer after layer: the one above needs only what the one below has put out."""
        runs = []
        for layer, (cell, part) in enumerate(zip(self.cells, self.layer_slices, strict=True)):
            runs.append(Layer(cell).advance(state[..., part], x, first=first))
            x = runs[-1][1:, ..., : cell.hidden_size]
            mask = self._mask(layer, first, x) if layer + 1 < len(self.cells) else None
            x = x if mask is None else (x * mask).astype(x.dtype)
        return np.concatenate(runs, axis=-1)

    def linearise(self, states: Array, x: Array, *, first: int = 1) -> Linearised:
        """Every layer's own linearisation, and how it hears the layer below."""
        lines, couplings = [], []
        for layer, inputs in enumerate(self.layer_inputs(states, x, first=first)):
            cell = self.cells[layer]
            lines.append(Layer(cell).linearise(states[..., self.layer_slices[layer]], inputs))
            if layer:
                weight = np.asarray(cell.weight_ih, dtype=np.float64)
                if weight.ndim > 2:
                    weight = weight[None, ..., None, :, :]  # (networks…, G·H, I) beside (time, networks…, batch)
                below = self.cells[layer - 1]
                mask = self._mask(layer - 1, first, inputs)
                couplings.append(Coupling(weight, mask, below.state_size))
        jacobian = BlockTriangularJacobian(tuple(line.jacobian for line in lines), tuple(couplings))
        return Linearised(jacobian, tuple(line.traces[0] for line in lines))


def split_stack(stack: Stack, x: Array, initial_state: Array) -> list[Part]:
    """Every layer of a stack alone, driven by what it reads in the stack."""
    states = stack.advance(initial_state, x)
    return [
        Part(layer, "forward", Layer(cell), inputs, initial_state[..., part], states[..., part])
        for layer, (cell, part, inputs) in enumerate(
            zip(stack.cells, stack.layer_slices, stack.layer_inputs(states, x), strict=True)
        )
    ]
