"""Long series for figures: a few hundred points, with the extremes of every stretch kept."""

from __future__ import annotations

from gradscope.reports.document import Curve, Number

MOST_POINTS = 320


def kept_indices(values: tuple[Number, ...], most: int = MOST_POINTS) -> list[int]:
    """Indices that draw the same line: per stretch its first, least and greatest point, and the last of all.

    A null (a gap) is kept where it starts, so that no line is drawn across it.
    """
    n = len(values)
    if n <= most:
        return list(range(n))
    stretch = -(-n * 3 // most)
    kept = {0, n - 1}
    for start in range(0, n, stretch):
        part = range(start, min(start + stretch, n))
        kept.add(start)
        held = [i for i in part if values[i] is not None]
        if held:
            kept |= {min(held, key=lambda i: values[i] or 0.0), max(held, key=lambda i: values[i] or 0.0)}
        kept |= {i for i in part if values[i] is None and i and values[i - 1] is not None}
    return sorted(kept)


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """The same curve with few points."""
    kept = kept_indices(curve.y, most)
    if len(kept) == len(curve.y):
        return curve
    low, high = (tuple(ends[i] for i in kept) if ends else () for ends in (curve.low, curve.high))
    return Curve(curve.name, curve.role, tuple(curve.x[i] for i in kept), tuple(curve.y[i] for i in kept), low, high)
