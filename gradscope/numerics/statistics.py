"""Error bars for numbers measured along one trajectory: a mean growth per step, a slope over lags.

Successive log gains are autocorrelated, so σ/√T is too small. Both estimators here cut the series into batches of at
least five integrated autocorrelation times τ = 1 + 2Σρ_k and use Student's t for the spread of the batch means. τ
comes from Geyer's initial monotone sequence, raised by its own standard error; a series shorter than 20 τ has no
interval. Every interval is about the window that was measured: what the same network does after other inputs may differ
by more.

References
----------
C. J. Geyer, Statist. Sci. 7 (1992) 473, sec. 3.2 (batch means) and 3.3 (initial monotone sequence);
N. Madras and A. D. Sokal, J. Stat. Phys. 50 (1988) 109, eq. (2.19), for the error of τ;
J. D. Sargan and A. Bhargava, Econometrica 51 (1983) for telling a random walk from bounded residuals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.student import LEVEL, student_quantile

# From 24 batches the interval is 5 % wider than with the variance known; 12 and 6 are the retreat where 24 would be
# shorter than five autocorrelation times.
BATCH_COUNTS = (24, 12, 6)
BATCH_TIMES = 5.0
# A series must hold this many autocorrelation times for an interval.
TIMES_NEEDED = 20.0
# Of independent values an estimate of τ exceeds this once in a hundred at the worst length, some 25 (simulated): a
# smaller one is no sign of correlation.
UNCORRELATED = 2.6
# Autocorrelation of increments at the period from which on they repeat themselves.
REPEATS = 0.9
# Batches of a rate. Products of gated Jacobians have slow components far below their noise, which no estimate of τ sees
# in one record; six long batches hold them (coverage 91 % instead of 69 % with 25, tests/numerics/test_coverage.py).
RATE_BATCHES = 6
# A rate that differs between the later half of the lags and the three eighths before more than once in a hundred by
# chance is still on its way.
DRIFT_LEVEL = 0.99
# Mean square residual of a detrended walk of n steps over n times its mean square increment: 1/15 on average, below
# this once in a thousand walks (simulated, n = 30 … 500), 1/(2n) for independent noise about a line.
BOUNDED_RESIDUAL_RATIO = 0.015


@dataclass(frozen=True)
class RateFit:
    """A slope per step with its 95 % interval; NaN where the data cannot say, and why."""

    rate: float
    low: float
    high: float
    reason: str = ""


class MeanInterval(NamedTuple):
    """A time average with its 95 % interval, arrays of the trailing shape; NaN bounds if too short to tell."""

    mean: Array
    low: Array
    high: Array


def repeats_after(steps: Array) -> int | None:
    """The lag of the first peak of the steps' autocorrelation that reaches 0.9, up to half of the record."""
    n = steps.size
    centred = steps - steps.mean()
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size)) ** 2
    correlation = np.fft.irfft(spectrum, size)[: n // 2 + 1]
    squares = np.concatenate([[0.0], np.cumsum(np.square(centred))])
    # Normalised by the two stretches that are compared, so that a record of few periods is not held against it.
    shifts = np.arange(n // 2 + 1)
    sizes = np.sqrt(squares[n - shifts] * (squares[n] - squares[shifts]))
    correlation = correlation / np.where(sizes > 0.0, sizes, 1.0)
    below = np.flatnonzero(correlation < 0.5)
    if not below.size:
        return None
    after = correlation[below[0] :]
    high = np.flatnonzero(after >= REPEATS)
    if not high.size:
        return None
    start = int(high[0])
    while start + 1 < after.size and after[start + 1] > after[start]:
        start += 1
    return int(below[0]) + start


class CorrelationTime(NamedTuple):
    """Integrated autocorrelation time, in entries of the series, and the same raised by one standard error."""

    estimate: Array
    raised: Array

    def too_long(self, n: int) -> Array:
        """Whether n values are too few of them for an interval."""
        return np.asarray((self.estimate > UNCORRELATED) & (n < TIMES_NEEDED * self.raised))

    def batch_length(self) -> Array:
        """Entries that a batch must hold; 1 where there is no sign of correlation."""
        return np.asarray(np.where(self.estimate > UNCORRELATED, BATCH_TIMES * self.raised, 1.0))


def autocorrelation_time(series: Array) -> CorrelationTime:
    """Integrated autocorrelation time τ = 1 + 2Σρ_k along the first axis.

    Sums of neighbouring autocovariances γ_2m + γ_2m+1 are positive and decreasing for a reversible chain; the sum stops
    where they are not (Geyer's initial monotone sequence). Its standard error is τ √(2(2M + 1)/n) with M ≈ 3τ/2 lags.

    Parameters
    ----------
    series : ndarray, shape (n, ...)

    Returns
    -------
    CorrelationTime
        Of shape (...); about 1 for independent values, 1 for a constant or a series of fewer than four.

    Examples
    --------
    >>> float(autocorrelation_time(np.ones(10)).raised)
    1.0
    """
    n = series.shape[0]
    if n < 4:
        return CorrelationTime(np.ones(series.shape[1:]), np.ones(series.shape[1:]))
    centred = series - series.mean(axis=0)
    spread = np.square(centred).sum(axis=0)
    size = 1 << (2 * n - 1).bit_length()
    covariance = np.fft.irfft(np.abs(np.fft.rfft(centred, size, axis=0)) ** 2, size, axis=0)[: 2 * (n // 4)]
    pairs = covariance[0::2] + covariance[1::2]
    kept = np.minimum.accumulate(pairs, axis=0) * np.logical_and.accumulate(pairs > 0.0, axis=0)
    # A constant's rounding is no series.
    alive = spread > 1e-26 * n * np.square(series).max(axis=0)
    tau = np.where(alive, 2.0 * kept.sum(axis=0) / np.where(alive, spread, 1.0) - 1.0, 1.0)
    tau = np.clip(tau, 0.0, float(n))
    return CorrelationTime(tau, np.where(alive, tau * (1.0 + np.sqrt(2.0 * (3.0 * tau + 1.0) / n)), 1.0))


def mean_interval(series: Array, *, lengths: Array | None = None, level: float = LEVEL) -> MeanInterval:
    """Average a stationary, autocorrelated series over its first axis, with an interval from batch means.

    x̄ ± t_{B−1} √(Σ_b L_b (x̄_b − x̄)² / ((B − 1) T)), L_b the length of batch b. B = 24; 12 or 6 for those columns
    whose batches would be shorter than five autocorrelation times; none for columns shorter than 20 of them.
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
        # An entry that averages several steps has lost the correlation within it, so τ counts in entries.
        tau = autocorrelation_time(np.where(np.isfinite(series), series, 0.0))
        short = tau.too_long(n)
        for place, batches in enumerate(BATCH_COUNTS if n > 1 else ()):
            count = min(batches, n)
            starts = np.arange(count) * n // count
            steps = np.add.reduceat(weights, starts, axis=0)
            spread = np.add.reduceat(weighted, starts, axis=0) / steps - mean
            variance = (steps * spread**2).sum(axis=0) / (count - 1)
            fits = np.ones_like(short) if place == 0 else tau.batch_length() * BATCH_COUNTS[place - 1] > n
            half = np.where(fits, student_quantile(count - 1, level) * np.sqrt(variance / total), half)
        half = np.where(short, np.nan, half)
        return MeanInterval(
            np.asarray(origin + mean), np.asarray(origin + mean - half), np.asarray(origin + mean + half)
        )


def fit_rate(lags: Array, values: Array, *, level: float = LEVEL) -> RateFit:
    """Fit a line to log norms over the later half of the lags; slope per step with a 95 % interval.

    The log norm of a product of Jacobians behaves like a random walk: its *increments* are nearly independent,
    its values are not. The least-squares slope is a weighted sum of increments, Σ_j c_j d_j with
    c_j = Σ_{i≥j} (x_i − x̄)/S_xx, so its variance is Ω Σ c_j² Δ_j, with Ω the long-run variance of the increments
    per step, from six batches, or fewer of five of the increments' autocorrelation times each. There is no interval
    with fewer than 20 of those in the half, nor where the rate still drifts. Where the residuals are bounded
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
    RateFit(rate=-0.5, low=-0.5, high=-0.5, reason='')
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
    if steps.size >= 16 and repeats_after(increments) is not None:
        # What repeats itself tilts a line over L steps by at most 1.5 of its swing over L.
        half = 1.5 * float(np.ptp(residuals)) / float(x[-1] - x[0])
        return RateFit(rate, rate - half, rate + half)
    if bool(bounded(residuals)):
        variance, degrees = _bounded_variance(centred, residuals), _batch_count(steps.size) - 1
    else:
        tau = _tau_of_increments(lags, values)
        if bool(tau.too_long(steps.size)):
            reason = f"the later half holds fewer than 20 of its correlation times ({float(tau.raised):.0f} steps each)"
            return RateFit(rate, math.nan, math.nan, reason)
        count = max(2, min(RATE_BATCHES, int(steps.size / tau.batch_length())))
        variance, degrees = _long_run(steps, deviations, count) * float(weights**2 @ steps), count - 1
        short = _batch_count(steps.size)
        fine = _long_run(steps, deviations, short) * float(weights**2 @ steps)
        if _drifts(lags, values, x, fine, short - 1):
            return RateFit(rate, math.nan, math.nan, "the rate still drifts at the end of the run")
    half = student_quantile(degrees, level) * math.sqrt(variance)
    return RateFit(rate, rate - half, rate + half)


def _batch_count(n: int) -> int:
    """Number of short batches for n increments: at least 2, at most 25, of about 2√n/3 increments each."""
    length = max(1, round(2.0 * math.sqrt(n) / 3.0), math.ceil(n / 25))
    return max(2, n // length)


def _tau_of_increments(lags: Array, values: Array) -> CorrelationTime:
    """Autocorrelation time of the increments per step, from all lags but the first quarter: a start is no sample."""
    keep = (lags >= lags[0] + 0.25 * (lags[-1] - lags[0])) & np.isfinite(values)
    return autocorrelation_time(np.diff(values[keep]) / np.diff(lags[keep]))


def _drifts(lags: Array, values: Array, later: Array, variance: float, degrees: int) -> bool:
    """Whether the mean increment of the stretch before the later half differs from that half's beyond chance."""
    known = np.isfinite(values)
    x, y = lags[known], values[known]
    before = x[(x >= 0.25 * later[0]) & (x <= later[0])]
    if before.size < 5:
        return False
    at = np.searchsorted(x, [before[0], later[0], later[-1]])
    early, late = (y[at[1]] - y[at[0]]) / (x[at[1]] - x[at[0]]), (y[at[2]] - y[at[1]]) / (x[at[2]] - x[at[1]])
    # A slope has 6/5 of the variance of the mean increment over the same steps, and 3/4 of the steps have 4/3 of it.
    quantile = student_quantile(degrees, DRIFT_LEVEL)
    return bool(abs(late - early) > quantile * math.sqrt((1.0 + 4.0 / 3.0) / 1.2 * variance))


def _residuals(centred: Array, y: Array) -> Array:
    """Residuals of the least-squares line."""
    slope = float(centred @ (y - y[0])) / float(centred @ centred)
    fitted = slope * centred
    return np.asarray(y - y[0] - fitted - (y - y[0] - fitted).mean())


def _long_run(steps: Array, deviations: Array, count: int) -> float:
    """Ω, the long-run variance of the increments per step, from the means of ``count`` batches."""
    n = steps.size
    starts = np.arange(count) * n // count
    lengths = np.add.reduceat(steps, starts)
    slopes = np.add.reduceat(deviations, starts) / lengths
    mean = deviations.sum() / steps.sum()
    return float(lengths @ (slopes - mean) ** 2) / (count - 1)


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
