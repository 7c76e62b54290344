"""The tape: a linearised trajectory, the one thing numerics know of a network.

A tape holds states s_0 … s_T and step Jacobians J_1 … J_T, with leading batch axes. Whatever left it behind
(a cell, a stack, both directions of a bidirectional layer, an encoder and its decoder, a file of ready
Jacobians), norms, exponents and backpropagated gradients ask only for what stands here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from gradscope.jacobians.base import Array, StepJacobian
from gradscope.jacobians.ready import ReadyJacobian


@runtime_checkable
class Tape(Protocol):
    """States and step Jacobians of one run (or many runs side by side, in the batch axes).

    Steps are counted from 1: J_t = ∂s_t/∂s_{t−1}, t = 1 … n_steps. Index 0 of the states is the initial state.
    """

    @property
    def n_steps(self) -> int:
        """T."""

    @property
    def state_size(self) -> int:
        """N."""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes shared by states and Jacobians, e.g. ``(batch,)`` or ``(networks, batch)``."""

    @property
    def h_components(self) -> Array | None:
        """Indices of the h components within the state (lstm: the first half); None if the state is h alone."""

    def state(self, t: int) -> Array:
        """s_t, shape (*batch_shape, n), t = 0 … T."""

    def jacobian(self, t: int) -> StepJacobian:
        """J_t as an operator with leading axes ``batch_shape``."""

    def jacobians(self, first: int, last: int) -> StepJacobian:
        """J_first … J_last (inclusive) as one operator whose first leading axis is time."""

    def pull(self, t: int, R: Array) -> Array:
        """R·J_t: rows carried backward, R of shape (*batch_shape, r, n) or broadcastable to it."""

    def push(self, t: int, Q: Array) -> Array:
        """J_t·Q: columns carried forward, Q of shape (*batch_shape, n, r) or broadcastable to it."""

    def dense(self, t: int) -> Array:
        """J_t in full, shape (*batch_shape, n, n): the slow reference."""


@dataclass(frozen=True)
class StoredTape:
    """A tape that holds every step in memory.

    Attributes
    ----------
    states : ndarray, shape (T + 1, *batch_shape, n)
    steps : StepJacobian
        Leading axes (T, *batch_shape); entry t − 1 is J_t.
    h_components : ndarray of int or None
    """

    states: Array
    steps: StepJacobian
    h_components: Array | None = field(default=None)

    @property
    def n_steps(self) -> int:
        """T."""
        return int(self.states.shape[0]) - 1

    @property
    def state_size(self) -> int:
        """N."""
        return int(self.states.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes after time."""
        return tuple(self.states.shape[1:-1])

    def state(self, t: int) -> Array:
        """s_t."""
        return np.asarray(self.states[t])

    def jacobian(self, t: int) -> StepJacobian:
        """J_t."""
        return self.steps[t - 1]

    def jacobians(self, first: int, last: int) -> StepJacobian:
        """J_first … J_last."""
        return self.steps[first - 1 : last]

    def pull(self, t: int, R: Array) -> Array:
        """R·J_t."""
        return self.steps[t - 1].pull(R)

    def push(self, t: int, Q: Array) -> Array:
        """J_t·Q."""
        return self.steps[t - 1].push(Q)

    def dense(self, t: int) -> Array:
        """J_t in full."""
        return self.steps[t - 1].dense()


@dataclass(frozen=True)
class Prefix:
    """The first ``n_steps`` steps of a tape, as a tape."""

    tape: Tape
    n_steps: int

    @property
    def state_size(self) -> int:
        """n."""
        return self.tape.state_size

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes after time."""
        return self.tape.batch_shape

    @property
    def h_components(self) -> Array | None:
        """The tape's."""
        return self.tape.h_components

    def state(self, t: int) -> Array:
        """s_t."""
        return self.tape.state(t)

    def jacobian(self, t: int) -> StepJacobian:
        """J_t."""
        return self.tape.jacobian(t)

    def jacobians(self, first: int, last: int) -> StepJacobian:
        """J_first … J_last."""
        return self.tape.jacobians(first, last)

    def pull(self, t: int, R: Array) -> Array:
        """R·J_t."""
        return self.tape.pull(t, R)

    def push(self, t: int, Q: Array) -> Array:
        """J_t·Q."""
        return self.tape.push(t, Q)

    def dense(self, t: int) -> Array:
        """J_t in full."""
        return self.tape.dense(t)


def tape_of_matrices(matrices: Array) -> StoredTape:
    """Make a tape of ready Jacobians, shape (T, n, n) or (T, batch, n, n), first step first; states are unknown (0).

    >>> tape_of_matrices(np.ones((3, 2, 2))).batch_shape
    (1,)
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    if matrices.ndim == 3:
        matrices = matrices[:, None]
    n_steps, *batch, n, _ = matrices.shape
    return StoredTape(np.zeros((n_steps + 1, *batch, n)), ReadyJacobian(matrices))


def chunks(n_steps: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut steps 1 … n_steps into runs of at most ``size``: pairs (first, last), both inclusive.

    >>> list(chunks(5, 2))
    [(1, 2), (3, 4), (5, 5)]
    """
    for first in range(1, n_steps + 1, size):
        yield first, min(first + size - 1, n_steps)
