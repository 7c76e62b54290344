"""The slstm's step Jacobian on the state [h; ln n; y] with y = c/n, where nothing overflows.

With k = f n/(f n + i) the share that is kept, y_t = k⊙y_{t−1} + (1−k)⊙φ(a_g) and h_t = o⊙y_t:

    J = [ diag(o) Y + diag(b) W_o   diag(o e)   diag(o k) ]      Y = Σ diag(∂y/∂a_g) W_g,  b = y_t σ′(a_o)
        [ N                         diag(k)     0         ]      N = Σ diag(∂ln n/∂a_g) W_g
        [ Y                         diag(e)     diag(k)   ]      e = ∂y_t/∂ln n_{t−1}
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.four_gates import FourGates
from gradscope.jacobians.row_scaled import RowScaledSum
from gradscope.jacobians.step_jacobian import Array, Steps, shared_matmul, shared_matmul_left


@dataclass(frozen=True)
class SlstmJacobian(FourGates):
    """J_t of an slstm, gates in the order i, f, g, o.

    Attributes
    ----------
    kept : ndarray, shape (..., H)
        k.
    through_normaliser : ndarray, shape (..., H)
        e.
    output_gate : ndarray, shape (..., H)
        o.
    gates : RowScaledSum
        Four coefficients (..., 4, H): ∂y/∂a_i, ∂y/∂a_f, ∂y/∂a_g, and b = ∂h/∂a_o at fixed y.
    normaliser_gates : ndarray, shape (..., 2, H)
        ∂ln n/∂a_i and ∂ln n/∂a_f.
    h_prev : ndarray, shape (..., H)
    """

    kept: Array
    through_normaliser: Array
    output_gate: Array
    gates: RowScaledSum
    normaliser_gates: Array
    h_prev: Array

    @property
    def state_size(self) -> int:
        return 3 * self.hidden_size

    def __getitem__(self, steps: Steps) -> SlstmJacobian:
        return SlstmJacobian(
            self.kept[steps],
            self.through_normaliser[steps],
            self.output_gate[steps],
            self.gates[steps],
            self.normaliser_gates[steps],
            self.h_prev[steps],
        )

    def _cut(self, R: Array) -> tuple[Array, Array, Array]:
        """Cotangents of h, of ln n, and of y with what h passes on to it."""
        R_h, R_n, R_y = np.split(R, 3, axis=-1)
        return R_h, R_n, R_y + R_h * self.output_gate[..., None, :]

    def pull_drive(self, R: Array) -> Array:
        R_h, R_n, R_y = self._cut(R)
        c, n = self.gates.coefficients[..., None, :, :], self.normaliser_gates[..., None, :, :]
        to_y = R_y[..., None, :] * c[..., :3, :]
        to_y[..., :2, :] += R_n[..., None, :] * n
        return self._to_drive(to_y, (R_h * c[..., 3, :])[..., None, :])

    def pull(self, R: Array) -> Array:
        _, R_n, R_y = self._cut(R)
        kept = self.kept[..., None, :]
        to_n = R_y * self.through_normaliser[..., None, :] + R_n * kept
        return np.concatenate([shared_matmul(self.pull_drive(R), self.gates.stacked), to_n, R_y * kept], axis=-1)

    def push_drive(self, Q: Array) -> Array:
        products = Q.reshape(*Q.shape[:-2], 4, self.hidden_size, Q.shape[-1])
        if self.gates.norm is not None:
            products = self.gates.norm.push(products)
        c = self.gates.coefficients[..., None]
        y = (c[..., :3, :, :] * products[..., :3, :, :]).sum(axis=-3)
        n = (self.normaliser_gates[..., None] * products[..., :2, :, :]).sum(axis=-3)
        h = self.output_gate[..., None] * y + c[..., 3, :, :] * products[..., 3, :, :]
        return np.concatenate([h, n, y], axis=-2)

    def push(self, Q: Array) -> Array:
        Q_h, Q_n, Q_y = np.split(Q, 3, axis=-2)
        kept = self.kept[..., None]
        along = kept * Q_y + self.through_normaliser[..., None] * Q_n
        direct = np.concatenate([self.output_gate[..., None] * along, kept * Q_n, along], axis=-2)
        return np.asarray(direct + self.push_drive(shared_matmul_left(self.gates.stacked, Q_h)))
