"""Spectral norms of stacks of matrices that are there in full."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.linalg.binary_scale import log10_scaled, normalise
from gradscope.linalg.largest_eigenvalue import largest_eigenvalues
from gradscope.linalg.singular_values import finite_singular_values


def log10_formed_norms(J: Array) -> tuple[Array, Array]:
    """log10 ‖J‖₂ of every matrix and which are exactly zero, shapes (...) for J of shape (..., n, n).

    By the largest eigenvalue of JJᵀ, which keeps all digits of the norm; NaN where J is zero or not finite.
    """
    scaled, exponent = normalise(J)
    finite = np.asarray(np.isfinite(scaled).all(axis=(-2, -1)))
    clean = scaled if finite.all() else np.where(finite[..., None, None], scaled, 0.0)
    top = largest_eigenvalues(clean @ np.swapaxes(clean, -1, -2))
    return log10_scaled(np.sqrt(np.maximum(top, 0.0)), exponent), finite & ~np.any(clean, axis=(-2, -1))


def log10_decomposed_norms(J: Array) -> tuple[Array, Array]:
    """The same by all singular values of J itself."""
    scaled, exponent = normalise(J)
    spectrum, finite = finite_singular_values(scaled)
    return log10_scaled(spectrum[..., 0], exponent), finite & (spectrum[..., 0] == 0)
