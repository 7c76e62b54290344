"""The course of a log norm over the lags: a line (exponential), a power law, part of a period, or none of these.

A slope per step means a rate only where the course is a line about which increments fluctuate. A power law and an
oscillation have slopes too, and no exponential rate but 0: they are recognised first, and their intervals say so.

References
----------
H. Akaike, IEEE Trans. Autom. Control 19 (1974) 716, for line against power law (AIC = n ln RSS + 2·parameters).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.statistics import fit_rate, repeats_after

#: Up to this many steps nothing can be said about a course.
TOO_SHORT = 3
#: A power law must leave less than this share of the line's squared residuals. The logarithm is so nearly a line over
#: the later half that a random walk, which prefers it half of the time, does so by that much once in a thousand.
POWER_LAW_SHARE = 0.05
#: AIC by which a power law must win, ten being "essentially no support" for the other (Burnham and Anderson 2002).
AIC_MARGIN = 10.0
#: A hump that comes back to within this share of its height is taken for most of one period.
COMES_BACK = 0.25
#: Increments of a deterministic curve: mean square of their differences over that of their deviations. A random course
#: with an autocorrelation time under 200 steps is rougher.
SMOOTH = 0.01
#: Spread of a smooth curve's increments over the later half, in rates, up to which the curve has become a line.
STRAIGHT = 0.5
#: Residuals and increments below this (in the units of the values) are rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Course:
    """What a log norm does over the lags.

    Attributes
    ----------
    kind : {"exponential", "polynomial", "periodic", "irregular"} or None
        None where there is too little to say.
    rate, low, high : float
        Slope per step over the later half of the lags with its 95 % interval; NaN where there is none. A power law has
        the interval from 0, its rate in the end, to its steepest slope in that half; a period of swing a over L steps
        ±1.5 a/L about its slope, the most that a bounded deviation can tilt a line.
    reason : str
        Why there is no interval; empty if there is one.
    """

    kind: str | None
    rate: float
    low: float
    high: float
    reason: str = ""


def describe_curve(lags: Array, values: Array) -> Course:
    """Name the course of log norms and fit its rate.

    Parameters
    ----------
    lags : ndarray, shape (m,)
        Ascending.
    values : ndarray, shape (m,)
        Log norms; NaN where there is none.

    Examples
    --------
    >>> lags = np.arange(101.0)
    >>> describe_curve(lags, 3.0 * np.log(lags + 1.0)).kind, describe_curve(lags, -0.5 * lags).kind
    ('polynomial', 'exponential')
    """
    known = np.isfinite(values)
    x, y = np.asarray(lags, dtype=np.float64)[known], np.asarray(values, dtype=np.float64)[known]
    fit = fit_rate(lags, values)
    if x.size <= TOO_SHORT or lags[-1] <= TOO_SHORT:
        return Course(None, fit.rate, math.nan, math.nan, f"{int(lags[-1])} steps are too few for an interval")
    later = x >= 0.5 * (x[0] + x[-1])
    power = _power_law(x[later], y[later])
    if power is not None:
        steepest = power / max(float(x[later][0]), 1.0)
        return Course("polynomial", fit.rate, min(0.0, steepest), max(0.0, steepest))
    period = _period(x, y, fit.rate)
    if period is not None:
        swing, length = float(np.ptp(y)), float(x[later][-1] - x[later][0])
        if 2.0 * period > length:
            reason = f"less than two of its periods of about {period:.0f} steps are in the later half of the lags"
            return Course("periodic", fit.rate, math.nan, math.nan, reason)
        return Course("periodic", fit.rate, fit.rate - 1.5 * swing / length, fit.rate + 1.5 * swing / length)
    steps = np.diff(y[later]) / np.diff(x[later])
    if steps.size >= 8 and np.ptp(steps) > ROUNDING and _is_smooth(steps):
        return _smooth(steps, fit.rate)
    if math.isnan(fit.low):
        return Course("irregular", fit.rate, math.nan, math.nan, fit.reason or "the run is too short for an interval")
    return Course("exponential", fit.rate, fit.low, fit.high)


def _smooth(steps: Array, rate: float) -> Course:
    """The course of a curve without noise: a line in the end, or one that still bends and has no rate yet."""
    spread = float(np.ptp(steps))
    if spread > STRAIGHT * abs(rate):
        return Course("irregular", rate, math.nan, math.nan, "the curve still bends at the end of the run")
    # Increments that sink like 1/k, the slowest of the usual kinds, have as far to go as they came between T/2 and T.
    wide = 1.1 * spread
    return Course("exponential", rate, float(steps.min()) - wide, float(steps.max()) + wide)


def _residual_square(basis: Array, y: Array) -> tuple[float, float]:
    """Σ of squared residuals of y ~ a + b·basis, and b."""
    centred, level = basis - basis.mean(), y - y.mean()
    slope = float(centred @ level) / float(centred @ centred)
    return float(np.square(level - slope * centred).sum()), slope


def _power_law(x: Array, y: Array) -> float | None:
    """The power p of values ~ a + p ln k, if that is what they are; None for a line, a walk or anything else."""
    if x.size < 4 or x[0] <= 0.0:
        return None
    straight, _ = _residual_square(x, y)
    bent, power = _residual_square(np.log(x), y)
    if straight <= x.size * ROUNDING**2:
        return None
    if bent > POWER_LAW_SHARE * straight:
        return None
    return power if x.size * math.log(straight / max(bent, 1e-300)) > AIC_MARGIN else None


def _period(x: Array, y: Array, rate: float) -> float | None:
    """Length in steps of the period of a course that goes nowhere; None if it has none.

    Steps of the values must repeat (autocorrelation above 0.9 at the period, at least two of them in the record), and
    the drift over the record must be small against the swing; or the record is one smooth hump that comes back.
    """
    if x.size < 8 or not np.allclose(np.diff(x), x[1] - x[0]):
        return None
    steps, swing = np.diff(y), float(np.ptp(y))
    if swing <= ROUNDING or float(np.ptp(steps)) <= ROUNDING:
        return None
    spacing = float(x[1] - x[0])
    lag = repeats_after(steps)
    if lag is not None and abs(float(steps[-lag * (steps.size // lag) :].sum())) < 0.5 * swing:
        return lag * spacing
    back = abs(float(y[-1] - y[0]))
    if back > COMES_BACK * swing or not _is_smooth(steps):
        return None
    turns = int(np.count_nonzero(np.diff(np.sign(steps[np.abs(steps) > 1e-3 * np.abs(steps).max()])) != 0))
    return float(x[-1] - x[0]) if turns == 1 else None


def _is_smooth(steps: Array) -> bool:
    """Whether successive steps hardly differ, as no random walk's do."""
    centred = steps - steps.mean()
    return bool(np.square(np.diff(steps)).sum() < SMOOTH * np.square(centred).sum())
