"""J of recurrences whose units read themselves alone: diag(e) + Σ_g diag(c_g) N_g diag(w_g), without a matrix."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from gradscope.jacobians.norm_jacobian import NormJacobian
from gradscope.jacobians.step_jacobian import Array, StepJacobian, Steps, WeightCotangent


@dataclass(frozen=True)
class PerUnitJacobian(StepJacobian):
    """J = diag(e) + Σ_g diag(c_g) N_g diag(w_g): diagonal unless a layer norm mixes the units.

    Attributes
    ----------
    coefficients : ndarray, shape (..., G, H)
        c_g, the derivative of the new state with respect to pre-activation g.
    direct : ndarray, shape (..., H), or None
        e, the direct path from h_{t−1} to h_t; None when there is none.
    weights : ndarray, shape (G, H) or (..., G, H), or None
        w_g, by which a unit reads itself. Two axes mean one set of weights shared by every leading axis, otherwise the
        first axis is time, of length 1. None where pre-activations hear the input alone.
    h_prev : ndarray, shape (..., H), or None
        h_{t−1}; needed only for weight gradients.
    norm : NormJacobian or None
        N_g of layer-normalised pre-activations; None means I.
    """

    coefficients: Array
    direct: Array | None = field(default=None)
    weights: Array | None = field(default=None)
    h_prev: Array | None = field(default=None)
    norm: NormJacobian | None = field(default=None)

    @property
    def state_size(self) -> int:
        return int(self.coefficients.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.coefficients.shape[:-2])

    @property
    def drive_size(self) -> int:
        return int(self.coefficients.shape[-2]) * self.state_size

    def __getitem__(self, steps: Steps) -> PerUnitJacobian:
        weights = self.weights
        if weights is not None and weights.ndim > 2 and isinstance(steps, int):
            weights = weights[0]
        return replace(
            self,
            coefficients=self.coefficients[steps],
            direct=None if self.direct is None else self.direct[steps],
            weights=weights,
            h_prev=None if self.h_prev is None else self.h_prev[steps],
            norm=None if self.norm is None else self.norm[steps],
        )

    @property
    def _mixes(self) -> bool:
        """Whether a layer norm stands between a unit's old and new state."""
        return self.norm is not None and self.weights is not None

    @cached_property
    def diagonal(self) -> Array:
        """The part of J that keeps units apart, shape (..., H): all of it unless a layer norm mixes them."""
        own = 0.0 if self.weights is None or self._mixes else (self.coefficients * self.weights).sum(axis=-2)
        whole = own if self.direct is None else own + self.direct
        return np.broadcast_to(whole, (*self.shape, self.state_size))

    @property
    def magnitudes(self) -> Array | None:
        """|diagonal|; None where a layer norm mixes the units."""
        return None if self._mixes else np.abs(self.diagonal)

    def pull(self, R: Array) -> Array:
        out = R * self.diagonal[..., None, :]
        if self._mixes:
            blocks = self.pull_drive(R).reshape(*out.shape[:-1], *self.coefficients.shape[-2:])
            out = out + (blocks * np.asarray(self.weights)[..., None, :, :]).sum(axis=-2)
        return np.asarray(out)

    def push(self, Q: Array) -> Array:
        out = self.diagonal[..., :, None] * Q
        if self._mixes:
            products = np.asarray(self.weights)[..., None] * Q[..., None, :, :]
            out = out + self.push_drive(products.reshape(*products.shape[:-3], self.drive_size, Q.shape[-1]))
        return np.asarray(out)

    def pull_drive(self, R: Array) -> Array:
        scaled = R[..., :, None, :] * self.coefficients[..., None, :, :]
        if self.norm is not None:
            scaled = self.norm.pull(scaled)
        return scaled.reshape(*scaled.shape[:-2], self.drive_size)

    def push_drive(self, Q: Array) -> Array:
        G, H = self.coefficients.shape[-2:]
        products = Q.reshape(*Q.shape[:-2], G, H, Q.shape[-1])
        if self.norm is not None:
            products = self.norm.push(products)
        return np.asarray((self.coefficients[..., None] * products).sum(axis=-3))

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """∂L/∂w_g = (N_gᵀ (c_g ⊙ g)) ⊙ h_{t−1}: one number a unit, a column that multiplies 1."""
        if self.weights is None:
            return ((),)
        if self.h_prev is None:
            return ()
        rows = self.pull_drive(g[..., None, :])[..., 0, :]
        H = self.state_size
        rows = (rows.reshape(*rows.shape[:-1], -1, H) * self.h_prev[..., None, :]).reshape(rows.shape)
        return ((WeightCotangent(rows, np.ones((*rows.shape[:-1], 1))),),)
