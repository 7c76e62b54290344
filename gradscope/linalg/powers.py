"""‖W^k‖₂ for every k, at any magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.errors import ShapeError
from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import normalise
from gradscope.linalg.running_product import run_product


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
    n, leading = W.shape[-1], W.shape[:-2]
    scaled, exponent = normalise(W.reshape(-1, n, n))
    history = run_product(lambda X, _: X @ scaled, n, len(scaled), n_powers, ranks=False)
    history.exponent += np.arange(n_powers + 1)[:, None] * exponent
    shape = (n_powers + 1, *leading)
    return PowerNorms(history.log10_norm().reshape(shape), history.zero.reshape(shape))
