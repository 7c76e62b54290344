"""Which way is worse, for every number a report carries, and how large its noise is.

Of a gradient three fields decide: the class of its verdict, its horizon, and the interval of its rate (``judged``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gradscope.fields import VERBS, every, names
from gradscope.records import plain
from gradscope.reports.reading import number

# Measured again, these differ without meaning anything: intervals, spreads, clocks.
IGNORED = frozenset(name for verb in VERBS for name in names(verb) if not any(one.compared for one in every(name)))
# Two runs of the same thing agree to this: the norms' own accuracy.
_ROUNDING = 1e-9


def direction_of(name: str, base: Any, new: Any) -> str:
    """Whether a change from ``base`` to ``new`` is ``worse``, ``better`` or just ``changed``."""
    good = next((one.better for one in every(name) if one.better), "")
    if isinstance(base, bool) or isinstance(new, bool):
        return "changed" if good != "true" else "better" if new else "worse"
    if isinstance(base, str) or isinstance(new, str):
        return "better" if good and new == good else "worse" if good and base == good else "changed"
    a, b = number(base), number(new)
    if a is None or b is None or not good:
        return "changed"
    if good.startswith("nearer to "):
        centre = float(good.removeprefix("nearer to "))
        a, b = -abs(a - centre), -abs(b - centre)
    elif good == "lower":
        a, b = -a, -b
    return "worse" if b < a else "better" if b > a else "changed"


#: The fields that decide whether a gradient got worse, the first that says so before the others.
DECIDING = ("verdict", "horizon", "log10_rate")
_LEAST, _SHARE = 1.0, 0.1  # a horizon that moves by a step, or by a tenth, has not moved; nor has a rate by a tenth


def judged(name: str, base: Mapping[str, Any], new: Mapping[str, Any], last_lags: tuple[float, float]) -> str:
    """Whether a deciding field is ``worse``, ``better``, the ``same``, or ``changed`` without a direction.

    A verdict is better where it is neutral. A horizon has moved where it did by more than max(1 step, 10 %) beyond
    its noise; one beyond the last lag is known to exceed ``last_lags``; of an exploding gradient it says nothing. A
    rate has moved where the 95 % intervals do not overlap and it did by more than 10 %; nearer to 0 is better.

    Parameters
    ----------
    name : str
        One of ``DECIDING``.
    base, new : mapping
        Summaries of a gradient.
    last_lags : tuple of float
        The largest lag measured on either side.
    """
    if name == "verdict":
        return _judged_class(base.get(name), new.get(name))
    if name == "horizon":
        return _judged_horizon(base, new, last_lags)
    return _judged_rate(base, new)


def _judged_class(base: Any, new: Any) -> str:
    rank = {"neutral": 1, "vanishing": 0, "exploding": 0}
    if base == new:
        return "same"
    if base not in rank or new not in rank or rank[base] == rank[new]:
        return "changed"
    return "better" if rank[new] > rank[base] else "worse"


def _judged_horizon(base: Mapping[str, Any], new: Mapping[str, Any], last_lags: tuple[float, float]) -> str:
    sides = []
    for side, last in zip((base, new), last_lags, strict=True):
        horizon = number(side.get("horizon"))
        censored = bool(side.get("horizon_censored"))
        sides.append((last if censored and horizon is None else horizon, censored))
    (a, a_censored), (b, b_censored) = sides
    if a == b and a_censored == b_censored:
        return "same"
    if any(side.get("horizon_low") is not None for side in (base, new)):
        return "changed"  # rounding decides where it ends
    if a is None or b is None or "exploding" in (base.get("verdict"), new.get("verdict")):
        return "changed"
    margin = noise_of("horizon", base, new, (1, 1)) + max(_LEAST, _SHARE * max(a, b))
    # What lies beyond the last lag is larger than that lag, by nobody knows how much.
    if b - a > margin and not a_censored:
        return "better"
    if a - b > margin and not b_censored:
        return "worse"
    return "same"


def _judged_rate(base: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    a, b = number(base.get("log10_rate")), number(new.get("log10_rate"))
    if a == b:
        return "same"
    ends = [number(side.get(f"log10_rate_{end}")) for side in (base, new) for end in ("low", "high")]
    if a is None or b is None or None in ends:
        return "changed"
    a_low, a_high, b_low, b_high = (float(end or 0.0) for end in ends)
    overlap = a_low <= b_high and b_low <= a_high
    if overlap or abs(b - a) <= _SHARE * max(abs(a), abs(b)) or abs(a) == abs(b):
        return "same"
    return "better" if abs(b) < abs(a) else "worse"


def noise_of(name: str, base: Mapping[str, Any], new: Mapping[str, Any], batches: tuple[int, int]) -> float:
    """How far two measurements of one thing may differ: 95 % of the difference, from batch spread or intervals.

    For ``log10_norm`` 1.96 √(s₁²/B₁ + s₂²/B₂) with the batch's standard deviations; for what has a 95 % interval
    √(w₁² + w₂²) with the half widths; never less than rounding. A horizon h = log10 ε / rate moves by h·w/|rate| when
    the rate moves by w.
    """
    if name == "horizon":
        moved = [_horizon_moves(side) for side in (base, new)]
        return math.hypot(*moved)
    values = [number(side.get(name)) or 0.0 for side in (base, new)]
    if all(isinstance(plain(side.get(name)), int) for side in (base, new)):
        return 0.0  # a count has no rounding
    size = max(*map(abs, values), 1.0)
    floor = _ROUNDING * size
    if name == "log10_norm":
        spreads = [number(side.get("log10_norm_std")) or 0.0 for side in (base, new)]
        return max(floor, 1.96 * math.sqrt(sum(s * s / b for s, b in zip(spreads, batches, strict=True))))
    ends = {"log10_rate": ("log10_rate_low", "log10_rate_high"), "exponent": ("low", "high")}.get(name)
    if ends is None:
        return floor
    squares = 0.0
    for side in (base, new):
        low, high = number(side.get(ends[0])), number(side.get(ends[1]))
        if low is not None and high is not None:
            squares += ((high - low) / 2) ** 2
    return max(floor, math.sqrt(squares))


def _horizon_moves(side: Mapping[str, Any]) -> float:
    horizon, rate = number(side.get("horizon")), number(side.get("log10_rate"))
    low, high = number(side.get("log10_rate_low")), number(side.get("log10_rate_high"))
    if horizon is None or not rate or low is None or high is None:
        return 0.0
    return horizon * (high - low) / 2 / abs(rate)
