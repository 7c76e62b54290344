"""The Jacobian of layer normalisation, a projection and a scale per gate block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array, Steps


@dataclass(frozen=True)
class NormJacobian:
    """N_g = (I − 11ᵀ/H − (1−κ_g) u_g u_gᵀ) / s_g for â = (p − mean p)/s, s = √(var p + ε): symmetric, exact.

    u is the unit vector along p − mean p and κ = ε/s²: N shrinks u by κ/s and takes the mean away altogether.

    Attributes
    ----------
    direction : ndarray, shape (..., G, H)
        u_g; 0 where all units have the same pre-activation.
    kept : ndarray, shape (..., G)
        κ_g.
    inverse_scale : ndarray, shape (..., G)
        1/s_g.
    """

    direction: Array
    kept: Array
    inverse_scale: Array

    def __getitem__(self, steps: Steps) -> NormJacobian:
        return NormJacobian(self.direction[steps], self.kept[steps], self.inverse_scale[steps])

    def gates(self, first: int, last: int) -> NormJacobian:
        """The blocks first … last − 1."""
        return NormJacobian(
            self.direction[..., first:last, :], self.kept[..., first:last], self.inverse_scale[..., first:last]
        )

    def _project(self, V: Array, u: Array, kept: Array, axis: int) -> Array:
        """(I − 11ᵀ/H − (1−κ) u uᵀ)·V along an axis."""
        V = V - V.mean(axis=axis, keepdims=True)
        along = (u * V).sum(axis=axis, keepdims=True)
        rest = V - u * along
        # Once more: of a layer of two units only κ u uᵀ is left, some 1e−5, and one projection's rounding would show.
        rest = rest - rest.mean(axis=axis, keepdims=True)
        rest = rest - u * (u * rest).sum(axis=axis, keepdims=True)
        return np.asarray(rest + kept * along * u)

    def pull(self, V: Array) -> Array:
        """V_g·N_g for rows V of shape (..., r, G, H)."""
        projected = self._project(V, self.direction[..., None, :, :], self.kept[..., None, :, None], -1)
        return projected * self.inverse_scale[..., None, :, None]

    def push(self, V: Array) -> Array:
        """N_g·V_g for columns V of shape (..., G, H, r)."""
        projected = self._project(V, self.direction[..., None], self.kept[..., None, None], -2)
        return projected * self.inverse_scale[..., None, None]
