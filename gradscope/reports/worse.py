"""Which way is worse, for every number a report carries, and how large its noise is."""

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
