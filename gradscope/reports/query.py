"""Filter, sort and pick what a stored result shows: ``--where 'lag >= 50'``, ``--sort -rank``, ``--columns lag``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradscope.errors import UsageError, did_you_mean
from gradscope.records import Report, Result, plain
from gradscope.reports.gates import same_value

_PATTERN = re.compile(r"^\s*([A-Za-z_]\w*)\s*(<=|>=|==|!=|<|>|=)\s*(.+?)\s*$")
_ORDERINGS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """A parsed ``--where``: a name, an operator, and the value as written."""

    expression: str
    name: str
    operator: str
    value: str

    def holds(self, found: Any) -> bool:
        """Whether a value fulfils it; a null fulfils only ``== null``, and ``!=`` anything else."""
        found = plain(found)
        if self.operator in ("==", "!="):
            same = found is None if self.value == "null" else same_value(found, self.value)
            return same is (self.operator == "==")
        if found is None or isinstance(found, str | list | dict):
            return False
        return _ORDERINGS[self.operator](float(found), float(self.value))


def parse_condition(expression: str) -> Condition:
    """Parse ``NAME OP VALUE``.

    Raises
    ------
    UsageError
        The form is wrong, or an ordering is asked of a word.
    """
    match = _PATTERN.match(expression)
    if match is None:
        raise UsageError(f"--where '{expression}': wanted NAME OP VALUE, like 'lag >= 50' or 'status == zero'.")
    name, compare, value = match.groups()
    value = value.strip("'\"")
    if compare in _ORDERINGS:
        try:
            float(value)
        except ValueError:
            raise UsageError(f"--where '{expression}': '{value}' is not a number; words take == or !=.") from None
    return Condition(expression, name, "==" if compare == "=" else compare, value)


def select(
    report: Report, *, where: Sequence[str] = (), sort: Sequence[str] = (), columns: Sequence[str] = ()
) -> Report:
    """Keep the rows that fulfil every condition, in the order asked for, with the columns asked for.

    Parameters
    ----------
    where : sequence of str
        Conditions on columns; a name that is no column is looked up in the summary and the source, and keeps or
        drops whole results.
    sort : sequence of str
        Column names, the most important first, ``-`` in front for descending; nulls come last.

    Raises
    ------
    UsageError
        A name that no result has.
    """
    conditions = [parse_condition(expression) for expression in where]
    rows = {name for result in report.results for name in result.columns}
    whole = {name for result in report.results for name in (*result.summary, *result.source)}
    for condition in conditions:
        _check("--where", condition.name, rows | whole)
    for name in sort:
        _check("--sort", name.lstrip("-"), rows)
    for name in columns:
        _check("--columns", name, rows)
    asked = {"where": list(where), "sort": list(sort), "columns": list(columns)}
    noted = {key: value for key, value in asked.items() if value}
    if not noted:
        return report
    kept = [_selected(r, conditions, sort, columns, noted) for r in report.results if _whole_holds(r, conditions)]
    return replace(report, results=tuple(kept))


def _check(option: str, name: str, known: set[str]) -> None:
    if name not in known:
        offer = did_you_mean(name, known) or f" Known: {', '.join(sorted(known))}."
        raise UsageError(f"{option}: this result has no '{name}'.{offer}")


def _whole_holds(result: Result, conditions: Sequence[Condition]) -> bool:
    return all(
        condition.holds(result.summary.get(condition.name, result.source.get(condition.name)))
        for condition in conditions
        if condition.name not in result.columns
    )


def _selected(
    result: Result,
    conditions: Sequence[Condition],
    sort: Sequence[str],
    columns: Sequence[str],
    noted: dict[str, list[str]],
) -> Result:
    here = [condition for condition in conditions if condition.name in result.columns]
    kept = [i for i in range(result.n_rows) if all(c.holds(result.columns[c.name][i]) for c in here)]
    for name in reversed(sort):
        if name.lstrip("-") in result.columns:
            kept = _sorted(kept, result.columns[name.lstrip("-")], descending=name.startswith("-"))
    names = [name for name in columns if name in result.columns] or list(result.columns)
    chosen = {name: [plain(result.columns[name][i]) for i in kept] for name in names}
    return replace(result, columns=chosen, settings={**result.settings, **noted})


def _sorted(rows: list[int], values: Any, *, descending: bool) -> list[int]:
    plain_values = {i: plain(values[i]) for i in rows}
    nulls = [i for i in rows if plain_values[i] is None]
    words = [i for i in rows if isinstance(plain_values[i], str | list | dict)]
    numbers = [i for i in rows if i not in {*nulls, *words}]
    numbers.sort(key=lambda i: plain_values[i], reverse=descending)
    words.sort(key=lambda i: str(plain_values[i]), reverse=descending)
    return [*numbers, *words, *nulls]


def side_by_side(stored: Sequence[Report]) -> Report:
    """Results of one verb as one report, as if measured together.

    Raises
    ------
    UsageError
        Several verbs: one report is of one.
    """
    verbs = list(dict.fromkeys(report.verb for report in stored))
    if len(verbs) > 1:
        raise UsageError(f"results of {' and '.join(verbs)} do not go into one report: show them one verb at a time.")
    if len(stored) == 1:
        return stored[0]
    return replace(stored[0], results=tuple(r for report in stored for r in report.results), gates=())


def pivot(report: Report, *, keys: tuple[str, str], value: str | None = None) -> Report:
    """Ask a sweep's view for the map of ``value`` over two varied keys.

    Raises
    ------
    UsageError
        A key or value that no result has.
    """
    known = {name for result in report.results for name in result.columns}
    for name in (*keys, *([value] if value else ())):
        _check("--pivot" if name in keys else "--value", name, known)
    asked = {"pivot": list(keys), **({"value": value} if value else {})}
    results = tuple(replace(result, settings={**result.settings, **asked}) for result in report.results)
    return replace(report, results=results)
