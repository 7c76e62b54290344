"""A batch of sequences of different lengths, each ending at step T: what a padded batch with its lengths means.

Every sequence is moved so that its last step is step T; sequence b then begins after step ``starts[b]`` = T − its
length. Before that its state is s_0 and nothing is differentiated: ∂s_t/∂s_{t−1} = 0 for t ≤ starts[b], so that lags
count back from each sequence's own end, and no gradient comes out of padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.around import AroundJacobian
from gradscope.jacobians.step_jacobian import Array, BelowRange, Steps, WeightCotangent
from gradscope.networks.network import Linearised, Wrapping


def aligned_to_end(values: Array, starts: Array) -> Array:
    """Move each sequence of (T, batch, …), padded at its end, so that it ends at step T; zeros before it.

    >>> aligned_to_end(np.array([[1, 4], [2, 9], [3, 9]]), np.array([0, 2])).tolist()
    [[1, 0], [2, 0], [3, 4]]
    """
    out = np.zeros_like(values)
    for b, start in enumerate(starts):
        out[start:, b] = values[: len(values) - start, b]
    return out


def turned(values: Array, starts: Array | None) -> Array:
    """Time reversed within each sequence of (T, …, batch, n), padding left where it is; all of time without starts.

    >>> turned(np.array([[[1], [0]], [[2], [5]], [[3], [6]]]), np.array([0, 1]))[..., 0].tolist()
    [[3, 0], [2, 6], [1, 5]]
    """
    if starts is None:
        return values[::-1]
    out = values.copy()
    for b, start in enumerate(starts):
        out[start:, ..., b, :] = values[start:, ..., b, :][::-1]
    return out


@dataclass(frozen=True)
class Begun(AroundJacobian):
    """J_t of the sequences that have begun, zero for the others.

    Attributes
    ----------
    inner : StepJacobian
        Leading axes (time, ..., batch).
    begun : ndarray of float, broadcastable to those axes
        1 where the sequence has begun, else 0.
    """

    begun: Array

    def __getitem__(self, steps: Steps) -> Begun:
        return Begun(self.inner[steps], self.begun[steps])

    def pull(self, R: Array) -> Array:
        return self.inner.pull(R * self.begun[..., None, None])

    def pulled_below_range(self, mantissa: Array, exponents: Array) -> tuple[BelowRange, ...]:
        """What the sequences that have begun miss."""
        return self.inner.pulled_below_range(mantissa * self.begun[..., None], exponents)

    def push(self, Q: Array) -> Array:
        return self.inner.push(Q) * self.begun[..., None, None]

    def dense(self) -> Array:
        return self.inner.dense() * self.begun[..., None, None]

    def pull_drive(self, R: Array) -> Array:
        return self.inner.pull_drive(R * self.begun[..., None, None])

    def push_drive(self, Q: Array) -> Array:
        return self.inner.push_drive(Q) * self.begun[..., None, None]

    def drive_cotangents(self, g: Array) -> tuple[Array, ...]:
        """∂L/∂drive_t of every layer."""
        return self.inner.drive_cotangents(g * self.begun[..., None])

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """∂L/∂(the copy used at this step); zero before the sequence begins."""
        return self.inner.weight_cotangents(g * self.begun[..., None])

    def projection_cotangents(self, g: Array) -> tuple[WeightCotangent | None, ...]:
        """∂L/∂W_hr."""
        return self.inner.projection_cotangents(g * self.begun[..., None])


@dataclass(frozen=True)
class Padded(Wrapping):
    """A network whose sequences begin one after another.

    Attributes
    ----------
    network : Network
    starts : ndarray of int, shape (batch,)
        Steps before each sequence's first.
    initial_state : ndarray, shape (..., batch, n)
        s_0, in which each sequence waits.
    """

    starts: Array
    initial_state: Array

    def advance(self, state: Array, x: Array, *, first: int = 1) -> Array:
        """Run from one beginning to the next; who has not begun is put back to s_0."""
        last = first + len(x) - 1
        states = np.empty((len(x) + 1, *state.shape), dtype=np.result_type(state, x))
        states[0] = state
        cuts = [int(start) for start in np.unique(self.starts) if first <= start < last]
        for low, high in zip([first - 1, *cuts], [*cuts, last], strict=True):
            here = slice(low - first + 1, high - first + 1)
            # Who waits reads zeros meanwhile; wherever that leads, it is overwritten.
            with np.errstate(over="ignore", invalid="ignore"):
                found = self.network.advance(states[here.start], x[here], first=low + 1)
            waiting = np.arange(low, high + 1)[:, None] <= self.starts
            shape = (len(waiting), *(1,) * (state.ndim - 2), waiting.shape[1], 1)
            states[here.start : here.stop + 1] = np.where(waiting.reshape(shape), self.initial_state, found)
        return states

    def linearise(self, states: Array, x: Array, *, first: int = 1) -> Linearised:
        """Linearise along the states; nothing passes before a sequence begins."""
        inner = self.network.linearise(states, x, first=first)
        begun = (np.arange(first, first + len(x))[:, None] > self.starts).astype(np.float64)
        begun = begun.reshape(len(x), *(1,) * (states.ndim - 3), begun.shape[1])
        return Linearised(Begun(inner.jacobian, begun), inner.traces)
