"""Means over seeds with their 95 % interval, for the points of a sweep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradscope.reports.reading import number

# Student's t, 97.5 % quantile, for 1 to 30 degrees of freedom (any statistics textbook; tests hold it against SciPy).
_T975 = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
    2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
    2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
)  # fmt: skip


class AtLeast(int):
    """A number that is known from below only: a censored horizon exceeds it."""

    def __str__(self) -> str:
        return f"> {int(self)}"


def t_quantile(freedom: int) -> float:
    """Student's t, 97.5 % quantile (beyond 30 degrees of freedom by its expansion about the normal one)."""
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = 1.959963984540054
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


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
            half = t_quantile(n - 1) * spread / math.sqrt(n)
            low, high = mean - half, mean + half
        out.append(
            {
                **dict(zip(keys, group_key, strict=True)),
                "n": n,
                "mean": mean,
                "low": low,
                "high": high,
                "at_least": group_key in bounded,
            }
        )
    return out
