"""The smallest change of a family that is enough: doubling until one is, then bisection between the last two."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gradscope.advice.changes import Change, Family
from gradscope.advice.measured import Measured


@dataclass(frozen=True)
class Found:
    """The smallest change that is enough, or the one that came nearest.

    Attributes
    ----------
    enough : bool
    tried : int
        Networks measured.
    """

    measured: Measured
    enough: bool
    tried: int


def smallest(
    family: Family,
    measure: Callable[[Change], Measured],
    enough: Callable[[Measured], bool],
    *,
    before: Measured,
    nearer: Callable[[Measured], float],
) -> Found:
    """Search a family.

    Parameters
    ----------
    enough : callable
        What the change is wanted for; false for ``before``.
    nearer : callable
        Orders changes that are not enough: the one with the largest value is given.

    Notes
    -----
    The size returned is enough and the next smaller one is not. Where the margin of both ends is known, the guess in
    between is by interpolation, and every second one by halving, so that a bent curve costs at most twice the steps.
    """
    seen: list[Measured] = []

    def at(i: int) -> Measured:
        seen.append(measure(family.at(i)))
        return seen[-1]

    low, below, high = 0, before, min(family.first, family.last)
    above = at(high)
    while not enough(above):
        if high == family.last:
            return Found(max(seen, key=nearer), False, len(seen))
        low, below, high = high, above, min(2 * high, family.last)
        above = at(high)
    halve = False
    while high - low > 1:
        middle = (low + high) // 2 if halve else _interpolated(low, below.margin, high, above.margin)
        halve = not halve
        found = at(middle)
        if enough(found):
            high, above = middle, found
        else:
            low, below = middle, found
    return Found(above, True, len(seen))


def _interpolated(low: int, below: float, high: int, above: float) -> int:
    """Where a straight line through both margins meets zero, rounded up, strictly between the ends."""
    if not (math.isfinite(below) and math.isfinite(above) and below < 0 <= above):
        return (low + high) // 2
    guess = low + math.ceil((high - low) * below / (below - above))
    return min(max(guess, low + 1), high - 1)
