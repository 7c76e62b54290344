"""‖W^k‖₂ for every k, at any magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.errors import ShapeError
from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import log10_scaled, normalise
from gradscope.linalg.singular_values import finite_singular_values


@dataclass(frozen=True)
class PowerNorms:
    """log10 ‖W^k‖₂, k = 0 … K.

    Attributes
    ----------
    log10_norm : ndarray, shape (K + 1, ...)
        NaN where the power is zero or not finite.
    zero : ndarray of bool, shape (K + 1, ...)
        W^k is exactly zero.
    """

    log10_norm: Array
    zero: Array


def power_norms(W: Array, n_powers: int) -> PowerNorms:
    """Spectral norms of W⁰ … W^K, exact powers of two taken out so that neither overflow nor underflow occurs.

    Parameters
    ----------
    W : ndarray, shape (..., n, n)
    n_powers : int
        K.

    >>> power_norms(np.array([[0.0, 2.0], [0.0, 0.0]]), 2).zero.tolist()
    [False, False, True]
    """
    W = np.asarray(W, dtype=np.float64)
    if W.ndim < 2 or W.shape[-1] != W.shape[-2]:
        raise ShapeError(f"powers need a square matrix (..., n, n); got shape {W.shape}")
    log10_norm = np.full((n_powers + 1, *W.shape[:-2]), np.nan)
    zero = np.zeros(log10_norm.shape, dtype=bool)
    P = np.broadcast_to(np.eye(W.shape[-1]), W.shape)
    W, step = normalise(W)
    exponent = np.zeros(W.shape[:-2], dtype=np.int64)
    for k in range(n_powers + 1):
        sigma, finite = finite_singular_values(P)
        log10_norm[k] = log10_scaled(sigma[..., 0], exponent)
        zero[k] = finite & (sigma[..., 0] == 0)
        P, extra = normalise(P @ W)
        exponent = exponent + step + extra
    return PowerNorms(log10_norm, zero)
