"""J = diag(e) + Σ_g diag(c_g) W_g: what differentiating gated sums of φ(W_g h + …) leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.base import Array, StepJacobian, shared_matmul, shared_matmul_left

#: Blocks thinner than this multiply gate by gate; thicker ones pay for forming Σ_g diag(c_g) W_g once.
FORM_FROM = 24


@dataclass(frozen=True)
class RowScaledSum:
    """Σ_g diag(c_g) W_g as an operator between spaces of equal size H (never formed for thin blocks).

    Attributes
    ----------
    coefficients : ndarray, shape (..., G, H)
        c_g, the derivative of the new state with respect to pre-activation g.
    weights : ndarray, shape (G, H, H) or (..., G, H, H)
        The recurrent blocks. Three axes mean one set of weights shared by every leading axis.
    """

    coefficients: Array
    weights: Array

    def __getitem__(self, steps: int | slice) -> RowScaledSum:
        """Index time; weights that vary over time carry a full-length first axis, others 1 or none."""
        weights = self.weights
        if weights.ndim > 3 and weights.shape[0] > 1:
            weights = weights[steps]
        elif weights.ndim > 3 and isinstance(steps, int):
            weights = weights[0]
        return RowScaledSum(self.coefficients[steps], weights)

    @property
    def n_gates(self) -> int:
        """G."""
        return int(self.coefficients.shape[-2])

    def form(self) -> Array:
        """The dense (..., H, H) block."""
        if self.n_gates == 1:
            return np.asarray(self.coefficients[..., 0, :, None] * self.weights[..., 0, :, :])
        return np.asarray(np.einsum("...gi,...gij->...ij", self.coefficients, self.weights))

    def pull(self, R: Array) -> Array:
        """R·Σ_g diag(c_g) W_g for R of shape (..., r, H)."""
        c, W = self.coefficients, self.weights
        if self.n_gates == 1:
            return shared_matmul(R * c[..., 0, None, :], W[..., 0, :, :])
        if R.shape[-2] >= FORM_FROM:
            return np.asarray(R @ self.form())
        scaled = R[..., :, None, :] * c[..., None, :, :]
        stacked = W.reshape(*W.shape[:-3], -1, W.shape[-1])
        return shared_matmul(scaled.reshape(*scaled.shape[:-2], -1), stacked)

    def push(self, Q: Array) -> Array:
        """Σ_g diag(c_g) W_g·Q for Q of shape (..., H, r)."""
        c, W = self.coefficients, self.weights
        if self.n_gates == 1:
            return np.asarray(c[..., 0, :, None] * shared_matmul_left(W[..., 0, :, :], Q))
        if Q.shape[-1] >= FORM_FROM:
            return np.asarray(self.form() @ Q)
        stacked = W.reshape(*W.shape[:-3], -1, W.shape[-1])
        products = shared_matmul_left(stacked, Q)
        products = products.reshape(*products.shape[:-2], self.n_gates, -1, Q.shape[-1])
        return np.asarray((c[..., None] * products).sum(axis=-3))


@dataclass(frozen=True)
class DiagonalPlusRowScaled(StepJacobian):
    """J = diag(e) + Σ_g diag(c_g) W_g (Jacobians of rnn, skip, forget-gate, input-gate, gru, dnn).

    Attributes
    ----------
    diagonal : ndarray, shape (..., H), or None
        e, the direct path from h_{t−1} to h_t; None when there is none.
    recurrent : RowScaledSum
        The paths through the pre-activations.
    """

    diagonal: Array | None
    recurrent: RowScaledSum

    @property
    def state_size(self) -> int:
        """H."""
        return int(self.recurrent.coefficients.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes."""
        return tuple(self.recurrent.coefficients.shape[:-2])

    def __getitem__(self, steps: int | slice) -> DiagonalPlusRowScaled:
        """Index time."""
        return DiagonalPlusRowScaled(None if self.diagonal is None else self.diagonal[steps], self.recurrent[steps])

    def pull(self, R: Array) -> Array:
        """R·J."""
        out = self.recurrent.pull(R)
        return out if self.diagonal is None else out + R * self.diagonal[..., None, :]

    def push(self, Q: Array) -> Array:
        """J·Q."""
        out = self.recurrent.push(Q)
        return out if self.diagonal is None else out + self.diagonal[..., :, None] * Q
