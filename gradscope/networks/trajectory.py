"""Run a network over inputs and leave a tape: stored when it fits, recomputed from checkpoints when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.errors import UntrustedNumbersError
from gradscope.jacobians.step_jacobian import Array, StepJacobian
from gradscope.networks.network import Linearised, Network
from gradscope.numerics.tape import Tape, chunks

Anchor = Literal["end", "start"]

#: A segment of this many bytes of states and Jacobian coefficients is recomputed at a time beyond the budget.
SEGMENT_BYTES = 8 * 2**20


class Inputs(Protocol):
    """x_1 … x_T, read by stretches so that a long one need not be in memory."""

    @property
    def n_steps(self) -> int:
        """T."""

    @property
    def batch(self) -> int:
        """Sequences side by side."""

    def read(self, first: int, last: int) -> Array:
        """x_first … x_last, shape (steps, ..., batch, I)."""


@dataclass(frozen=True)
class GivenSteps:
    """Inputs held in memory, shape (T, ..., batch, I)."""

    x: Array

    @property
    def n_steps(self) -> int:
        return int(self.x.shape[0])

    @property
    def batch(self) -> int:
        """Sequences side by side."""
        return int(self.x.shape[-2])

    def read(self, first: int, last: int) -> Array:
        return self.x[first - 1 : last]


@dataclass
class Segment:
    """Steps first … last, linearised."""

    first: int
    last: int
    states: Array
    linearised: Linearised


@dataclass
class Trajectory(Tape):
    """A network's run over inputs; a tape, with the traces that theory reads.

    States are kept at checkpoints ``spacing`` steps apart; the stretch between two is advanced and linearised
    again when asked for, and the last one is kept. One spacing over the whole run is the stored tape.

    Attributes
    ----------
    checkpoints : ndarray, shape (segments + 1, *batch_shape, n)
        s_0, s_spacing, …, and s_T last.
    """

    network: Network
    inputs: Inputs
    checkpoints: Array
    spacing: int
    _held: Segment | None = field(default=None, repr=False)

    @property
    def n_steps(self) -> int:
        return self.inputs.n_steps

    @property
    def state_size(self) -> int:
        return self.network.state_size

    @property
    def layers(self) -> tuple[Cell, ...]:
        """The network's cells, bottom first."""
        return self.network.layers

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.checkpoints.shape[1:-1])

    @property
    def h_components(self) -> Array | None:
        """Indices of the h components, None if the state is h alone."""
        return self.network.h_components

    def _segment_at(self, t: int) -> Segment:
        """The segment that holds step t."""
        if self._held is None or not self._held.first <= t <= self._held.last:
            index = (t - 1) // self.spacing
            first, last = index * self.spacing + 1, min((index + 1) * self.spacing, self.n_steps)
            self._held = None  # free the old stretch before the new one is made
            x = self.inputs.read(first, last)
            states = self.network.advance(self.checkpoints[index], x, first=first)
            self._held = Segment(first, last, states, self.network.linearise(states, x, first=first))
        return self._held

    def segments(self, anchor: Anchor) -> Iterator[Segment]:
        """Every stretch once: from the end backward, or from the start forward."""
        spans = list(chunks(self.n_steps, self.spacing))
        if not spans:
            # No steps: one empty stretch still tells how many layers there are, and which have a direct path.
            x, states = self.inputs.read(1, 0), self.checkpoints[:1]
            yield Segment(1, 0, states, self.network.linearise(states, x))
        for first, _ in reversed(spans) if anchor == "end" else spans:
            yield self._segment_at(first)

    def layer_inputs(self, segment: Segment) -> list[Array]:
        """What each layer reads along a stretch, bottom first."""
        x = self.inputs.read(segment.first, segment.last)
        return self.network.layer_inputs(segment.states, x, first=segment.first)

    def state(self, t: int) -> Array:
        if t % self.spacing == 0:
            return np.asarray(self.checkpoints[t // self.spacing])
        if t == self.n_steps:
            return np.asarray(self.checkpoints[-1])
        segment = self._segment_at(t)
        return np.asarray(segment.states[t - segment.first + 1])

    def jacobians(self, first: int, last: int) -> StepJacobian:
        """J_first … J_last; a stretch across checkpoints is advanced on its own."""
        segment = self._segment_at(first)
        if last <= segment.last:
            return segment.linearised.jacobian[first - segment.first : last - segment.first + 1]
        x = self.inputs.read(first, last)
        states = self.network.advance(self.state(first - 1), x, first=first)
        return self.network.linearise(states, x, first=first).jacobian


def step_bytes(network: Network, batch: int) -> int:
    """Bytes that one step costs while it is linearised: states, coefficients, drives and traces, in float64."""
    coefficients = sum(cell.gate_size * (3 * cell.n_gates + 6) for cell in network.layers)
    networks = int(np.prod(network.weight_axes, dtype=np.int64))
    vectors = 8 * batch * networks * (coefficients + network.state_size + network.input_size)
    return vectors + network.step_weight_bytes


def run_network(
    network: Network,
    inputs: Inputs,
    initial_state: Array,
    *,
    memory: int = 2**30,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Run forward once, keep checkpoints, and return the trajectory.

    Parameters
    ----------
    initial_state : ndarray, shape (..., batch, n)
        s_0.
    memory : int
        Bytes that the tape may take. A run that fits is one stretch; a longer one is cut.

    Raises
    ------
    UntrustedNumbersError
        When the forward pass itself overflows: there is no trajectory to linearise.
    """
    n_steps = inputs.n_steps
    per_step = step_bytes(network, inputs.batch)
    spacing = max(n_steps, 1)
    if per_step * n_steps > memory:
        spacing = max(1, min(n_steps, SEGMENT_BYTES // per_step))
    spans = list(chunks(n_steps, spacing))
    checkpoints = np.empty((len(spans) + 1, *initial_state.shape), dtype=initial_state.dtype)
    checkpoints[0] = initial_state
    held = None
    for index, (first, last) in enumerate(spans):
        x = inputs.read(first, last)
        with np.errstate(over="ignore", invalid="ignore"):
            states = network.advance(checkpoints[index], x, first=first)
        checkpoints[index + 1] = states[-1]
        if not np.isfinite(states[-1]).all():
            bad = first + int(np.argmin(np.isfinite(states).all(axis=tuple(range(1, states.ndim))))) - 1
            raise UntrustedNumbersError(
                f"the forward pass left the range of {states.dtype} at step {bad} of {n_steps}: "
                "there is no trajectory to linearise.\n"
                f"Try fewer steps (-T {max(bad - 1, 0)}), a smaller gain, or tanh."
            )
        if len(spans) == 1:
            held = Segment(first, last, states, network.linearise(states, x, first=first))
        if progress is not None:
            progress(last, n_steps)
    return Trajectory(network, inputs, checkpoints, spacing, held)
