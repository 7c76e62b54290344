"""Interval arithmetic over arrays: what a gate can be, for every state and drive within a box.

References
----------
R. E. Moore, R. B. Kearfott and M. J. Cloud, Introduction to Interval Analysis (SIAM 2009), ch. 2 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.cells.activations import Activation
from gradscope.jacobians.step_jacobian import Array

#: Outward rounding, relative to what was added up: more than the n·eps of any sum here.
OUTWARD = 1e-12
#: Of networks that run in float32, whose states carry its rounding.
OUTWARD_FLOAT32 = 1e-5
#: Activations whose slope is largest at 0 and falls to both sides.
_PEAKED = ("tanh", "sigmoid", "hard_sigmoid", "hard_sigmoid_keras3")


@dataclass(frozen=True)
class Interval:
    """All arrays between ``low`` and ``high``, entry by entry; the ends may be infinite."""

    low: Array
    high: Array

    @classmethod
    def around(cls, centre: Array, radius: float | Array) -> Interval:
        """[centre − radius, centre + radius]."""
        return cls(np.asarray(centre - radius, dtype=np.float64), np.asarray(centre + radius, dtype=np.float64))

    def __getitem__(self, entries: slice) -> Interval:
        """Part of the entries."""
        return Interval(self.low[entries], self.high[entries])

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Interval) -> Interval:
        return Interval(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Interval) -> Interval:
        """All products; 0 times an infinite end is 0, since no entry is infinite itself."""
        with np.errstate(invalid="ignore"):
            ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        ends = [np.where(np.isnan(end), 0.0, end) for end in ends]
        return Interval(np.minimum.reduce(ends), np.maximum.reduce(ends))

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        return Interval(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def within(self, other: Interval) -> Interval:
        """What both hold, for two that are known to hold the truth."""
        return Interval(np.maximum(self.low, other.low), np.minimum(self.high, other.high))

    @property
    def magnitude(self) -> Array:
        """max |·|."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def outward(self, relative: float = OUTWARD) -> Interval:
        """Rounded outward, relative to the magnitude of each entry."""
        slack = np.where(np.isfinite(self.magnitude), relative * self.magnitude, 0.0)
        return Interval(self.low - slack, self.high + slack)


def affine(W: Array, x: Interval, *, relative: float = OUTWARD) -> Interval:
    """W x for every x, rounded outward; an entry of W that is 0 hears nothing of an infinite x."""
    W = np.asarray(W, dtype=np.float64)
    if not W.shape[-1]:
        return Interval(np.zeros(len(W)), np.zeros(len(W)))
    if np.isfinite(x.magnitude).all():
        size = np.abs(W)
        middle, radius = W @ ((x.low + x.high) / 2), size @ ((x.high - x.low) / 2)
        return Interval.around(middle, radius + relative * (size @ x.magnitude))
    product = Interval(W, W) * Interval(x.low[None, :], x.high[None, :])
    slack = relative * np.where(np.isfinite(product.magnitude), product.magnitude, 0.0).sum(axis=-1)
    return Interval(product.low.sum(axis=-1) - slack, product.high.sum(axis=-1) + slack)


def image(activation: Activation, a: Interval) -> Interval:
    """φ of an interval; every activation here rises."""
    with np.errstate(invalid="ignore", over="ignore"):
        return Interval(np.asarray(activation.value(a.low)), np.asarray(activation.value(a.high))).outward()


def largest_slope(activation: Activation, a: Interval) -> Array:
    """sup φ′ over an interval: at the point nearest 0, where φ′ falls to both sides; else γ."""
    if activation.name not in _PEAKED:
        return np.full(a.low.shape, activation.max_slope)
    return activation.slope(np.clip(0.0, a.low, a.high)) * (1.0 + OUTWARD)


def carried(keep: Interval, let_go: Array, new: Interval, start: Interval) -> Interval:
    """Every c_t of c_t = f⊙c_{t−1} + u with f and u in their intervals, from ``start``.

    c stays below X where f c + u ≤ X for all c ≤ X: X = max(c_0, sup u/(1 − sup f)), and for u < 0 the largest f that
    helps is the smallest, X = max(c_0, sup u/(1 − inf f)). Likewise from below. ``let_go`` is 1 − sup f with its
    digits.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        high = np.where(new.high >= 0, new.high / let_go, new.high / (1.0 - keep.low))
        low = np.where(new.low <= 0, new.low / let_go, new.low / (1.0 - keep.low))
    high, low = np.nan_to_num(high, nan=np.inf), np.nan_to_num(low, nan=-np.inf)
    return start.hull(Interval(low, high).outward(1e-9))
