"""The tape: a linearised trajectory, the one thing numerics know of a network.

A tape holds states s_0 … s_T and step Jacobians J_1 … J_T, with leading batch axes. Whatever left it behind
(a cell, a stack, both directions of a bidirectional layer, an encoder and its decoder, a file of ready
Jacobians), norms, exponents and backpropagated gradients ask only for what stands here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from gradscope.jacobians.ready import ReadyJacobian
from gradscope.jacobians.step_jacobian import Array, StepJacobian


class Tape:
    """States and step Jacobians of one run (or many runs side by side, in the batch axes).

    Steps are counted from 1: J_t = ∂s_t/∂s_{t−1}, t = 1 … n_steps. Index 0 of the states is the initial state.
    A kind of tape says its sizes and gives :meth:`state` and :meth:`jacobians`; the rest follows.
    """

    @property
    def n_steps(self) -> int:
        raise NotImplementedError

    @property
    def state_size(self) -> int:
        raise NotImplementedError

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes of states and Jacobians, e.g. ``(batch,)`` or ``(networks, batch)``."""
        raise NotImplementedError

    @property
    def h_components(self) -> Array | None:
        """Indices of the h components within the state (lstm: the first half); None if the state is h alone."""
        return None

    def state(self, t: int) -> Array:
        """s_t, shape (*batch_shape, n), t = 0 … T."""
        raise NotImplementedError

    def jacobians(self, first: int, last: int) -> StepJacobian:
        """J_first … J_last (inclusive) as one operator whose first leading axis is time."""
        raise NotImplementedError

    def jacobian(self, t: int) -> StepJacobian:
        """J_t as an operator with leading axes ``batch_shape``."""
        return self.jacobians(t, t)[0]

    def pull(self, t: int, R: Array) -> Array:
        """R·J_t: rows carried backward, R of shape (*batch_shape, r, n) or broadcastable to it."""
        return self.jacobian(t).pull(R)

    def push(self, t: int, Q: Array) -> Array:
        """J_t·Q: columns carried forward, Q of shape (*batch_shape, n, r) or broadcastable to it."""
        return self.jacobian(t).push(Q)

    def dense(self, t: int) -> Array:
        """J_t in full, shape (*batch_shape, n, n): the slow reference."""
        return self.jacobian(t).dense()


@dataclass(frozen=True)
class StoredTape(Tape):
    """A tape that holds every step in memory.

    Attributes
    ----------
    states : ndarray, shape (T + 1, *batch_shape, n)
    steps : StepJacobian
        Leading axes (T, *batch_shape); entry t − 1 is J_t.
    corner : ndarray of int or None
        ``h_components``.
    """

    states: Array
    steps: StepJacobian
    corner: Array | None = field(default=None)

    @property
    def n_steps(self) -> int:
        return int(self.states.shape[0]) - 1

    @property
    def state_size(self) -> int:
        return int(self.states.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.states.shape[1:-1])

    @property
    def h_components(self) -> Array | None:
        return self.corner

    def state(self, t: int) -> Array:
        return np.asarray(self.states[t])

    def jacobians(self, first: int, last: int) -> StepJacobian:
        return self.steps[first - 1 : last]


@dataclass(frozen=True)
class Prefix(Tape):
    """The first ``length`` steps of a tape, as a tape."""

    whole: Tape
    length: int

    @property
    def n_steps(self) -> int:
        return self.length

    @property
    def state_size(self) -> int:
        return self.whole.state_size

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.whole.batch_shape

    @property
    def h_components(self) -> Array | None:
        return self.whole.h_components

    def state(self, t: int) -> Array:
        return self.whole.state(t)

    def jacobians(self, first: int, last: int) -> StepJacobian:
        return self.whole.jacobians(first, last)


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
