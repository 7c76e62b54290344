"""Closed forms set beside the measurement: the article's (tanh′)^k W^k.

Theory sees slopes and weights, never Jacobians. All results are log10, one value per lag 0 … T.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LN10, log_mean_exp

Anchor = Literal["end", "start"]


def sums_by_lag(per_step: Array, anchor: Anchor) -> Array:
    """Running sums of a per-step quantity over the k steps of lag k: the last k, or (start anchor) the first k.

    Parameters
    ----------
    per_step : ndarray, shape (T, ...)

    Returns
    -------
    ndarray, shape (T + 1, ...)
        Entry 0 is 0.

    >>> sums_by_lag(np.array([1.0, 10.0]), "end")
    array([ 0., 10., 11.])
    """
    ordered = per_step[::-1] if anchor == "end" else per_step
    start = np.zeros((1, *per_step.shape[1:]))
    return np.concatenate([start, np.cumsum(ordered, axis=0)])


def mean_slopes(log_slope: Array) -> Array:
    """log10 of the mean slope over units at each step, from ln φ′ of shape (T, ..., H); −inf if all are dead."""
    return log_mean_exp(log_slope) / LN10


def article_estimate(log10_slopes: Array, log10_powers: Array, anchor: Anchor) -> Array:
    """(tanh′)^k W^k as the article reads it: Σ log10 mean φ′ over the k steps + log10 ‖W^k‖₂ (theory.md C03).

    An *estimate*: the slopes do not commute with W, so it bounds nothing.

    Parameters
    ----------
    log10_slopes : ndarray, shape (T, ...)
    log10_powers : ndarray, shape (T + 1,) or broadcastable to (T + 1, ...)
    """
    sums = sums_by_lag(log10_slopes, anchor)
    return sums + log10_powers.reshape(log10_powers.shape + (1,) * (sums.ndim - log10_powers.ndim))


def eigen_estimate(log10_slopes: Array, log10_radius: float, anchor: Anchor) -> Array:
    """The same slopes with ρ(W)^k in place of ‖W^k‖: what the eigenvalue argument promises (theory.md C01)."""
    sums = sums_by_lag(log10_slopes, anchor)
    lags = np.arange(sums.shape[0], dtype=np.float64)
    return sums + (lags * log10_radius).reshape(-1, *(1,) * (sums.ndim - 1))
