"""What a number in a record is known to be: exact, exactly zero (log10 = -inf), beyond a limit, or nothing at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gradscope.fields import every
from gradscope.records import Result, plain
from gradscope.reports.reading import has, last_measured, number

# A factor below what float64 holds is below about 1e-308; the norms of the other factors are not counted against it.
_UNDERFLOW = -300.0
# Where a status says this, a null stands for what nobody can know, not for a zero.
_UNKNOWN = ("underflow", "nonfinite")


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
    unchanged: bool = False  # a difference of nothing, which neither satisfies nor fails a gate

    def times(self, factor: float) -> Known:
        """The value multiplied by a number above 0."""
        if factor == 1.0 or self.raw is None:
            note = f"{factor:g} * ({self.note})" if self.note and factor != 1.0 else self.note
            return replace(self, low=factor * self.low, high=factor * self.high, note=note)
        return replace(self, low=factor * self.low, high=factor * self.high, raw=factor * self.raw)

    def compare(self, operator: str, wanted: float | bool | str | Known) -> bool | None:
        """Whether ``value OP wanted``; None where what is known does not decide it."""
        if isinstance(wanted, str):
            return None if self.text is None else (self.text == wanted) is (operator == "==")
        other = wanted if isinstance(wanted, Known) else Known(float(wanted), float(wanted))
        if any(math.isnan(end) for end in (self.low, self.high, other.low, other.high)):
            return None
        if operator in (">=", ">", "!="):
            opposite = self.compare({">=": "<", ">": "<=", "!=": "=="}[operator], other)
            return None if opposite is None else not opposite
        # At an open end the value itself is never met.
        below = self.high < other.low or (other.open_low and self.high == other.low)
        above = self.low > other.high or (self.open_low and self.low == other.high)
        if operator == "<":
            return True if below else False if self.low >= other.high else None
        if operator == "<=":
            return True if below or self.high <= other.low else False if above else None
        if self.low == self.high and other.low == other.high:
            return self.low == other.low
        return False if below or above else None

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
    if _is_open(name, result.summary):
        return _left_open(name, value, result.summary)
    if value is None and _is_censored(name, result.summary):
        return _beyond(last_measured(result))
    if value is not None:
        return _exact(value) if isinstance(value, int | float | str) else _nothing("a list, not a number")
    status = {str(word) for word in result.columns.get("status", ())}
    if "nonfinite" in status:
        return _nothing("no value (nonfinite rows)")
    if name in ("sum", "mean_log_det") and "minus_infinity" in status:
        return _zero("-inf (rank-deficient directions)")
    if name == "max" and status == {"minus_infinity"}:
        return _zero("-inf (every direction is rank-deficient)")
    return _nothing(_why_null(name))


def _why_null(name: str) -> str:
    """No value, and the reason that the field table gives for a null."""
    reasons = list(dict.fromkeys(one.null for one in every(name) if one.null))
    return f"no value ({reasons[0]})" if len(reasons) == 1 else "no value"


#: What rows of status ``doubtful`` may leave open: the summary then holds NAME_low, and NAME_high unless beyond T.
OPEN = ("horizon", "horizon_h", "log10_peak")
_OPEN_WITH = {"horizon_dip": "horizon", "peak_lag": "log10_peak"}


#: The names of those ends.
ENDS = frozenset(f"{name}_{end}" for name in OPEN for end in ("low", "high"))


def _is_open(name: str, values: Mapping[str, Any]) -> bool:
    return (name in OPEN or name in _OPEN_WITH) and plain(values.get(f"{_OPEN_WITH.get(name, name)}_low")) is not None


def _left_open(name: str, value: Any, values: Mapping[str, Any]) -> Known:
    """A number between the ends that rounding leaves it."""
    if name in _OPEN_WITH:
        return _nothing(f"{value} ({_DOUBT})")
    low, high = (number(plain(values.get(f"{name}_{end}"))) for end in ("low", "high"))
    assert low is not None
    found = "beyond the last lag" if value is None else f"{value}"
    upper = "more than the last lag" if high is None else f"{high:g}"
    note = f"{found} (between {low:g} and {upper}: {_DOUBT})"
    return Known(low, math.inf if high is None else high, note=note)


_DOUBT = "rounding decides rows of status doubtful"


def _is_censored(name: str, values: Mapping[str, Any]) -> bool:
    return bool(values.get(f"{name}_censored")) or (name == "reach_now" and values.get("reach_now_censored", True))


def _beyond(limit: float) -> Known:
    return Known(limit, math.inf, True, note=f"> {limit:g}", advice="; raise --steps")


def row_value(result: Result, name: str, row: int) -> Known:
    """What one number of one row is known to be: an exact zero is below everything, a nonfinite one is nothing."""
    value = plain(result.columns[name][row])
    if name in DOUBTED and "status" in result.columns and result.columns["status"][row] == "doubtful":
        return _doubtful(result, name, row, value)
    if _is_open(name, row_values := {key: plain(values[row]) for key, values in result.columns.items() if key in ENDS}):
        return _left_open(name, value, row_values)
    if isinstance(value, int | float | str):
        nothing_changed = name in CHANGES and "field" in result.columns and value == 0
        return replace(_exact(value), unchanged=nothing_changed)
    if value is not None:
        return _nothing("a list, not a number")
    if "field" in result.columns:
        return change_value(name, {key: plain(values[row]) for key, values in result.columns.items()})
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
    may_be_zero = any(one.null.startswith("exactly zero") for one in every(name)) and status not in _UNKNOWN
    if may_be_zero and has(result, name) and not last_copy:
        return _zero()  # contract: a null elsewhere is an exact zero where the column has a meaning
    if _is_censored(name, {key: plain(values[row]) for key, values in result.columns.items() if "horizon" in key}):
        return _beyond((number(result.columns["T"][row]) or 0.0) if "T" in result.columns else last_measured(result))
    return _nothing(_why_null(name) if status in ("ok", "zero") else f"no value (status {status})")


#: What the status ``doubtful`` of a row speaks of.
DOUBTED = ("log10_norm", "log10_norm_h", "log10_norm_std", "stable_rank", "rank")


def _doubtful(result: Result, name: str, row: int, value: Any) -> Known:
    """A number whose digits rounding may have made up: a norm is known to be no larger than it or that rounding."""
    note = f"{value} (doubtful: rounding may have made it up)"
    lag, n = (number(result.columns["lag"][row]), number(result.source.get("state_size")))
    path = number(plain(result.columns["log10_path_bound"][row])) if "log10_path_bound" in result.columns else None
    if not name.startswith("log10_norm") or name == "log10_norm_std" or None in (lag, n, path):
        return _nothing(note)
    assert lag is not None
    assert n is not None
    assert path is not None
    computed = number(value)
    # numpy is loaded for a doubtful row only: reading a report does without.
    from gradscope.log_domain import log10_at_most, log10_rounding

    top = log10_at_most(math.nan if computed is None else computed, log10_rounding(lag, int(n), path))
    return Known(-math.inf, float(top), note=note)


#: Fields of ``diff`` that say how much changed.
CHANGES = ("change", "change_percent", "size")


def change_value(name: str, row: Mapping[str, Any]) -> Known:
    """What is known of a change that is no number: a horizon beyond the last lag changed by more than to that lag."""
    base, new = (_horizon(row[side]) for side in ("base", "new"))
    if name not in ("change", "change_percent") or row["field"] not in HORIZONS or base is None or new is None:
        return _nothing("no value (a side is no number)")
    low, high = new.low - base.high, new.high - base.low
    if name == "change_percent":
        if base.low <= 0.0:
            return _nothing("no value (of nothing there is no percentage)")
        low, high = (100.0 * (end / size - 1.0) for end, size in ((new.low, base.high), (new.high, base.low)))
    if math.isnan(low) or math.isnan(high) or (low == -math.inf and high == math.inf):
        return _nothing("no value (both lie beyond the last lag)", "; raise --steps")
    unit = "%" if name == "change_percent" else ""
    # Which ends are open: an end at a limit that is only approached is never reached.
    note = f"> {low:g}{unit}" if high == math.inf else f"< {high:g}{unit}"
    return Known(low, high if high == math.inf else math.nextafter(high, -math.inf), low > -math.inf, note=note,
                 advice="; raise --steps")  # fmt: skip


HORIZONS = ("horizon", "horizon_h")


def _horizon(value: Any) -> Known | None:
    """A horizon as ``diff`` writes it: a number, or ``> T``."""
    if isinstance(value, str) and value.startswith("> "):
        limit = number(float(value[2:])) if value[2:].replace(".", "", 1).isdigit() else None
        return None if limit is None else Known(limit, math.inf, True)
    return None if number(value) is None else _exact(value)


def is_unchanged(result: Result, name: str, selectors: Mapping[str, str]) -> bool:
    """Whether a gate on a change speaks of a field that both sides hold and that changed nowhere.

    ``diff`` writes a row for every summary field, and for other rows only where they changed.
    """
    asked, compared = selectors.get("field"), result.settings.get("fields", ())
    places = result.settings.get("places")
    known = "where" not in selectors or (places is not None and selectors["where"] in places)
    return name in CHANGES and known and (asked is None or asked in compared) and bool(compared)
