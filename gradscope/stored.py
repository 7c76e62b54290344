"""Stored results in Python: read them, judge them, look at a part of them, compare two."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gradscope.errors import UsageError
from gradscope.keywords import known_names_only
from gradscope.records import Report

if TYPE_CHECKING:
    from gradscope.sources.layer_weights import WeightFile

#: A report, or the file that one was saved to (.json, .jsonl).
StoredLike: TypeAlias = Report | str | os.PathLike[str]


def load(path: str | os.PathLike[str]) -> WeightFile | Report:
    """Read a stored result (``.json``, ``.jsonl``), or every recurrent layer of a weights file.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Report or WeightFile
        By the suffix.

    Raises
    ------
    InputError
        The file cannot be read, or is no such thing.
    """
    path = Path(path)
    if path.suffix.lower() in (".json", ".jsonl"):
        from gradscope.reports.json_report import read_report

        return read_report(path)
    from gradscope.sources.files import read_weights

    return read_weights(path)


def check(report: Report, *expressions: str, warn: Sequence[str] = (), expect: Sequence[str] = ()) -> Report:
    """Judge a report by gates, as ``--fail-on``, ``--warn-on`` and ``--expect`` do; the outcome is in ``gates``.

    Parameters
    ----------
    report : Report
    *expressions : str
        Fail where true: ``"horizon < 50"``.
    warn, expect : sequence of str
        Warn where true; fail where not true.

    Returns
    -------
    Report
        The same with ``gates``.

    Raises
    ------
    UsageError
        An expression that is none.
    """
    from gradscope.reports.gates import evaluate

    return replace(report, gates=evaluate(report, expressions, tuple(warn), tuple(expect)))


@known_names_only
def diff(base: StoredLike, new: StoredLike, *, command: Sequence[str] | None = None) -> Report:
    """Compare two results of one verb: what is worse, what is better, what is only noise.

    Parameters
    ----------
    base, new : Report, str or path
        Measured, or saved as .json or .jsonl.
    command : sequence of str, optional
        What the report says of how it was made.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        Results of different verbs.
    InputError
        A file that is no stored result.
    """
    from gradscope.reports.diff import diff as compare

    names = [_text(one) for one in (base, new)]
    words = ("diff", *map(str, names)) if None not in names else ("gradscope.diff(base, new)",)
    return compare(stored(base), stored(new), command=words if command is None else command)


@known_names_only
def show(
    *results: StoredLike,
    where: str | Sequence[str] = (),
    sort: str | Sequence[str] = (),
    columns: str | Sequence[str] = (),
    pivot: str | Sequence[str] = (),
    value: str | None = None,
) -> Report:
    """Stored results again, side by side as if measured together: some rows, some columns, in another order.

    Parameters
    ----------
    *results : Report, str or path
        Of one verb.
    where : str or sequence of str
        Conditions that rows keep: ``"lag >= 50"``.
    sort, columns : str or sequence of str
        Names, ``"-"`` in front for descending order; as a list or ``"lag,log10_norm"``.
    pivot : str or sequence of str, optional
        Two varied keys of a sweep, for a map of ``value``.
    value : str, optional

    Returns
    -------
    Report
        Its ``save`` writes any format, :func:`check` judges it.

    Raises
    ------
    UsageError
        Results of different verbs, or a name that no result has.
    InputError
        A file that is no stored result.
    """
    from gradscope.reports.query import pivot as as_map
    from gradscope.reports.query import select, side_by_side

    if not results:
        raise UsageError("show needs at least one stored result, for example: gradscope.show('result.json')")
    report = side_by_side([stored(one) for one in results])
    conditions = (where,) if isinstance(where, str) else tuple(where)
    report = select(report, where=conditions, sort=_names(sort), columns=_names(columns))
    keys = _names(pivot)
    if keys:
        if len(keys) != 2:
            raise UsageError(f"pivot={','.join(keys)}: wanted two keys.")
        report = as_map(report, keys=(keys[0], keys[1]), value=value)
    return report


def stored(one: StoredLike) -> Report:
    """The report itself, or the one that a file holds.

    Raises
    ------
    UsageError
        Neither a report nor a path.
    InputError
        A file that is no stored result.
    """
    if isinstance(one, Report):
        return one
    if not isinstance(one, str | os.PathLike):
        raise UsageError(f"wanted a report, or the path of a stored one, got {type(one).__name__}.")
    from gradscope.reports.json_report import read_report

    return read_report(os.fspath(one))


def _text(one: StoredLike) -> str | None:
    return os.fspath(one) if isinstance(one, str | os.PathLike) else None


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(part.strip() for part in parts if part.strip())
