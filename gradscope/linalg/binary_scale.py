"""Exact scaling by powers of two: P = 2^e · P~ with max|P~| in [1/2, 1), no rounding added (theory.md N01)."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LOG10_2


def exponent_of(P: Array) -> Array:
    """Binary exponent e of max|P| over the last two axes, so that max|P|·2^−e lies in [1/2, 1).

    Zero and non-finite matrices get 0: there is nothing to scale.
    """
    if P.shape[-1] == 0 or P.shape[-2] == 0:
        return np.zeros(P.shape[:-2], dtype=np.int64)
    largest = np.maximum(P.max(axis=(-2, -1)), -P.min(axis=(-2, -1)))
    _, exponent = np.frexp(np.where(np.isfinite(largest), largest, 0.0))
    return np.asarray(exponent, dtype=np.int64)


def scale_by_power_of_two(P: Array, exponent: Array) -> Array:
    """P·2^exponent, exponent of shape ``P.shape[:-2]``; exact unless entries fall below 2^−1022."""
    return np.asarray(np.ldexp(P, np.asarray(exponent)[..., None, None].astype(np.int32)))


def normalise(P: Array) -> tuple[Array, Array]:
    """Split P = 2^e·P~ and return (P~, e): max|P~| in [1/2, 1), e int64 of shape ``P.shape[:-2]``.

    >>> normalise(np.array([[3.0, 0.0], [0.0, 5.0]]))[1].item()
    3
    """
    exponent = exponent_of(P)
    if not exponent.any():
        return P, exponent
    return scale_by_power_of_two(P, -exponent), exponent


def log10_scaled(value: Array, exponent: Array | int) -> Array:
    """log10(value·2^exponent) for value ≥ 0; NaN where value is 0 or not finite, never −inf and never a warning.

    The exponent is added last: log10(value) is correct to rounding and e·log10 2 to |e|·2e−17.
    """
    value = np.asarray(value, dtype=np.float64)
    usable = np.isfinite(value) & (value > 0)
    log = np.log10(np.where(usable, value, 1.0)) + np.asarray(exponent) * LOG10_2
    return np.where(usable, log, np.nan)
