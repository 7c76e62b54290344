"""What the step Jacobians of cells with the gates i, f, g, o have in common: lstm, projected lstm, slstm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.row_scaled import FORM_FROM, RowScaledSum
from gradscope.jacobians.step_jacobian import Array, StepJacobian, WeightCotangent, shared_matmul, shared_matmul_left


class FourGates(StepJacobian):
    """J_t of a cell whose four gates all multiply h_{t−1}; the drive is their pre-activations, side by side.

    Attributes
    ----------
    gates : RowScaledSum
        Four coefficients (..., 4, H).
    h_prev : ndarray, shape (..., H), or (..., P) where h is a projection
    """

    gates: RowScaledSum
    h_prev: Array

    @property
    def hidden_size(self) -> int:
        """H, the units."""
        return int(self.gates.coefficients.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.gates.coefficients.shape[:-2])

    @property
    def drive_size(self) -> int:
        return 4 * self.hidden_size

    def _to_drive(self, *cotangents: Array) -> Array:
        """Cotangents of the drive (..., r, 4·H) from those behind the norm, (..., r, G, H) for one gate or several."""
        both = np.concatenate(cotangents, axis=-2)
        if self.gates.norm is not None:
            both = self.gates.norm.pull(both)
        return np.asarray(both.reshape(*both.shape[:-2], self.drive_size))

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """∂L/∂W_hh = δ h_{t−1}ᵀ with δ the cotangent of the four pre-activations."""
        return ((WeightCotangent(self.pull_drive(g[..., None, :])[..., 0, :], self.h_prev),),)


@dataclass(frozen=True)
class LstmSteps(FourGates):
    """J_t on the state (h, c) with c_t = f⊙c_{t−1} + i⊙g and m_t = o⊙φ(c_t); h_t is m_t, or a projection of it.

    Attributes
    ----------
    forget : ndarray, shape (..., H)
        f.
    readout_slope : ndarray, shape (..., H)
        a = o φ′(c_t), how c_t reaches m_t.
    gates : RowScaledSum
        Four coefficients (..., 4, H): ∂c/∂a_i, ∂c/∂a_f, ∂c/∂a_g, and b = ∂m/∂a_o at fixed c.
    h_prev : ndarray, shape (..., H), or (..., P) where h is a projection
    """

    forget: Array
    readout_slope: Array
    gates: RowScaledSum
    h_prev: Array

    @property
    def state_size(self) -> int:
        return int(self.h_prev.shape[-1]) + self.hidden_size

    def _pull_output(self, R: Array) -> Array:
        """Cotangents of m_t from those of h_t."""
        return R

    def _push_output(self, Q: Array) -> Array:
        """∂h_t from ∂m_t."""
        return Q

    def _parts(self) -> tuple[RowScaledSum, RowScaledSum]:
        """The sum that feeds c (i, f, g) and the one that feeds m alone (o)."""
        return self.gates.gates(0, 3), self.gates.gates(3, 4)

    def _rows(self, R: Array) -> tuple[Array, Array]:
        """Cotangents of m_t and of c_t, the latter with what m passes on to it."""
        size = self.h_prev.shape[-1]
        R_m = self._pull_output(R[..., :size])
        return R_m, R[..., size:] + R_m * self.readout_slope[..., None, :]

    def _pull_gates(self, R_m: Array, R_c: Array) -> Array:
        c = self.gates.coefficients
        to_m = (R_m * c[..., 3, :][..., None, :])[..., :, None, :]
        return self._to_drive(R_c[..., :, None, :] * c[..., None, :3, :], to_m)

    def pull(self, R: Array) -> Array:
        R_m, R_c = self._rows(R)
        if R.shape[-2] >= FORM_FROM:
            to_c, to_m = self._parts()
            out_h = to_c.pull(R_c) + to_m.pull(R_m)
        else:
            out_h = shared_matmul(self._pull_gates(R_m, R_c), self.gates.stacked)
        return np.concatenate([out_h, R_c * self.forget[..., None, :]], axis=-1)

    def _push_gates(self, products: Array) -> tuple[Array, Array]:
        """From V_g (..., 4H, r) to (Σ_{i,f,g} diag(c_g) N_g V_g, diag(b) N_o V_o)."""
        H = self.hidden_size
        to_c, to_m = self._parts()
        return to_c.push_products(products[..., : 3 * H, :]), to_m.push_products(products[..., 3 * H :, :])

    def _joined(self, c: Array, through_o: Array) -> Array:
        """[∂h; ∂c] from ∂c and what reaches m past c."""
        return np.concatenate([self._push_output(self.readout_slope[..., :, None] * c + through_o), c], axis=-2)

    def push(self, Q: Array) -> Array:
        size = self.h_prev.shape[-1]
        Q_h, Q_c = Q[..., :size, :], Q[..., size:, :]
        if Q.shape[-1] >= FORM_FROM:
            to_c, to_m = self._parts()
            through_c, through_o = to_c.push(Q_h), to_m.push(Q_h)
        else:
            through_c, through_o = self._push_gates(shared_matmul_left(self.gates.stacked, Q_h))
        return self._joined(self.forget[..., :, None] * Q_c + through_c, through_o)

    def pull_drive(self, R: Array) -> Array:
        return self._pull_gates(*self._rows(R))

    def push_drive(self, Q: Array) -> Array:
        return self._joined(*self._push_gates(Q))
