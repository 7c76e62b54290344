"""The smallest change of a family that is enough: further until one is, then between that and the last that was not."""

from __future__ import annotations

import math
from collections.abc import Callable

from gradscope.advice.changes import Change, Family
from gradscope.advice.measured import Measured


def smallest(
    family: Family,
    measure: Callable[[Change], Measured],
    enough: Callable[[Measured], bool],
    *,
    before: Measured,
    nearer: Callable[[Measured], float],
) -> Measured:
    """The smallest change of a family that is enough, or the one that came nearest.

    Parameters
    ----------
    enough : callable
        What the change is wanted for; false for ``before``.
    nearer : callable
        Orders changes that are not enough: the one with the largest value is given.

    Notes
    -----
    The size returned is enough, and one that is smaller by a twentieth (or by the smallest step) is not. The margin's
    course says where to look next, by extrapolation, then by interpolation; where it is not known or leads nowhere,
    sizes are doubled and brackets halved.
    """
    seen: list[Measured] = []

    def at(i: int) -> Measured:
        seen.append(measure(family.at(i)))
        return seen[-1]

    def height(measured: Measured) -> float:
        return measured.decades if family.of_gate and math.isfinite(measured.decades) else measured.margin

    low, below, high = 0, before, min(family.first, family.last)
    above = at(high)
    while not enough(above):
        if high == family.last:
            return max(seen, key=nearer)
        further = _extrapolated(low, height(below), high, height(above))
        low, below, high = high, above, min(further, family.last)
        above = at(high)
    slow, rising = 0, False
    # A network that reaches by exploding may have a neighbour that reaches without: then to the last step.
    while high - low > (tolerance := 1 if above.explodes else max(1, high // 20)):
        width = high - low
        middle = (low + high) // 2
        if slow < 2:
            # Half a tolerance beyond the crossing, then as much before it: two steps close the bracket around it.
            aside = -0.5 * tolerance if rising else 0.5 * tolerance
            middle = _interpolated(low, height(below), high, height(above), aside=aside)
        found = at(middle)
        rising = enough(found)
        if rising:
            high, above = middle, found
        else:
            low, below = middle, found
        slow = slow + 1 if slow < 2 and high - low > width // 2 else 0
    return above


def _extrapolated(low: int, below: float, high: int, above: float) -> int:
    """Where a straight line through both margins would be past zero, at most four times further; else twice."""
    if not (math.isfinite(below) and math.isfinite(above) and below < above < 0):
        return 2 * high
    crossing = high - (high - low) * above / (above - below)
    return math.ceil(min(max(1.1 * crossing, 1.25 * high), 4 * high))


def _interpolated(low: int, below: float, high: int, above: float, *, aside: float) -> int:
    """Where a straight line through both margins meets zero, moved ``aside``, strictly between the ends."""
    if not (math.isfinite(below) and math.isfinite(above) and below < 0 <= above):
        return (low + high) // 2
    guess = round(low + (high - low) * below / (below - above) + aside)
    return min(max(guess, low + 1), high - 1)
