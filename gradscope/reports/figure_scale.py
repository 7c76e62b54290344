"""Axis ranges and round ticks that terminal plots, SVG and matplotlib share."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gradscope.reports.document import LineFigure, Number

# A bound may be tens of decades away from the measurement; it is drawn only as far as it does not flatten the rest.
_LOOSE = frozenset({"bound", "path", "loss"})
_STRETCH = 0.35


def _finite(values: Iterable[Number]) -> list[float]:
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def y_range(figure: LineFigure) -> tuple[float, float]:
    """The range of y: all of measurement and theory, and bounds as far as a third of that beyond."""
    core: list[float] = []
    for curve in figure.curves:
        if curve.role not in _LOOSE:
            core += _finite((*curve.y, *curve.low, *curve.high))
    loose = [v for curve in figure.curves if curve.role in _LOOSE for v in _finite(curve.y)]
    core = core or loose or [0.0]
    low, high = min(core), max(core)
    reach = _STRETCH * (high - low)
    near = [v for v in (*loose, *(y for _, y in figure.marks)) if low - reach <= v <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    if high - low < 1e-9 * max(1.0, abs(high)):
        return low - 0.5, high + 0.5
    return low, high


def x_range(figure: LineFigure) -> tuple[float, float]:
    """The range of x over all curves."""
    xs = [x for curve in figure.curves for x in curve.x] or [0.0]
    low, high = min(xs), max(xs)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ``most``, on a step of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 100.0, 6), ticks(-31.0, 1.0, 5)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [-30.0, -20.0, -10.0, 0.0])
    """
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    for factor in (1, 2, 5, 10, 20, 50):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [i * step + 0.0 for i in range(first, last + 1)]
    return [low, high]


def tick_text(value: float) -> str:
    """A tick as short as it can be.

    >>> tick_text(0.30000000000000004), tick_text(-20.0)
    ('0.3', '-20')
    """
    return f"{value:.6g}"


def beyond(figure: LineFigure) -> list[str]:
    """Names of curves that leave the range of the figure."""
    low, high = y_range(figure)
    margin = 1e-9 * (high - low)
    return [c.name for c in figure.curves if any(v < low - margin or v > high + margin for v in _finite(c.y))]
