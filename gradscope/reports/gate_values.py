"""What a number in a record is known to be: exact, exactly zero (log10 = -inf), beyond a limit, or nothing at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gradscope.records import Result, plain
from gradscope.reports.reading import has, number

# A factor below what float64 holds is below about 1e-308; the norms of the other factors are not counted against it.
_UNDERFLOW = -300.0


@dataclass(frozen=True)
class Known:
    """A value known to lie in [low, high] (open at a limit that is only approached); NaN limits mean no value.

    ``text`` stands for words, ``note`` for what a person should be told instead of a number.
    """

    low: float = math.nan
    high: float = math.nan
    open_low: bool = False
    text: str | None = None
    note: str = ""
    advice: str = ""
    raw: Any = None

    def compare(self, operator: str, wanted: float | bool | str) -> bool | None:
        """Whether ``value OP wanted``; None where what is known does not decide it."""
        if isinstance(wanted, str):
            return None if self.text is None else (self.text == wanted) is (operator == "==")
        wanted = float(wanted)
        if math.isnan(self.low) or math.isnan(self.high):
            return None
        if operator in (">=", ">", "!="):
            opposite = self.compare({">=": "<", ">": "<=", "!=": "=="}[operator], wanted)
            return None if opposite is None else not opposite
        if operator == "<":
            return True if self.high < wanted else False if self.low >= wanted else None
        if operator == "<=":
            above = self.low > wanted or (self.open_low and self.low >= wanted)
            return True if self.high <= wanted else False if above else None
        if self.low == self.high:
            return self.low == wanted
        outside = self.high < wanted or self.low > wanted or (self.open_low and self.low == wanted)
        return False if outside else None

    def shown(self) -> float | int | str | None:
        """The value as it stands in the gate's record."""
        return self.note or None if self.raw is None else self.raw

    def describe(self) -> str:
        """The value in a sentence, at full precision."""
        if self.note:
            return self.note
        if isinstance(self.raw, bool):
            return str(self.raw).lower()
        return "no value" if self.raw is None else str(self.raw)


def _exact(value: Any) -> Known:
    if isinstance(value, str):
        return Known(text=value, raw=value)
    return Known(float(value), float(value), raw=value)


def _nothing(reason: str, advice: str = "") -> Known:
    return Known(note=reason, advice=advice)


def _zero(note: str = "zero") -> Known:
    return Known(-math.inf, -math.inf, note=note)


def summary_value(result: Result, name: str) -> Known:
    """What one field of the summary is known to be.

    A censored horizon exceeds the last lag; one that is null and not censored lies before lag 0; Lyapunov sums over
    directions that are lost at once are -inf.
    """
    value = plain(result.summary[name])
    if name == "horizon" and result.summary.get("horizon_censored"):
        steps = number(result.settings.get("steps"))
        last = float(max(result.columns["lag"], default=0)) if "lag" in result.columns else 0.0
        limit = last if steps is None else steps
        return Known(limit, math.inf, True, note=f"> {limit:g}", advice="; raise --steps")
    if value is not None:
        return _exact(value) if isinstance(value, int | float | str) else _nothing("a list, not a number")
    status = {str(word) for word in result.columns.get("status", ())}
    if "nonfinite" in status:
        return _nothing("no value (nonfinite rows)")
    if name == "horizon":
        return Known(-math.inf, -math.inf, note="none (below epsilon at every lag)")
    if name in ("sum", "mean_log_det") and "minus_infinity" in status:
        return _zero("-inf (rank-deficient directions)")
    if name == "max" and status == {"minus_infinity"}:
        return _zero("-inf (every direction is rank-deficient)")
    return _nothing("no value")


def row_value(result: Result, name: str, row: int) -> Known:
    """What one number of one row is known to be: an exact zero is below everything, a nonfinite one is nothing."""
    value = plain(result.columns[name][row])
    if isinstance(value, int | float | str):
        return _exact(value)
    if value is not None:
        return _nothing("a list, not a number")
    status = str(result.columns["status"][row]) if "status" in result.columns else "ok"
    if name == "exponent" and status == "minus_infinity":
        return _zero("-inf (rank-deficient direction)")
    if name == "log10_norm":
        if status == "zero":
            return _zero()
        if status == "underflow":
            note = "underflow (below what float64 holds)"
            return Known(-math.inf, _UNDERFLOW, note=note)
        return _nothing(f"no value (status {status})")
    # At k = T there is no copy of W_hh left: null for want of meaning, not an exact zero.
    lag, steps = number(result.columns["lag"][row]) if "lag" in result.columns else None, result.settings.get("steps")
    last_copy = name == "log10_dloss_dweight" and lag is not None and lag == number(steps)
    if name.startswith("log10_") and not name.endswith("_std") and has(result, name) and not last_copy:
        return _zero()  # contract: a null elsewhere is an exact zero where the column has a meaning
    if name == "horizon" and plain(result.columns.get("horizon_censored", [None] * (row + 1))[row]):
        steps = number(result.columns["T"][row]) if "T" in result.columns else number(result.settings.get("steps"))
        limit = 0.0 if steps is None else steps
        return Known(limit, math.inf, True, note=f"> {limit:g}", advice="; raise --steps")
    return _nothing("no value")
