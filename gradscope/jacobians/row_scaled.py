"""J = diag(e) + Σ_g diag(c_g) W_g: what differentiating gated sums of φ(W_g h + …) leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gradscope.jacobians.norm_jacobian import NormJacobian
from gradscope.jacobians.step_jacobian import (
    Array,
    StepJacobian,
    Steps,
    WeightCotangent,
    shared_matmul,
    shared_matmul_left,
)

#: Blocks thinner than this multiply gate by gate; thicker ones pay for forming Σ_g diag(c_g) W_g once.
FORM_FROM = 12


@dataclass(frozen=True)
class RowScaledSum:
    """Σ_g diag(c_g) N_g W_g as an operator (never formed for thin blocks); the W_g may have fewer columns than rows.

    Attributes
    ----------
    coefficients : ndarray, shape (..., G, H)
        c_g, the derivative of the new state with respect to W_g h_{t−1}.
    weights : ndarray, shape (G, H, H) or (..., G, H, H)
        The recurrent blocks. Three axes mean one set of weights shared by every leading axis; otherwise the first
        axis is time, of length 1 when the weights do not change from step to step.
    norm : NormJacobian or None
        N_g of a layer-normalised cell; None means I.
    """

    coefficients: Array
    weights: Array
    norm: NormJacobian | None = field(default=None)
    # What was made of the weights, shared by all stretches of time that share them.
    _made: dict[str, Array] = field(default_factory=dict, repr=False, compare=False)

    def __getitem__(self, steps: Steps) -> RowScaledSum:
        weights = self.weights
        if weights.ndim > 3:
            if weights.shape[0] > 1:
                weights = weights[steps]
            elif isinstance(steps, int):
                weights = weights[0]
        made = self._made if weights is self.weights else {}
        return RowScaledSum(self.coefficients[steps], weights, None if self.norm is None else self.norm[steps], made)

    def gates(self, first: int, last: int) -> RowScaledSum:
        """The terms first … last − 1."""
        norm = None if self.norm is None else self.norm.gates(first, last)
        return RowScaledSum(self.coefficients[..., first:last, :], self.weights[..., first:last, :, :], norm)

    @property
    def n_gates(self) -> int:
        return int(self.coefficients.shape[-2])

    @property
    def stacked(self) -> Array:
        """The blocks below one another, shape (..., G·H, H)."""
        W = self.weights
        return W.reshape(*W.shape[:-3], self.n_gates * W.shape[-2], W.shape[-1])

    @property
    def weights_squared(self) -> Array:
        """W·Wᵀ of a single block. Entrywise right to n·eps·|w_i||w_j|, so that c_i c_j of it is right to n·eps·‖J‖²."""
        if "squared" not in self._made:
            W = self.weights[..., 0, :, :]
            self._made["squared"] = W @ np.swapaxes(W, -1, -2)
        return self._made["squared"]

    @property
    def weights_transposed(self) -> Array:
        """Wᵀ of a single block."""
        if "transposed" not in self._made:
            self._made["transposed"] = np.ascontiguousarray(np.swapaxes(self.weights[..., 0, :, :], -1, -2))
        return self._made["transposed"]

    def form(self) -> Array:
        """The dense (..., H, H) block."""
        W = self.weights if self.norm is None else self.norm.push(self.weights)
        if self.n_gates == 1:
            return np.asarray(self.coefficients[..., 0, :, None] * W[..., 0, :, :])
        return np.asarray(np.einsum("...gi,...gij->...ij", self.coefficients, W))

    def pull_coefficients(self, R: Array) -> Array:
        """[R·diag(c_1) N_1, …, R·diag(c_G) N_G] side by side, shape (..., r, G·H)."""
        scaled = R[..., :, None, :] * self.coefficients[..., None, :, :]
        if self.norm is not None:
            scaled = self.norm.pull(scaled)
        return scaled.reshape(*scaled.shape[:-2], self.n_gates * scaled.shape[-1])

    def pull(self, R: Array) -> Array:
        """R·Σ_g diag(c_g) W_g for R of shape (..., r, H)."""
        if self.n_gates == 1 and self.norm is None:
            return shared_matmul(R * self.coefficients[..., 0, None, :], self.weights[..., 0, :, :])
        if R.shape[-2] >= FORM_FROM:
            return np.asarray(R @ self.form())
        return shared_matmul(self.pull_coefficients(R), self.stacked)

    def push_products(self, products: Array) -> Array:
        """Σ_g diag(c_g) N_g V_g for V of shape (..., G·H, r)."""
        H = self.coefficients.shape[-1]
        products = products.reshape(*products.shape[:-2], self.n_gates, H, products.shape[-1])
        if self.norm is not None:
            products = self.norm.push(products)
        return np.asarray((self.coefficients[..., None] * products).sum(axis=-3))

    def push(self, Q: Array) -> Array:
        """Σ_g diag(c_g) W_g·Q for Q of shape (..., H, r)."""
        if self.n_gates == 1 and self.norm is None:
            return np.asarray(self.coefficients[..., 0, :, None] * shared_matmul_left(self.weights[..., 0, :, :], Q))
        if Q.shape[-1] >= FORM_FROM:
            return np.asarray(self.form() @ Q)
        return self.push_products(shared_matmul_left(self.stacked, Q))


@dataclass(frozen=True)
class DiagonalPlusRowScaled(StepJacobian):
    """J = diag(e) + Σ_g diag(c_g) W_g (Jacobians of rnn, skip, forget-gate, input-gate, gru, dnn).

    Attributes
    ----------
    diagonal : ndarray, shape (..., H), or None
        e, the direct path from h_{t−1} to h_t; None when there is none.
    recurrent : RowScaledSum
        The paths through the recurrent products W_g h_{t−1}.
    h_prev : ndarray, shape (..., H), or None
        h_{t−1}, which each block multiplies; needed only for weight gradients.
    drive_coefficients : ndarray, shape (..., G, H), or None
        ∂h_t/∂(U_g x_t + b_g); None when it equals the recurrent coefficients (all cells but a reset-after gru).
    """

    diagonal: Array | None
    recurrent: RowScaledSum
    h_prev: Array | None = field(default=None)
    drive_coefficients: Array | None = field(default=None)

    @property
    def state_size(self) -> int:
        return int(self.recurrent.coefficients.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.recurrent.coefficients.shape[:-2])

    def __getitem__(self, steps: Steps) -> DiagonalPlusRowScaled:
        return DiagonalPlusRowScaled(
            None if self.diagonal is None else self.diagonal[steps],
            self.recurrent[steps],
            None if self.h_prev is None else self.h_prev[steps],
            None if self.drive_coefficients is None else self.drive_coefficients[steps],
        )

    def pull(self, R: Array) -> Array:
        out = self.recurrent.pull(R)
        return out if self.diagonal is None else out + R * self.diagonal[..., None, :]

    def push(self, Q: Array) -> Array:
        out = self.recurrent.push(Q)
        return out if self.diagonal is None else out + self.diagonal[..., :, None] * Q

    def pull_through(self, R: Array) -> Array:
        """R·J_T, R·J_T·J_{T−1}, …; without a direct path a scaling and a product each, in place."""
        recurrent = self.recurrent
        shared = recurrent.weights.ndim == 3
        if not self._is_scaled_block or not (shared or recurrent.weights.shape[0] == 1):
            return super().pull_through(R)
        # One network: all rows meet W in one product. Many side by side: each its own.
        T, W = self.shape[0], recurrent.weights[0] if shared else recurrent.weights[0, ..., 0, :, :]
        out, scaled = np.empty((T, *R.shape)), np.empty(R.shape)
        flat = (-1, R.shape[-1]) if shared else R.shape
        rows = out.reshape(T, *flat)
        # Identity activations scale nothing.
        scales = not bool((recurrent.coefficients == 1.0).all())
        for i in range(T):
            if scales:
                R = np.multiply(R, recurrent.coefficients[T - 1 - i, ..., 0, None, :], out=scaled)
            np.matmul(R.reshape(flat), W, out=rows[i])
            R = out[i]
        return out

    def push_through(self, Q: Array) -> Array:
        """J_1·Q, J_2·J_1·Q, …, by columns in memory; without a direct path a product and a scaling each, in place."""
        recurrent = self.recurrent
        if not self._is_scaled_block or not (recurrent.weights.ndim == 3 or recurrent.weights.shape[0] == 1):
            return super().push_through(Q)
        W, c = recurrent.weights_transposed, recurrent.coefficients
        W = W if recurrent.weights.ndim == 3 else W[0]
        rows = np.swapaxes(Q, -1, -2)
        out = np.empty((self.shape[0], *rows.shape))
        for t in range(len(out)):
            np.matmul(rows, W, out=out[t])
            rows = out[t]
            rows *= c[t, ..., 0, None, :]
        return np.swapaxes(out, -1, -2)

    @property
    def _is_scaled_block(self) -> bool:
        """Whether J = diag(c)·W and nothing else."""
        return self.diagonal is None and self.recurrent.n_gates == 1 and self.recurrent.norm is None

    def square(self, R: Array) -> Array:
        """R·J·Jᵀ; without a direct path it is R·diag(c)·WWᵀ·diag(c), one product instead of two."""
        recurrent = self.recurrent
        if not self._is_scaled_block:
            return super().square(R)
        c = recurrent.coefficients[..., 0, None, :]
        out = shared_matmul(R * c, recurrent.weights_squared)
        out *= c
        return out

    @property
    def drive_size(self) -> int:
        return self.recurrent.n_gates * self.state_size

    @property
    def _drive(self) -> RowScaledSum:
        if self.drive_coefficients is None:
            return self.recurrent
        return RowScaledSum(self.drive_coefficients, self.recurrent.weights, self.recurrent.norm)

    def pull_drive(self, R: Array) -> Array:
        return self._drive.pull_coefficients(R)

    def push_drive(self, Q: Array) -> Array:
        return self._drive.push_products(Q)

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """∂L/∂W_g = (c_g ⊙ g) h_{t−1}ᵀ: the copy's own factor φ′ is in c_g (theory.md C03)."""
        if self.h_prev is None:
            return ()
        rows = self.recurrent.pull_coefficients(g[..., None, :])[..., 0, :]
        return ((WeightCotangent(rows, self.h_prev),),)

    def dense(self) -> Array:
        J = self.recurrent.form()
        if self.diagonal is not None:
            np.einsum("...ii->...i", J)[...] += self.diagonal
        return J
