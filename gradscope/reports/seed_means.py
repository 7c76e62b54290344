"""Means over seeds with their 95 % interval, for the points of a sweep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradscope.reports.reading import number
from gradscope.student import student_quantile


class AtLeast(int):
    """A number that is known from below only: a censored horizon exceeds it."""

    def __str__(self) -> str:
        return f"> {int(self)}"


def group_means(rows: Iterable[Mapping[str, Any]], keys: Sequence[str], value: str) -> list[dict[str, Any]]:
    """Mean of ``value`` over all rows that share ``keys``, in order of first appearance.

    Returns
    -------
    list of dict
        The keys, ``n`` (rows that have a number), ``mean``, ``low``, ``high`` (None for fewer than two), ``at_least``:
        whether one of them is a lower bound, so that the mean is one too, and has no interval.
    """
    groups: dict[tuple[Any, ...], list[float]] = {}
    bounded: set[tuple[Any, ...]] = set()
    for row in rows:
        found, place = number(row.get(value)), tuple(row.get(key) for key in keys)
        group = groups.setdefault(place, [])
        if isinstance(row.get(value), AtLeast):
            bounded.add(place)
        if found is not None:
            group.append(found)
    out = []
    for group_key, values in groups.items():
        n = len(values)
        mean = math.fsum(values) / n if n else None
        low = high = None
        if mean is not None and n > 1 and group_key not in bounded:
            spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
            half = student_quantile(n - 1) * spread / math.sqrt(n)
            low, high = mean - half, mean + half
        about = {"n": n, "mean": mean, "low": low, "high": high, "at_least": group_key in bounded}
        out.append({**dict(zip(keys, group_key, strict=True)), **about})
    return out
