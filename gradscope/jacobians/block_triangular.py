"""The step Jacobian of stacked layers: block lower triangular, because a layer never depends on those above it.

With B_l = ∂s^l_t/∂drive^l_t and C_l = U_l diag(m) E, where E picks h^{l−1}_t out of s^{l−1}_t and m is a dropout mask:

    s^l_t depends on s^l_{t−1} through J_l, and on everything below through B_l C_l · (row l−1 of J).

Row l is therefore never formed: ``pull`` walks down the layers, ``push`` walks up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import (
    Array,
    StepJacobian,
    Steps,
    WeightCotangent,
    shared_matmul,
    shared_matmul_left,
)


@dataclass(frozen=True)
class Coupling:
    """C_l, what layer l's drive takes from the state below: U_l diag(m), zero on anything but h.

    Attributes
    ----------
    weight : ndarray, shape (G·H, H_below) or (..., G·H, H_below)
        U_l. Two axes mean shared by every leading axis; otherwise the first is time, of length 1.
    mask : ndarray, shape (..., H_below), or None
        The dropout mask (0 or 1/(1−p)) with leading axes (time, ..., batch), or (H_below,) for all steps.
    below : int
        Size of the state below, of which h^{l−1} is the first H_below components.
    """

    weight: Array
    mask: Array | None
    below: int

    @property
    def h_size(self) -> int:
        """H_below."""
        return int(self.weight.shape[-1])

    def __getitem__(self, steps: Steps) -> Coupling:
        weight, mask = self.weight, self.mask
        if weight.ndim > 2 and isinstance(steps, int):
            weight = weight[0]
        if mask is not None and mask.ndim > 1:
            mask = mask[steps]
        return Coupling(weight, mask, self.below)

    def pull(self, R: Array) -> Array:
        """R·C_l, on h alone: shape (..., r, H_below)."""
        out = shared_matmul(R, self.weight)
        return out if self.mask is None else out * self.mask[..., None, :]

    def push(self, Q: Array) -> Array:
        """C_l·Q for the tangents Q of the state below, shape (..., below, r)."""
        h = Q[..., : self.h_size, :]
        return shared_matmul_left(self.weight, h if self.mask is None else h * self.mask[..., :, None])


@dataclass(frozen=True)
class BlockTriangularJacobian(StepJacobian):
    """J of a stack, layers bottom first.

    Attributes
    ----------
    parts : tuple of StepJacobian
        J_l and B_l of each layer.
    couplings : tuple of Coupling
        One per layer above the first.
    """

    parts: tuple[StepJacobian, ...]
    couplings: tuple[Coupling, ...]

    @property
    def state_size(self) -> int:
        """All layers' states together."""
        return sum(part.state_size for part in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    def __getitem__(self, steps: Steps) -> BlockTriangularJacobian:
        return BlockTriangularJacobian(
            tuple(part[steps] for part in self.parts), tuple(coupling[steps] for coupling in self.couplings)
        )

    def _cuts(self) -> list[int]:
        return list(np.cumsum([part.state_size for part in self.parts])[:-1])

    def _descend(self, R: Array) -> list[Array]:
        """Rows of every layer's state at time t, with what the layers above pass down added."""
        rows = np.split(R, self._cuts(), axis=-1)
        for layer in range(len(self.parts) - 1, 0, -1):
            passed = self.couplings[layer - 1].pull(self.parts[layer].pull_drive(rows[layer]))
            width = passed.shape[-1]
            below = np.broadcast_to(rows[layer - 1], (*passed.shape[:-1], rows[layer - 1].shape[-1]))
            rows[layer - 1] = np.concatenate([below[..., :width] + passed, below[..., width:]], axis=-1)
        return rows

    def _ascend(self, own: list[Array]) -> Array:
        """Columns of every layer's state at time t, given what each one inherits from its own past."""
        columns = [own[0]]
        for layer, coupling in enumerate(self.couplings, 1):
            columns.append(own[layer] + self.parts[layer].push_drive(coupling.push(columns[-1])))
        return np.concatenate(columns, axis=-2)

    def pull(self, R: Array) -> Array:
        rows = self._descend(R)
        return np.concatenate([part.pull(row) for part, row in zip(self.parts, rows, strict=True)], axis=-1)

    def push(self, Q: Array) -> Array:
        blocks = np.split(Q, self._cuts(), axis=-2)
        return self._ascend([part.push(block) for part, block in zip(self.parts, blocks, strict=True)])

    @property
    def drive_size(self) -> int:
        """The bottom layer's: there the input enters."""
        return self.parts[0].drive_size

    def pull_drive(self, R: Array) -> Array:
        return self.parts[0].pull_drive(self._descend(R)[0])

    def push_drive(self, Q: Array) -> Array:
        first = self.parts[0].push_drive(Q)
        nothing = [np.zeros((*first.shape[:-2], part.state_size, first.shape[-1])) for part in self.parts[1:]]
        return self._ascend([first, *nothing])

    def drive_cotangents(self, g: Array) -> tuple[Array, ...]:
        """Each layer's own, with what comes from above."""
        rows = self._descend(g[..., None, :])
        return tuple(part.pull_drive(row)[..., 0, :] for part, row in zip(self.parts, rows, strict=True))

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """One tuple per layer: each sees its own ∂L/∂s^l_t with what comes from above."""
        rows = self._descend(g[..., None, :])
        return tuple(
            block
            for part, row in zip(self.parts, rows, strict=True)
            for block in part.weight_cotangents(row[..., 0, :])
        )

    def projection_cotangents(self, g: Array) -> tuple[WeightCotangent | None, ...]:
        """One per layer."""
        rows = self._descend(g[..., None, :])
        return tuple(
            projection
            for part, row in zip(self.parts, rows, strict=True)
            for projection in part.projection_cotangents(row[..., 0, :]) or (None,)
        )
