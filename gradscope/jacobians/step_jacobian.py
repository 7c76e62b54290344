"""The contract every step Jacobian keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import InputError

Array: TypeAlias = NDArray[Any]
#: One step, or several: what indexes the time axis of a tape's Jacobians.
Steps: TypeAlias = int | slice | NDArray[np.integer]


class WeightCotangent(NamedTuple):
    """∂L/∂(one copy of a recurrent weight block) as an outer product, summed over nothing.

    The gradient of the block is ``rows[..., :, None] * columns[..., None, :]``.

    Attributes
    ----------
    rows : ndarray, shape (..., m)
        Cotangent of the product W·v that the block enters by.
    columns : ndarray, shape (..., H)
        The vector v that the block multiplies (h_{t−1}, or r⊙h_{t−1} in a reset-before GRU).
    """

    rows: Array
    columns: Array


class BelowRange(NamedTuple):
    """A row that factors of J below float64's range have carried on the way: mantissa·2^exponents, yet to be pulled.

    Attributes
    ----------
    mantissa, exponents : ndarray, shape (..., n)
    pull : callable
        What of J is left for it, for rows (..., r, n).
    """

    mantissa: Array
    exponents: Array
    pull: Callable[[Array], Array]


class StepJacobian(ABC):
    """J_t = ∂s_t/∂s_{t−1} for one step, or for many: all leading axes are batch axes, time first if it is there.

    ``shape`` below is the shape of those leading axes; n is the state size. ``pull`` and ``push`` broadcast
    ``R`` and ``Q`` against them, so one object serves one step of one network and 64 steps of 256 networks.
    """

    #: Whether the time axis can be sliced with a stride; False where steps of different kinds follow one another.
    takes_strides: ClassVar[bool] = True

    @property
    @abstractmethod
    def state_size(self) -> int:
        """Number of state components n."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the leading axes, ``(time, ..., batch)`` in a tape."""

    @abstractmethod
    def __getitem__(self, steps: Steps) -> StepJacobian:
        """Index the first leading axis (time)."""

    @abstractmethod
    def pull(self, R: Array) -> Array:
        """R·J, rows carried backward in time; R has shape (..., r, n)."""

    @abstractmethod
    def push(self, Q: Array) -> Array:
        """J·Q, columns carried forward in time; Q has shape (..., n, r)."""

    @property
    def magnitudes(self) -> Array | None:
        """The n singular values of a J_t that keeps its components, or pairs of them, apart: shape (..., n).

        Those of a product of such steps are their products, component by component. None where components mix.
        """
        return None

    def pulled_below_range(self, mantissa: Array, exponents: Array) -> tuple[BelowRange, ...]:
        """What pulling mantissa·2^exponents (..., n) misses since factors of J are below float64's range.

        Nothing where no factor is, which is nearly always.
        """
        return ()

    def pull_through(self, R: Array) -> Array:
        """R·J_T, R·J_T·J_{T−1}, …, every product on the way from the last step to the first: shape (T, ..., r, n)."""
        T = self.shape[0]
        out = np.empty((T, *R.shape))
        for i in range(T):
            out[i] = R = self[T - 1 - i].pull(R)
        return out

    def push_through(self, Q: Array) -> Array:
        """J_1·Q, J_2·J_1·Q, …, every product on the way from the first step to the last: shape (T, ..., n, r)."""
        out = np.empty((self.shape[0], *Q.shape))
        for t in range(len(out)):
            out[t] = Q = self[t].push(Q)
        return out

    def square(self, R: Array) -> Array:
        """R·J·Jᵀ, a new array: rows carried back one step and forward again; R has shape (..., r, n)."""
        return np.swapaxes(self.push(np.swapaxes(self.pull(R), -1, -2)), -1, -2)

    def dense(self) -> Array:
        """J as a full array of shape (..., n, n): the slow reference."""
        eye = np.broadcast_to(np.eye(self.state_size), (*self.shape, self.state_size, self.state_size))
        return self.pull(eye)

    @property
    def drive_size(self) -> int:
        """Length of the drive U x_t + b by which the input enters; 0 if the input is unknown (ready Jacobians)."""
        return 0

    def pull_drive(self, R: Array) -> Array:
        """R·∂s_t/∂drive_t, shape (..., r, drive_size)."""
        raise InputError("these step Jacobians came without their inputs: nothing can be said about ∂s_t/∂x_t")

    def push_drive(self, Q: Array) -> Array:
        """∂s_t/∂drive_t·Q for Q of shape (..., drive_size, r)."""
        raise InputError("these step Jacobians came without their inputs: nothing can be said about ∂s_t/∂x_t")

    def drive_cotangents(self, g: Array) -> tuple[Array, ...]:
        """Turn g = ∂L/∂s_t, shape (..., n), into ∂L/∂drive_t of every layer, bottom first, shapes (..., G·H)."""
        return (self.pull_drive(g[..., None, :])[..., 0, :],)

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """Turn g = ∂L/∂s_t, shape (..., n), into the gradients of the recurrent weight copies used at this step.

        Returns one tuple per layer (bottom first) of the layer's blocks in weight-row order; empty when the
        weights are unknown.
        """
        return ()

    def projection_cotangents(self, g: Array) -> tuple[WeightCotangent | None, ...]:
        """Turn g = ∂L/∂s_t into ∂L/∂W_hr of every layer's projection, None for a layer without one; () if none has."""
        return ()


def shared_matmul(left: Array, W: Array) -> Array:
    """Left @ W where W may be shared by all leading axes: one large product instead of a stack of small ones."""
    if W.ndim == 2 and left.ndim > 2:
        return (left.reshape(-1, left.shape[-1]) @ W).reshape(*left.shape[:-1], W.shape[-1])
    if left.shape[-2] == 1 and left.ndim == W.ndim and left.shape[0] > W.shape[0] == 1:
        # Weights that differ between networks, not between steps: one row per step becomes one product per network.
        rows = np.moveaxis(left[..., 0, :], 0, -2) @ W[0]
        return np.ascontiguousarray(np.moveaxis(rows, -2, 0))[..., None, :]
    return np.asarray(left @ W)


def shared_matmul_left(W: Array, right: Array) -> Array:
    """W @ right where W may be shared by all leading axes of right, shape (..., m, r)."""
    if W.ndim == 2 and right.ndim > 2:
        if right.shape[-1] == 1:
            # One column each: they are rows of one matrix already, nothing has to be moved.
            rows = right[..., 0].reshape(-1, right.shape[-2]) @ W.T
            return rows.reshape(*right.shape[:-2], W.shape[0], 1)
        if right.size == right.shape[-2] * right.shape[-1]:
            return (W @ right.reshape(right.shape[-2:])).reshape(*right.shape[:-2], W.shape[0], right.shape[-1])
        # (..., m, r): fold the leading axes next to r, so that BLAS sees one wide product.
        folded = np.moveaxis(right, -2, 0)
        flat = W @ folded.reshape(W.shape[1], -1)
        return np.moveaxis(flat.reshape(W.shape[0], *folded.shape[1:]), 0, -2)
    return np.asarray(W @ right)
