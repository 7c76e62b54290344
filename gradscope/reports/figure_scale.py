"""Axis ranges and round ticks that terminal plots, SVG and matplotlib share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from gradscope.reports.document import HeatFigure, LineFigure, Number

# A bound may be tens of decades away from the measurement; it is drawn only as far as it does not flatten the rest.
_LOOSE = frozenset({"bound", "path", "loss"})
_STRETCH = 0.35
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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
    near = [
        v
        for v in (*loose, *(y for _, y in figure.marks), *(y for *_, y in figure.spots))
        if low - reach <= v <= high + reach
    ]
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


def power_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Ticks of an axis of decimal logarithms: whole powers of ten wherever there are at least two of them."""
    found = ticks(low, high, most)
    whole = [tick for tick in found if abs(tick - round(tick)) < 1e-9]
    return whole if len(whole) >= 2 else found


def power_text(value: float, *, unicode: bool = True) -> str:
    """A tick of such an axis.

    >>> power_text(-20.0), power_text(0.0), power_text(-0.5), power_text(-20.0, unicode=False)
    ('10⁻²⁰', '1', '0.32', '1e-20')
    """
    if abs(value - round(value)) > 1e-9:
        return f"{10.0**value:.2g}"
    power = round(value)
    if power in (0, 1):
        return ("1", "10")[power]
    return f"10{str(power).translate(_SUPERSCRIPT)}" if unicode else f"1e{power}"


def y_ticks(
    figure: LineFigure, low: float, high: float, most: int = 7, *, unicode: bool = True
) -> list[tuple[float, str]]:
    """Ticks of the y axis with what stands beside them."""
    if figure.powers:
        return [(tick, power_text(tick, unicode=unicode)) for tick in power_ticks(low, high, most)]
    return [(tick, tick_text(tick)) for tick in ticks(low, high, most)]


def within(figure: LineFigure) -> LineFigure:
    """The figure without bounds and losses that leave its frame: a line that ends at the edge says nothing.

    Their names are told in the description.
    """
    low, high = y_range(figure)
    margin = 1e-9 * (high - low)
    off = {
        curve.name
        for curve in figure.curves
        if curve.role in _LOOSE and any(v < low - margin or v > high + margin for v in _finite(curve.y))
    }
    if not off:
        return figure
    kept = tuple(curve for curve in figure.curves if curve.name not in off)
    said = f"{figure.description} Not drawn, since it leaves the frame: {', '.join(sorted(off))}."
    return replace(figure, curves=kept, description=said)


def value_range(figure: HeatFigure) -> tuple[float, float] | None:
    """The least and the largest value of a map, equally far from 0 where it lies around 0; None of an empty one."""
    held = _finite(v for row in figure.values for v in row)
    if not held:
        return None
    if figure.around_zero:
        reach = max(map(abs, held)) or 1.0
        return -reach, reach
    return min(held), max(held)


def sign_changes(figure: HeatFigure) -> list[tuple[float, float, float, float]]:
    """Edges between cells of opposite sign as (x0, y0, x1, y1), counted in cells; cell (r, c) is centred at (c, r)."""
    out: list[tuple[float, float, float, float]] = []
    values = figure.values
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            right = row[c + 1] if c + 1 < len(row) else None
            above = values[r + 1][c] if r + 1 < len(values) and c < len(values[r + 1]) else None
            if _opposite(value, right):
                out.append((c + 0.5, r - 0.5, c + 0.5, r + 0.5))
            if _opposite(value, above):
                out.append((c - 0.5, r + 0.5, c + 0.5, r + 0.5))
    return out


def _opposite(a: Number, b: Number) -> bool:
    return a is not None and b is not None and (a < 0) != (b < 0)
