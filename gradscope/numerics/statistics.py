"""Error bars for numbers measured along one trajectory: a mean growth per step, a slope over lags.

Successive log gains are autocorrelated, so σ/√T is too small. Both estimators here cut the series into
batches long enough to be nearly independent, and use Student's t for the spread of the batch means.

References
----------
L. W. Schruben, Operations Research 31 (1983) and C. Geyer, Statist. Sci. 7 (1992), sec. 3.2, for batch means;
J. D. Sargan and A. Bhargava, Econometrica 51 (1983) for telling a random walk from bounded residuals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gradscope.jacobians.base import Array

LEVEL = 0.95
# From 24 batches the interval is 5 % wider than with the variance known; 12 and 6 are the retreat when neighbouring
# batches still resemble each other.
BATCH_COUNTS = (24, 12, 6)
# Mean square residual of a detrended walk of n steps over n times its mean square increment: 1/15 on average, below
# this once in a thousand walks (simulated, n = 30 … 500), 1/(2n) for independent noise about a line.
BOUNDED_RESIDUAL_RATIO = 0.015


@dataclass(frozen=True)
class RateFit:
    """A slope per step with its 95 % interval; NaN where the data cannot say."""

    rate: float
    low: float
    high: float


class MeanInterval(NamedTuple):
    """A time average with its 95 % interval, arrays of the trailing shape; NaN bounds if too short to tell."""

    mean: Array
    low: Array
    high: Array


@lru_cache(maxsize=256)
def student_quantile(degrees: int, level: float = LEVEL) -> float:
    """Two-sided Student t quantile q, P(|t| ≤ q) = level, for whole degrees of freedom.

    From the finite sums for P(|t| ≤ √ν tan θ) (Abramowitz and Stegun 26.7.3 and 26.7.4), inverted by bisection in θ;
    scipy.special would cost every start of the command line a tenth of a second.

    Examples
    --------
    >>> round(student_quantile(10), 4)
    2.2281
    """

    def probability(theta: float) -> float:
        term = math.cos(theta) if degrees % 2 else 1.0
        total = 0.0 if degrees == 1 else term
        for m in range(2 if degrees % 2 == 0 else 3, degrees, 2):
            term *= math.cos(theta) ** 2 * (m - 1) / m
            total += term
        return 2.0 / math.pi * (theta + math.sin(theta) * total) if degrees % 2 else math.sin(theta) * total

    below, above = 0.0, math.pi / 2.0
    for _ in range(60):
        middle = 0.5 * (below + above)
        below, above = (middle, above) if probability(middle) < level else (below, middle)
    return math.sqrt(degrees) * math.tan(0.5 * (below + above))


def mean_interval(series: Array, *, lengths: Array | None = None, level: float = LEVEL) -> MeanInterval:
    """Average a stationary, autocorrelated series over its first axis, with an interval from batch means.

    x̄ ± t_{B−1} √(Σ_b L_b (x̄_b − x̄)² / ((B − 1) T)), L_b the length of batch b. B = 24; B = 12 or 6 for
    those columns whose batch means are still correlated (lag-1 correlation above 1.64/√B, one-sided 5 %).
    Series shorter than 24 use a batch per entry; a single entry has no interval.

    Parameters
    ----------
    series : ndarray, shape (T, ...)
        Finite values; a column that holds an infinity gives NaN bounds.
    lengths : ndarray, shape (T,), optional
        How many steps each entry is the average of, if not one each.

    Returns
    -------
    MeanInterval
        ``mean``, ``low``, ``high``, each of shape (...).

    Examples
    --------
    >>> mean_interval(np.array([1.0, 1.0, 1.0]))
    MeanInterval(mean=array(1.), low=array(1.), high=array(1.))
    """
    series = np.asarray(series, dtype=np.float64)
    n = series.shape[0]
    if n == 0:
        nothing = np.full(series.shape[1:], np.nan)
        return MeanInterval(nothing, nothing.copy(), nothing.copy())
    weights = np.ones(n) if lengths is None else np.asarray(lengths, dtype=np.float64)
    weights = weights.reshape(-1, *([1] * (series.ndim - 1)))
    total = float(weights.sum())
    # A mean taken about the first entry keeps constant series exact: their intervals have width 0.
    origin = np.where(np.isfinite(series[0]), series[0], 0.0)
    with np.errstate(invalid="ignore"):
        weighted = (series - origin) * weights
        mean = weighted.sum(axis=0) / total
        half = np.full(series.shape[1:], np.nan)
        undecided = np.ones(series.shape[1:], dtype=bool)
        for batches in BATCH_COUNTS if n > 1 else ():
            count = min(batches, n)
            starts = np.arange(count) * n // count
            steps = np.add.reduceat(weights, starts, axis=0)
            spread = np.add.reduceat(weighted, starts, axis=0) / steps - mean
            variance = (steps * spread**2).sum(axis=0) / (count - 1)
            half = np.where(undecided, student_quantile(count - 1, level) * np.sqrt(variance / total), half)
            correlated = (spread[1:] * spread[:-1]).sum(axis=0) > 1.64 / math.sqrt(count) * (spread**2).sum(axis=0)
            undecided &= correlated
            if not undecided.any():
                break
        return MeanInterval(
            np.asarray(origin + mean), np.asarray(origin + mean - half), np.asarray(origin + mean + half)
        )


def fit_rate(lags: Array, values: Array, *, level: float = LEVEL) -> RateFit:
    """Fit a line to log norms over the later half of the lags; slope per step with a 95 % interval.

    The log norm of a product of Jacobians behaves like a random walk: its *increments* are nearly independent,
    its values are not. The least-squares slope is a weighted sum of increments, Σ_j c_j d_j with
    c_j = Σ_{i≥j} (x_i − x̄)/S_xx, so its variance is Ω Σ c_j² Δ_j, with Ω the long-run variance of the increments
    per step, taken from batches of about 2√n/3 increments (n/25 for long records). Where the residuals are bounded
    instead (their variance does not grow with the distance: a rotating complex pair, a periodic orbit),
    the classical variance of a slope is used, inflated by the residuals' integrated autocorrelation.

    Parameters
    ----------
    lags : ndarray, shape (m,)
        Ascending, not necessarily evenly spaced.
    values : ndarray, shape (m,)
        log norms at those lags; NaN or infinite entries (missing, zero norm) are left out.

    Returns
    -------
    RateFit
        ``rate`` is NaN with fewer than two values in the later half, ``low`` and ``high`` with fewer than three.

    Examples
    --------
    >>> fit_rate(np.arange(9.0), -0.5 * np.arange(9.0))
    RateFit(rate=-0.5, low=-0.5, high=-0.5)
    """
    lags = np.asarray(lags, dtype=np.float64)
    values = np.asarray(values, dtype=np.float64)
    if lags.size == 0:
        return RateFit(math.nan, math.nan, math.nan)
    keep = (lags >= 0.5 * (lags[0] + lags[-1])) & np.isfinite(values)
    x, y = lags[keep], values[keep]
    if x.size < 2:
        return RateFit(math.nan, math.nan, math.nan)
    steps, increments = np.diff(x), np.diff(y)
    centred = x - x.mean()
    # c_j = Σ_{i≥j}(x_i − x̄)/S_xx for the increment that leads to x_j.
    weights = np.cumsum(centred[::-1])[::-1][1:] / (centred @ centred)
    # The slope relative to the first increment: a straight line comes out to the last bit.
    origin = float(increments[0] / steps[0])
    deviations = increments - origin * steps
    rate = origin + float(weights @ deviations)
    if x.size < 3:
        return RateFit(rate, math.nan, math.nan)
    residuals = _residuals(centred, y)
    variance = _walk_variance(weights, steps, deviations)
    degrees = _batch_count(steps.size) - 1
    if bool(bounded(residuals)):
        variance = _bounded_variance(centred, residuals)
    half = student_quantile(degrees, level) * math.sqrt(variance)
    return RateFit(rate, rate - half, rate + half)


def _batch_count(n: int) -> int:
    """Number of batches for n increments: at least 2, at most 25, of about 2√n/3 increments each."""
    length = max(1, round(2.0 * math.sqrt(n) / 3.0), math.ceil(n / 25))
    return max(2, n // length)


def _residuals(centred: Array, y: Array) -> Array:
    """Residuals of the least-squares line."""
    slope = float(centred @ (y - y[0])) / float(centred @ centred)
    fitted = slope * centred
    return np.asarray(y - y[0] - fitted - (y - y[0] - fitted).mean())


def _walk_variance(weights: Array, steps: Array, deviations: Array) -> float:
    """Ω Σ c_j² Δ_j, with Ω from batch means of the increments."""
    n = steps.size
    count = _batch_count(n)
    starts = np.arange(count) * n // count
    lengths = np.add.reduceat(steps, starts)
    slopes = np.add.reduceat(deviations, starts) / lengths
    mean = deviations.sum() / steps.sum()
    long_run = float(lengths @ (slopes - mean) ** 2) / (count - 1)
    return long_run * float(weights**2 @ steps)


def bounded(residuals: Array) -> Array:
    """Tell bounded residuals (True) from a random walk's, whose mean square grows with their number; along axis 0."""
    single = np.mean(np.diff(residuals, axis=0) ** 2, axis=0)
    return np.asarray(np.mean(residuals**2, axis=0) < BOUNDED_RESIDUAL_RATIO * residuals.shape[0] * single)


def _bounded_variance(centred: Array, residuals: Array) -> float:
    """Variance of a slope with stationary residuals: s²τ/S_xx, τ ≥ 1 their integrated autocorrelation time."""
    n = residuals.size
    scale = float(residuals @ residuals)
    tau = 1.0
    for lag in range(1, n // 4):
        correlation = float(residuals[lag:] @ residuals[:-lag]) / scale
        if correlation <= 0.0:  # the initial positive sequence ends here
            break
        tau += 2.0 * correlation
    return scale / (n - 2) * tau / float(centred @ centred)
