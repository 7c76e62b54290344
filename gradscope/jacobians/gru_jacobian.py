"""The gru's step Jacobian where Σ_g diag(c_g) W_g will not do: reset before the product, or layer normalisation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gradscope.jacobians.norm_jacobian import NormJacobian
from gradscope.jacobians.row_scaled import RowScaledSum
from gradscope.jacobians.step_jacobian import (
    Array,
    StepJacobian,
    Steps,
    WeightCotangent,
    shared_matmul,
    shared_matmul_left,
)


@dataclass(frozen=True)
class GruJacobian(StepJacobian):
    """J = diag(z) + C_z N_z W_z + C_n N_n A, with A how h_{t−1} reaches the candidate's pre-activation.

    A = diag(r) W_n + C_r N_r W_r (reset after) or W_n (diag(r) + C_r N_r W_r) (reset before); N = I without a norm.

    Attributes
    ----------
    keep, reset : ndarray, shape (..., H)
        z and r.
    gates : RowScaledSum
        Coefficients C_r = m σ′(a_r), C_z = (h−n) σ′(a_z), C_n = (1−z) φ′(a_n), and the blocks W_r, W_z, W_n;
        m is what r multiplies: W_n h + b_hn (reset after) or h (reset before).
    h_prev : ndarray, shape (..., H)
    reset_before : bool
    norm : NormJacobian or None
    """

    keep: Array
    reset: Array
    gates: RowScaledSum
    h_prev: Array
    reset_before: bool
    norm: NormJacobian | None = field(default=None)

    @property
    def state_size(self) -> int:
        return int(self.keep.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.keep.shape[:-1])

    def __getitem__(self, steps: Steps) -> GruJacobian:
        norm = None if self.norm is None else self.norm[steps]
        keep, reset, h_prev = self.keep[steps], self.reset[steps], self.h_prev[steps]
        return GruJacobian(keep, reset, self.gates[steps], h_prev, self.reset_before, norm)

    @property
    def _W_n(self) -> Array:
        return self.gates.weights[..., 2, :, :]

    @property
    def _W_rz(self) -> Array:
        return self.gates.stacked[..., : 2 * self.state_size, :]

    def _pull_norm(self, gate: int, R: Array) -> Array:
        """R·N_g."""
        return R if self.norm is None else self.norm.gates(gate, gate + 1).pull(R[..., None, :])[..., 0, :]

    def _push_norm(self, gate: int, Q: Array) -> Array:
        """N_g·Q."""
        return Q if self.norm is None else self.norm.gates(gate, gate + 1).push(Q[..., None, :, :])[..., 0, :, :]

    def _cotangents(self, R: Array) -> tuple[Array, Array, Array, Array]:
        """Of the drives of r, z, n, and of what r multiplies times r (r⊙m)."""
        C_r, C_z, C_n = (c[..., None, :] for c in np.moveaxis(self.gates.coefficients, -2, 0))
        to_n = self._pull_norm(2, R * C_n)
        to_product = shared_matmul(to_n, self._W_n) if self.reset_before else to_n
        return self._pull_norm(0, to_product * C_r), self._pull_norm(1, R * C_z), to_n, to_product

    def pull(self, R: Array) -> Array:
        to_r, to_z, _, to_product = self._cotangents(R)
        masked = to_product * self.reset[..., None, :]
        through_n = masked if self.reset_before else shared_matmul(masked, self._W_n)
        through_gates = shared_matmul(np.concatenate([to_r, to_z], axis=-1), self._W_rz)
        return np.asarray(R * self.keep[..., None, :] + through_n + through_gates)

    def push(self, Q: Array) -> Array:
        H = self.state_size
        C_r, C_z, C_n = (c[..., :, None] for c in np.moveaxis(self.gates.coefficients, -2, 0))
        products, r = shared_matmul_left(self._W_rz, Q), self.reset[..., :, None]
        by_reset = C_r * self._push_norm(0, products[..., :H, :])
        if self.reset_before:
            into_n = shared_matmul_left(self._W_n, by_reset + r * Q)
        else:
            into_n = by_reset + r * shared_matmul_left(self._W_n, Q)
        through_z = C_z * self._push_norm(1, products[..., H:, :])
        return np.asarray(self.keep[..., :, None] * Q + through_z + C_n * self._push_norm(2, into_n))

    @property
    def drive_size(self) -> int:
        return 3 * self.state_size

    def pull_drive(self, R: Array) -> Array:
        return np.concatenate(self._cotangents(R)[:3], axis=-1)

    def push_drive(self, Q: Array) -> Array:
        H = self.state_size
        C_r, C_z, C_n = (c[..., :, None] for c in np.moveaxis(self.gates.coefficients, -2, 0))
        into_n = C_r * self._push_norm(0, Q[..., :H, :])
        if self.reset_before:
            into_n = shared_matmul_left(self._W_n, into_n)
        through_n = C_n * self._push_norm(2, into_n + Q[..., 2 * H :, :])
        return np.asarray(C_z * self._push_norm(1, Q[..., H : 2 * H, :]) + through_n)

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """W_r and W_z multiply h_{t−1}; so does W_n after the reset, and r⊙h_{t−1} before it."""
        to_r, to_z, to_n, _ = (part[..., 0, :] for part in self._cotangents(g[..., None, :]))
        if self.reset_before:
            both = WeightCotangent(np.concatenate([to_r, to_z], axis=-1), self.h_prev)
            return ((both, WeightCotangent(to_n, self.reset * self.h_prev)),)
        return ((WeightCotangent(np.concatenate([to_r, to_z, to_n * self.reset], axis=-1), self.h_prev),),)
