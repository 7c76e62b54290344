"""What a series comes to: first, last, extreme and trend of horizon and rate over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradscope.student import student_quantile

#: Summary name to row name.
_OVER_TRAINING = {"horizon": "horizon", "rate": "log10_rate"}


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The summary of one network's rows, in training order.

    A censored horizon is known only to exceed T, so the fields that would need it are null: ``first`` and ``last``
    where theirs is censored, ``max`` and the trend where any is.
    """
    good = [row for row in rows if row.get("error") is None]
    out: dict[str, Any] = {}
    for name, field in _OVER_TRAINING.items():
        values = [row.get(field) for row in good]
        known = [(row.get("step"), value) for row, value in zip(good, values, strict=True) if value is not None]
        censored = name == "horizon" and any(row.get("horizon_censored") for row in good)
        numbers = [value for _, value in known]
        out[f"{name}_first"] = values[0] if values else None
        out[f"{name}_last"] = values[-1] if values else None
        out[f"{name}_min"] = min(numbers, default=None)
        out[f"{name}_max"] = None if censored else max(numbers, default=None)
        trend = (None, None, None) if censored else _trend(known)
        out |= dict(zip((f"{name}_trend", f"{name}_trend_low", f"{name}_trend_high"), trend, strict=True))
    return {**out, "checkpoints": len(rows), "failed": len(rows) - len(good)}


def _trend(known: Sequence[tuple[Any, Any]]) -> tuple[float | None, float | None, float | None]:
    """Least-squares slope per training step with its 95 % interval; nulls below three different steps."""
    points = [(float(step), float(value)) for step, value in known if step is not None]
    if len({step for step, _ in points}) < 3:
        return None, None, None
    x, y = np.array(points).T
    x = x - x.mean()
    square = float(x @ x)
    slope = float(x @ y) / square
    residual = y - y.mean() - slope * x
    error = float(np.sqrt(residual @ residual / (len(x) - 2) / square)) * student_quantile(len(x) - 2)
    return slope, slope - error, slope + error
