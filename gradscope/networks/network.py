"""What a network is to the rest of gradscope: something that advances a state and can be linearised along it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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


class Network(Protocol):
    """One recurrence, or a composition that is Markov in its state (a stack, independent weights, …)."""

    @property
    def name(self) -> str:
        """The cell's name, as in sources."""

    @property
    def layers(self) -> tuple[Cell, ...]:
        """The cells, bottom first; what theory reads weights from."""

    @property
    def state_size(self) -> int:
        """n."""

    @property
    def input_size(self) -> int:
        """I; 0 when the network is autonomous."""

    @property
    def h_components(self) -> Array | None:
        """Indices of all h components in the state; None if the state is h alone."""

    @property
    def output_components(self) -> Array:
        """Indices of the top layer's h, what a readout sees."""

    @property
    def layer_slices(self) -> tuple[slice, ...]:
        """Where each layer's state stands in the network's, bottom first."""

    @property
    def weight_axes(self) -> tuple[int, ...]:
        """Leading axes of the weights: () for one network, (N,) for N side by side."""

    @property
    def step_weight_bytes(self) -> int:
        """Bytes of weights that each linearised step holds for itself; 0 when all steps share theirs."""

    @property
    def mask_gain(self) -> float:
        """The largest factor on what one layer passes up to the next: 1 without dropout."""

    def input_matrix(self, first: int, last: int) -> Array:
        """∂drive_t/∂x_t (U), shape (..., drive_size, I), for :meth:`StepJacobian.pull_drive`."""

    def layer_inputs(self, states: Array, x: Array, *, first: int = 1) -> list[Array]:
        """What each layer reads at steps first …, bottom first, given states as :meth:`advance` returned them."""

    def advance(self, state: Array, x: Array, *, first: int = 1) -> Array:
        """Run over inputs (steps, ..., batch, I); states (steps + 1, ..., batch, n), s_{first−1} first."""

    def linearise(self, states: Array, x: Array, *, first: int = 1) -> Linearised:
        """Linearise steps first … along states as :meth:`advance` returned them."""
