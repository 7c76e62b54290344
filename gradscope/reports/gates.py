"""Gates on raw numbers: ``--expect 'horizon >= 50'`` trips when it is false, ``--fail-on 'horizon < 50'`` when true.

Every outcome states the wanted condition, whichever way it was given. A gate that cannot be decided (a censored
horizon, a number that is missing), or that matches nothing, fails: a gate that passes must mean that somebody looked.
The right side is a number, or another field: ``horizon@step=last >= 0.5 * horizon@step=first``.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradscope.errors import UsageError, did_you_mean
from gradscope.fields import LISTS, SOURCE_FIELDS, every, field, is_text, names
from gradscope.records import GateOutcome, Report, Result, plain
from gradscope.reports.gate_values import Known, is_unchanged, row_value, summary_value
from gradscope.reports.reading import labels

_PATTERN = re.compile(r"^\s*([A-Za-z_]\w*)((?:\s*@[^<>=!]+=[^<>=!]+?)*)\s*(<=|>=|==|!=|<|>)\s*(.+?)\s*$")
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_FIELD = re.compile(r"^(?:([^\s*@]+)\s*\*\s*)?([A-Za-z_]\w*)((?:\s*@[^<>=!]+=[^<>=!]+?)*)$")
_FORM = "NAME[@key=value] OP NUMBER, like 'horizon < 50' or 'log10_norm@lag=100 < -6'"
#: As a selector's value: the first and the last row that hold numbers, in the order of the rows.
_ENDS = ("first", "last")


@dataclass(frozen=True)
class Field:
    """The right side of a gate that compares two fields: ``0.5 * horizon@step=first``."""

    factor: float
    name: str
    selectors: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        times = "" if self.factor == 1.0 else f"{self.factor:g} * "
        return f"{times}{self.name}{_at(self.selectors)}"


@dataclass(frozen=True)
class Gate:
    """A parsed expression, true where the gate trips: ``wanted`` is a number or field, or a word for ``==``, ``!=``."""

    expression: str
    name: str
    selectors: tuple[tuple[str, str], ...]
    operator: str
    wanted: float | bool | str | Field

    def negated(self) -> Gate:
        """The gate that trips where this one does not: how an expectation is read."""
        return replace(self, operator=_OPPOSITE[self.operator])

    @property
    def expected(self) -> str:
        """What must hold for the gate to pass."""
        return f"{self.name}{_at(self.selectors)} {_OPPOSITE[self.operator]} {_as_written(self.wanted)}"


def _at(selectors: Iterable[tuple[str, str]]) -> str:
    return "".join(f"@{key}={value}" for key, value in selectors)


def _as_written(wanted: float | bool | str | Field) -> str:
    if isinstance(wanted, bool):
        return str(wanted).lower()
    return f"{wanted:.17g}" if isinstance(wanted, float) and wanted == int(wanted) else str(wanted)


def parse_gate(expression: str, verb: str | None = None) -> Gate:
    """Parse one expression; a verb tells whether a name it shares with another holds words.

    Raises
    ------
    UsageError
        The form is wrong, the number is none, or an ordering is asked of words.

    >>> parse_gate("log10_norm@lag=100 < -6").selectors
    (('lag', '100'),)
    """
    match = _PATTERN.match(expression)
    if match is None:
        raise UsageError(f"gate '{expression}': wanted {_FORM}.")
    name, at, operator, text = match.groups()
    selectors = _selectors(expression, at)
    words = is_text(name, verb)
    other = None if words else _other_field(expression, text, verb)
    if other is not None:
        return Gate(expression, name, selectors, operator, other)
    wanted = _wanted(text.strip("'\""), words=words)
    if isinstance(wanted, str) and operator not in ("==", "!="):
        known = "; it holds words, so use == or !=" if words else f"; wanted {_FORM}"
        raise UsageError(f"gate '{expression}': '{text}' is not a number{known}.")
    if isinstance(wanted, str) and _is_number(name, verb):
        raise UsageError(f"gate '{expression}': '{text}' is not a number; wanted {_FORM}.")
    if isinstance(wanted, float) and not math.isfinite(wanted):
        raise UsageError(f"gate '{expression}': wanted a finite number, found '{text}'.")
    return Gate(expression, name, selectors, operator, wanted)


def _selectors(expression: str, at: str) -> tuple[tuple[str, str], ...]:
    selectors = []
    for part in re.split(r"[@,]", at)[1:]:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise UsageError(f"gate '{expression}': '@{part.strip()}' is not @key=value; wanted {_FORM}.")
        selectors.append((key, value))
    return tuple(selectors)


def _other_field(expression: str, text: str, verb: str | None) -> Field | None:
    """The right side as a field, where it is written as one, or where the table knows a number by the word."""
    match = _FIELD.match(text)
    if match is None:
        return None
    times, name, at = match.groups()
    known = None if verb is None or text.lower() in ("true", "false") else field(verb, name)
    if times is None and not at and (known is None or not _is_number(name, verb)):
        return None
    factor = 1.0 if times is None else _wanted(times, words=False)
    if not isinstance(factor, float) or not 0 < factor < math.inf:
        raise UsageError(f"gate '{expression}': '{times}' is not a number above 0; wanted NAME OP [NUMBER *] NAME.")
    return Field(factor, name, _selectors(expression, at))


def _wanted(text: str, *, words: bool) -> float | bool | str:
    if words:
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _is_number(name: str, verb: str | None) -> bool:
    """Whether the table knows a field of that name as a number, in this verb or in any."""
    found = [one for one in (field(verb, name) if verb else None, *every(name)) if one is not None]
    return bool(found) and found[0].type in ("number", "integer", "count", "boolean")


def check_names(expressions: Iterable[str], verb: str, *, also: Iterable[str] = (), keys: Iterable[str] = ()) -> None:
    """Refuse an expression that names nothing the verb produces, before anything is computed.

    Parameters
    ----------
    also : iterable of str
        Further names that are known (a stored result may carry additions).
    keys : iterable of str
        Source keys, which select rows; a sweep's rows hold them as fields too.

    Raises
    ------
    UsageError
        With the closest known name.
    """
    fields = {*names(verb), *also, *(keys if verb == "sweep" else ())}
    selectors = {*fields, *SOURCE_FIELDS, *keys}
    for expression in expressions:
        gate = parse_gate(expression, verb)
        for side in (gate, gate.wanted) if isinstance(gate.wanted, Field) else (gate,):
            if side.name in LISTS:
                raise UsageError(f"gate '{expression}': {side.name} is a list; a gate compares one number.")
            if side.name not in fields:
                offer = did_you_mean(side.name, fields) or f" Known: {', '.join(sorted(fields - LISTS))}."
                raise UsageError(f"gate '{expression}': {verb} has no '{side.name}'.{offer}")
            if side is not gate and is_text(side.name, verb):
                raise UsageError(f"gate '{expression}': {side.name} holds words; a number is compared with a number.")
            for key, _ in side.selectors:
                if key not in selectors:
                    offer = did_you_mean(key, selectors) or f" Known: {', '.join(sorted(selectors - LISTS))}."
                    raise UsageError(f"gate '{expression}': {verb} has no key '{key}'.{offer}")


def evaluate(
    report: Report, fail_on: Sequence[str] = (), warn_on: Sequence[str] = (), expect: Sequence[str] = ()
) -> tuple[GateOutcome, ...]:
    """Evaluate every gate on every source.

    Parameters
    ----------
    fail_on, warn_on : sequence of str
        A gate trips (``passed`` is False) where its expression is true, undecidable, or matches nothing.
    expect : sequence of str
        These trip where the expression is false, undecidable, or matches nothing.

    Returns
    -------
    tuple of GateOutcome
        Expression by expression, source by source.

    Raises
    ------
    UsageError
        An expression is malformed or names nothing that is known.
    """
    carried = {name for result in report.results for name in (*result.columns, *result.summary)}
    check_names([*expect, *fail_on, *warn_on], report.verb, also=carried)
    known_as = labels(report)
    outcomes: list[GateOutcome] = []
    for option, expressions in (("--expect", expect), ("--fail-on", fail_on), ("--warn-on", warn_on)):
        for expression in expressions:
            gate = parse_gate(expression, report.verb)
            gate = gate.negated() if option == "--expect" else gate
            here = [
                _outcome(report, gate, option, result, name)
                for result, name in zip(report.results, known_as, strict=True)
                if _source_matches(gate, result, name)
            ]
            if not here:
                everything = ", ".join(known_as) or "none"
                said = f"it matches no source (sources: {everything})"
                here = [_tripped(report, gate, option, None, "", said)]
            outcomes += here
    return tuple(outcomes)


def _source_matches(gate: Gate | Field, result: Result, name: str) -> bool:
    for key, value in gate.selectors:
        if key in result.columns:
            continue
        if key in ("source", "name"):
            if value not in (name, str(result.source.get("name"))):
                return False
        elif not same_value(result.source.get(key, result.settings.get(key)), value):
            return False
    return True


def same_value(found: Any, text: str) -> bool:
    """Whether a record's value is the one written as ``text`` (numbers as numbers, words as words)."""
    found = plain(found)
    if isinstance(found, bool):
        return text.lower() == str(found).lower()
    if isinstance(found, int | float):
        try:
            return float(text) == float(found)
        except ValueError:
            return False
    return found is not None and str(found) == text


def _level(option: str) -> str:
    return "warn" if option == "--warn-on" else "fail"


def _tripped(report: Report, gate: Gate, option: str, found: Any, source: str, said: str) -> GateOutcome:
    message = _message(report, gate, option, source, said)
    return GateOutcome(gate.expression, _level(option), False, found, source, message, gate.expected)


def _outcome(report: Report, gate: Gate, option: str, result: Result, name: str) -> GateOutcome:
    found, where = _values(result, gate)
    if not found and is_unchanged(result, gate.name, dict(gate.selectors)):
        found, where = [Known(0.0, 0.0, raw=0)], [""]
    if not found:
        said = f"expected {gate.expected}, but it matches nothing here (no such row or number in this result)"
        return _tripped(report, gate, option, None, name, said)
    wanted: float | bool | str | Known
    if isinstance(gate.wanted, Field):
        others = _values(result, gate.wanted)[0]
        if len(others) != 1:
            said = f"expected {gate.expected}, but {gate.wanted} is {len(others) or 'no'} numbers here, not one"
            return _tripped(report, gate, option, None, name, said)
        wanted = others[0].times(gate.wanted.factor)
    else:
        wanted = gate.wanted
    verdicts = [False if value.unchanged else value.compare(gate.operator, wanted) for value in found]
    tripped = [i for i, verdict in enumerate(verdicts) if verdict is not False]
    if not tripped:
        shown = _farthest(found, gate)
        return GateOutcome(gate.expression, _level(option), True, found[shown].shown(), name, wanted=gate.expected)
    certain = [i for i in tripped if verdicts[i] is True]
    shown = certain[_farthest([found[i] for i in certain], gate)] if certain else tripped[0]
    value = found[shown]
    at = f" at {where[shown]}" if where[shown] else ""
    more = f" ({len(certain)} of {len(found)} rows trip)" if len(found) > 1 and certain else ""
    advice = value.advice or (wanted.advice if isinstance(wanted, Known) else "")
    undecided = "" if certain else f", which does not decide it{advice}"
    against = f" against {wanted.describe()}" if isinstance(wanted, Known) else ""
    said = f"expected {gate.expected}, found {value.describe()}{at}{against}{more}{undecided}"
    return _tripped(report, gate, option, value.shown(), name, said)


def _values(result: Result, asked: Gate | Field) -> tuple[list[Known], list[str]]:
    """What a name and its selectors stand for in a result: numbers, and the rows that they are from."""
    row_keys = [(key, value) for key, value in asked.selectors if key in result.columns]
    if asked.name in result.summary and not row_keys:
        return [summary_value(result, asked.name)], [""]
    if asked.name in result.columns:
        rows = _matching_rows(result, row_keys)
        return [row_value(result, asked.name, row) for row in rows], [_row_name(result, row) for row in rows]
    return [], []


def _matching_rows(result: Result, keys: Sequence[tuple[str, str]]) -> list[int]:
    """Rows that all keys select; ``first`` and ``last`` are ends of what the other keys leave, without failed rows."""
    plainly = [(key, value) for key, value in keys if value not in _ENDS]
    rows = [i for i in range(result.n_rows) if all(same_value(result.columns[k][i], value) for k, value in plainly)]
    errors = result.columns.get("error")
    for _, end in (pair for pair in keys if pair[1] in _ENDS):
        sound = [i for i in rows if errors is None or plain(errors[i]) is None]
        rows = sound[:1] if end == "first" else sound[-1:]
    return rows


def _row_name(result: Result, row: int) -> str:
    if "field" in result.columns:
        return f"{result.columns['field'][row]} ({result.columns['where'][row]})"
    for key in ("lag", "index", "param", "id", "module", "step"):
        if key in result.columns:
            value = plain(result.columns[key][row])
            return f"{key} {value}"
    return f"row {row}"


def _order(value: Known, gate: Gate) -> float:
    middle = value.low if math.isfinite(value.low) else value.high
    return -middle if gate.operator in ("<", "<=") else middle


def _farthest(values: Sequence[Known], gate: Gate) -> int:
    return max(range(len(values)), key=lambda i: _order(values[i], gate))


def _message(report: Report, gate: Gate, option: str, source: str, said: str) -> str:
    command = report.command_line
    if gate.expression not in report.command and not report.is_python_call:
        command += f" {shlex.join([option, gate.expression])}"
    on = f" on {source}" if source else ""
    return f"{option} '{gate.expression}'{on}: {said}.\n  reproduce: {command}"
