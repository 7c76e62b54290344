"""What a network is to the rest of gradscope: something that advances a state and can be linearised along it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from gradscope.cells.cell import Cell, Traces
from gradscope.jacobians.step_jacobian import Array, StepJacobian


@dataclass(frozen=True)
class Linearised:
    """A stretch of trajectory, linearised: one Jacobian operator and one set of traces per layer.

    Attributes
    ----------
    jacobian : StepJacobian
        Leading axes (time, ..., batch).
    traces : tuple of Traces
        Bottom layer first.
    """

    jacobian: StepJacobian
    traces: tuple[Traces, ...]


class Network(ABC):
    """One recurrence, or a composition that is Markov in its state (a stack, independent weights, …).

    A kind of network says its cells and how it runs and is linearised; the rest follows from the cells, unless it
    says otherwise.
    """

    @property
    @abstractmethod
    def layers(self) -> tuple[Cell, ...]:
        """The cells, bottom first; what theory reads weights from."""

    @abstractmethod
    def layer_inputs(self, states: Array, x: Array, *, first: int = 1) -> list[Array]:
        """What each layer reads at steps first …, bottom first, given states as :meth:`advance` returned them."""

    @abstractmethod
    def advance(self, state: Array, x: Array, *, first: int = 1) -> Array:
        """Run over inputs (steps, ..., batch, I); states (steps + 1, ..., batch, n), s_{first−1} first."""

    @abstractmethod
    def linearise(self, states: Array, x: Array, *, first: int = 1) -> Linearised:
        """Linearise steps first … along states as :meth:`advance` returned them."""

    @property
    def name(self) -> str:
        """The bottom cell's name, as in sources."""
        return self.layers[0].name

    @property
    def input_size(self) -> int:
        """I; 0 when the network is autonomous."""
        return self.layers[0].input_size

    @property
    def weight_axes(self) -> tuple[int, ...]:
        """Leading axes of the weights: () for one network, (N,) for N side by side."""
        return tuple(self.layers[0].weight_hh.shape[:-2])

    @property
    def step_weight_bytes(self) -> int:
        """Bytes of weights that each linearised step holds for itself; 0 when all steps share theirs."""
        return 0

    @property
    def mask_gain(self) -> float:
        """The largest factor on what one layer passes up to the next: 1 without dropout."""
        return 1.0

    def input_matrix(self, first: int, last: int) -> Array:
        """∂drive_t/∂x_t (U), shape (..., drive_size, I), for :meth:`StepJacobian.pull_drive`."""
        return self.layers[0].weight_ih

    @property
    def state_size(self) -> int:
        """n, all layers."""
        return sum(cell.state_size for cell in self.layers)

    @property
    def layer_slices(self) -> tuple[slice, ...]:
        """Where each layer's state stands in the network's, bottom first."""
        ends = accumulate(cell.state_size for cell in self.layers)
        return tuple(slice(end - cell.state_size, end) for end, cell in zip(ends, self.layers, strict=True))

    @property
    def h_slices(self) -> tuple[slice, ...]:
        """Where each layer's h stands."""
        return tuple(
            slice(part.start, part.start + cell.hidden_size)
            for part, cell in zip(self.layer_slices, self.layers, strict=True)
        )

    @property
    def h_components(self) -> Array | None:
        """Indices of all h components in the state; None if the state is h alone."""
        indices = np.concatenate([np.arange(part.start, part.stop) for part in self.h_slices])
        return None if len(indices) == self.state_size else indices

    @property
    def output_components(self) -> Array:
        """Indices of the top layer's h, what a readout sees."""
        return np.arange(self.h_slices[-1].start, self.h_slices[-1].stop)


@dataclass(frozen=True)
class Wrapping(Network):
    """A network around another one: it answers what that one answers, except where it says otherwise."""

    network: Network

    @property
    def layers(self) -> tuple[Cell, ...]:
        return self.network.layers

    def layer_inputs(self, states: Array, x: Array, *, first: int = 1) -> list[Array]:
        """What each layer reads."""
        return self.network.layer_inputs(states, x, first=first)

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def input_size(self) -> int:
        return self.network.input_size

    @property
    def weight_axes(self) -> tuple[int, ...]:
        return self.network.weight_axes

    @property
    def step_weight_bytes(self) -> int:
        return self.network.step_weight_bytes

    @property
    def mask_gain(self) -> float:
        return self.network.mask_gain

    def input_matrix(self, first: int, last: int) -> Array:
        return self.network.input_matrix(first, last)
