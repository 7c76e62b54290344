"""Singular values of stacks of matrices, some of which may hold infinities or NaN."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array

EPS = float(np.finfo(np.float64).eps)


def finite_singular_values(P: Array) -> tuple[Array, Array]:
    """All singular values of P (..., m, n), descending, and which matrices are finite; the others give zeros."""
    finite = np.asarray(np.isfinite(P).all(axis=(-2, -1)))
    clean: Array = P if finite.all() else np.where(finite[..., None, None], P, 0.0)
    return np.asarray(np.linalg.svd(clean, compute_uv=False)), finite


def rank_above_rounding(sigma: Array, n: int) -> Array:
    """Count singular values above n·eps·σ₁; sigma (..., r) descending; zero for a zero matrix."""
    return np.asarray(np.sum(sigma > n * EPS * sigma[..., :1], axis=-1))
