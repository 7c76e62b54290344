"""Slopes in the log domain, from pre-activations: what 1 − h² has lost when |h| rounds to 1 (theory.md N10).

All logarithms here are natural; arrays are float64 whatever the trajectory's dtype was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LN2 = float(np.log(2.0))
LN10 = float(np.log(10.0))
LOG10_2 = float(np.log10(2.0))
#: Natural log of the smallest normal float64. A slope below exp of it is not held to full precision.
LN_TINY = float(np.log(np.finfo(np.float64).tiny))
#: What a factor below float64's range is carried down to: 2^this. Millions of such steps stay within an int64.
LOWEST_POWER = -(2**40)


def softplus(a: Array) -> Array:
    """ln(1 + eᵃ) without overflow; a third of the time of ``np.logaddexp``, to the same few eps."""
    return np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a)))


def log_sigmoid(a: Array) -> Array:
    """ln σ(a) = −softplus(−a); exact where σ(a) itself would round to 0 or 1.

    >>> float(log_sigmoid(np.float64(-1000.0)))
    -1000.0
    """
    return -softplus(-np.asarray(a, dtype=np.float64))


def log_sech_squared(a: Array) -> Array:
    """ln tanh′(a) = 2(ln 2 − |a| − log1p(e^{−2|a|})).

    >>> round(float(log_sech_squared(np.float64(20.0))) / LN10, 4)
    -16.7697
    """
    size = np.abs(np.asarray(a, dtype=np.float64))
    return np.asarray(2.0 * (np.log(2.0) - size - np.log1p(np.exp(-2.0 * size))))


def log_sigmoid_slope(a: Array) -> Array:
    """ln σ′(a) = −|a| − 2 log1p(e^{−|a|}).

    >>> round(float(log_sigmoid_slope(np.float64(40.0))) / LN10, 4)
    -17.3718
    """
    size = np.abs(np.asarray(a, dtype=np.float64))
    return np.asarray(-size - 2.0 * np.log1p(np.exp(-size)))


def log_mean_exp(log_values: Array, axis: int = -1) -> Array:
    """ln of the mean of exp(log_values) along an axis; −inf where every entry is −inf."""
    log_values = np.asarray(log_values)
    top = np.max(log_values, axis=axis, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        mean = np.log(np.mean(np.exp(log_values - safe), axis=axis))
    return np.asarray(mean + np.squeeze(safe, axis=axis))


def log10_rounding(lag: Array | float, state_size: int, log10_path: Array | float) -> Array:
    """log10 of k n^{3/2} eps Π‖J_j‖, what rounding can have added to a product of k factors (Higham 2002, §3.5)."""
    return np.asarray(log10_path + np.log10(np.maximum(lag, 1.0) * max(state_size, 1) ** 1.5 * 2.0**-52))


def log10_at_most(log10: Array | float, rounding: Array | float) -> Array:
    """log10 of what a norm of status ``doubtful`` can be at most: twice the larger of it and its rounding."""
    return np.asarray(np.fmax(log10, rounding) + LOG10_2)


def powers_of_two(log: Array) -> tuple[Array, Array] | None:
    """Mantissa in [1, 2) and power of two of the e^log that are positive and below float64's normal range.

    Zero elsewhere, and where the power would pass :data:`LOWEST_POWER` (a gate whose pre-activation is beyond −7·10¹¹);
    None where there are none at all.

    >>> mantissa, bits = powers_of_two(np.array([-1000.0, -1.0, -1e300]))
    >>> float(np.log(mantissa[0]) + bits[0] * np.log(2.0)), mantissa[1:].tolist()
    (-1000.0, [0.0, 0.0])
    """
    below = (log < LN_TINY) & (log > LOWEST_POWER * np.log(2.0))
    if not below.any():
        return None
    two = np.where(below, log, 0.0) / np.log(2.0)
    bits = np.floor(two)
    return np.where(below, np.exp2(two - bits), 0.0), bits.astype(np.int64)
