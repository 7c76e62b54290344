"""The tightest of the proved bounds at each lag."""

from __future__ import annotations

from collections.abc import Sequence

from gradscope.fields.gradients_fields import BOUNDS
from gradscope.records import Result
from gradscope.reports.document import Number
from gradscope.reports.numbers import is_null
from gradscope.reports.reading import has, picked


def held_bounds(result: Result) -> list[str]:
    """The bounds that a result has numbers for."""
    return [name for name in BOUNDS if has(result, name)]


def tightest_bound(result: Result, rows: Sequence[int]) -> list[Number]:
    """The least bound at each row; every one of them is true, so the least is too."""
    beside = zip(*(picked(result, name, rows) for name in held_bounds(result)), strict=True)
    return [min((value for value in values if not is_null(value)), default=None) for values in beside]


def tightest_meaning(result: Result) -> str:
    """What the tightest bound speaks of."""
    every = held_bounds(result) == ["log10_bound"]
    return f"the tightest proved {'for every input' if every else 'along this trajectory'}"
