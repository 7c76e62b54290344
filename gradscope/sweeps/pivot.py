"""A sweep as a two-way table: the mean over everything else, with its interval and its count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradscope.errors import UsageError, did_you_mean
from gradscope.records import Report
from gradscope.reports.seed_means import group_means


@dataclass(frozen=True)
class PivotCell:
    """The rows that share the pivot's keys.

    Attributes
    ----------
    keys : tuple
        Values of the pivot's keys.
    mean, low, high : float or None
        Mean of the value and its 95 % interval (Student's t over rows); None without a number, low and high also
        for a single one.
    n : int
        Rows with a number.
    missing : int
        Rows without one: failed points, a horizon that was never reached.
    """

    keys: tuple[Any, ...]
    mean: float | None
    low: float | None
    high: float | None
    n: int
    missing: int


def pivot(report: Report, keys: Sequence[str], value: str, *, result: int = 0) -> list[PivotCell]:
    """Group the rows of a sweep by ``keys`` and average ``value`` over the rest (seeds, usually).

    Raises
    ------
    UsageError
        A key or value that is no column.
    """
    table = report.results[result]
    for name in (*keys, value):
        if name not in table.columns:
            known = ", ".join(table.columns)
            raise UsageError(f"pivot: no column '{name}'.{did_you_mean(name, table.columns)} Known: {known}.")
    rows = list(table.rows())
    sizes: dict[tuple[Any, ...], int] = {}
    for row in rows:
        group = tuple(row[key] for key in keys)
        sizes[group] = sizes.get(group, 0) + 1
    cells = []
    for mean in group_means(rows, keys, value):
        group = tuple(mean[key] for key in keys)
        cells.append(PivotCell(group, mean["mean"], mean["low"], mean["high"], mean["n"], sizes[group] - mean["n"]))
    return cells
