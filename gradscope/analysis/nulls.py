"""What is no finite number is null: None in a list or a summary, NaN in a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradscope.jacobians.step_jacobian import Array


def number_or_none(value: Any) -> float | None:
    """One number; None for infinity and NaN."""
    number = float(value)
    return number if np.isfinite(number) else None


def nulls(row: Sequence[float] | Array) -> list[float | None]:
    """Numbers with None for what is not one."""
    return [number_or_none(value) for value in row]


def finite(values: Array) -> Array:
    """A column with NaN for infinities."""
    return np.where(np.isfinite(values), values, np.nan)
