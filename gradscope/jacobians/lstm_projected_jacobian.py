"""The projected lstm's step Jacobian on the state (h, c), h of P components and c of H.

With G = diag(∂c/∂a_i) W_i + diag(∂c/∂a_f) W_f + diag(∂c/∂a_g) W_g, blocks of size H × P, and h = W_hr m:

    J = [ W_hr (diag(a) G + diag(b) W_o)   W_hr diag(a f) ]      a = o φ′(c_t),  b = φ(c_t) σ′(a_o)
        [ G                                diag(f)        ]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
class ProjectedLstmJacobian(StepJacobian):
    """J_t of an lstm with a projection, gates in the order i, f, g, o.

    Attributes
    ----------
    forget : ndarray, shape (..., H)
        f.
    readout_slope : ndarray, shape (..., H)
        a = o φ′(c_t), how c_t reaches m_t = o⊙φ(c_t).
    gates : RowScaledSum
        Four coefficients (..., 4, H) over blocks (H, P): ∂c/∂a_i, ∂c/∂a_f, ∂c/∂a_g, and b = ∂m/∂a_o at fixed c.
    h_prev : ndarray, shape (..., P)
    projection : ndarray, shape (P, H), or (1, ..., 1, P, H)
        W_hr; two axes mean shared by every leading axis, otherwise the first is time, of length 1.
    output : ndarray, shape (..., H)
        m_t.
    """

    forget: Array
    readout_slope: Array
    gates: RowScaledSum
    h_prev: Array
    projection: Array
    output: Array

    @property
    def state_size(self) -> int:
        """P + H."""
        return int(self.h_prev.shape[-1] + self.forget.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.forget.shape[:-1])

    def __getitem__(self, steps: Steps) -> ProjectedLstmJacobian:
        projection = self.projection[0] if self.projection.ndim > 2 and isinstance(steps, int) else self.projection
        return ProjectedLstmJacobian(
            self.forget[steps],
            self.readout_slope[steps],
            self.gates[steps],
            self.h_prev[steps],
            projection,
            self.output[steps],
        )

    def _rows(self, R: Array) -> tuple[Array, Array]:
        """(R_m, R_c): cotangents of m_t and of c_t, the latter with what m passed on."""
        P = self.h_prev.shape[-1]
        to_m = shared_matmul(R[..., :P], self.projection)
        return to_m, R[..., P:] + to_m * self.readout_slope[..., None, :]

    def _pull_gates(self, to_m: Array, to_c: Array) -> Array:
        """Cotangents of the four pre-activations, side by side."""
        c = self.gates.coefficients
        both = np.concatenate(
            [to_c[..., :, None, :] * c[..., None, :3, :], (to_m * c[..., None, 3, :])[..., :, None, :]], axis=-2
        )
        if self.gates.norm is not None:
            both = self.gates.norm.pull(both)
        return both.reshape(*both.shape[:-2], self.drive_size)

    def pull(self, R: Array) -> Array:
        to_m, to_c = self._rows(R)
        out_h = shared_matmul(self._pull_gates(to_m, to_c), self.gates.stacked)
        return np.concatenate([out_h, to_c * self.forget[..., None, :]], axis=-1)

    def _joined(self, c: Array, through_o: Array) -> Array:
        """[∂h; ∂c] from ∂c and what reaches m past c."""
        m = self.readout_slope[..., :, None] * c + through_o
        return np.concatenate([shared_matmul_left(self.projection, m), c], axis=-2)

    def _push_gates(self, products: Array) -> tuple[Array, Array]:
        """From V_g (..., 4H, r) to (Σ_{i,f,g} diag(c_g) N_g V_g, diag(b) N_o V_o)."""
        H = self.forget.shape[-1]
        to_c, to_m = self.gates.gates(0, 3), self.gates.gates(3, 4)
        return to_c.push_products(products[..., : 3 * H, :]), to_m.push_products(products[..., 3 * H :, :])

    def push(self, Q: Array) -> Array:
        P = self.h_prev.shape[-1]
        through_c, through_o = self._push_gates(shared_matmul_left(self.gates.stacked, Q[..., :P, :]))
        return self._joined(self.forget[..., :, None] * Q[..., P:, :] + through_c, through_o)

    @property
    def drive_size(self) -> int:
        return 4 * int(self.forget.shape[-1])

    def pull_drive(self, R: Array) -> Array:
        return self._pull_gates(*self._rows(R))

    def push_drive(self, Q: Array) -> Array:
        return self._joined(*self._push_gates(Q))

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """∂L/∂W_hh = δ h_{t−1}ᵀ with δ the cotangent of the four pre-activations."""
        return ((WeightCotangent(self.pull_drive(g[..., None, :])[..., 0, :], self.h_prev),),)

    def projection_cotangents(self, g: Array) -> tuple[WeightCotangent | None, ...]:
        """∂L/∂W_hr = (∂L/∂h_t) m_tᵀ."""
        return (WeightCotangent(g[..., : self.h_prev.shape[-1]], self.output),)
