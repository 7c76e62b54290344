"""Stored results in Python: read them, judge them, look at a part of them, compare two."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gradscope.errors import UsageError
from gradscope.keywords import known_names_only
from gradscope.records import Report

if TYPE_CHECKING:
    from gradscope.sources.layer_weights import WeightFile
    from gradscope.sources.live import SourceLike

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
def diff(
    base: StoredLike | SourceLike,
    new: StoredLike | SourceLike,
    *,
    command: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Compare two results of one verb: what is worse, what is better, what is only noise.

    Parameters
    ----------
    base, new : Report, str, path, or a source
        Measured, or saved as .json or .jsonl; anything else is a source, and is measured by ``gradients`` first.
    command : sequence of str, optional
        What the report says of how it was made.
    options : mapping, optional
        Keyword arguments of :func:`gradients` for what is measured here: ``{"steps": 200, "inputs": x}``.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        Results of different verbs; options where nothing is measured.
    InputError
        A file that is no stored result, or cannot be read as a source.

    Examples
    --------
    >>> import gradscope
    >>> report = gradscope.diff("rnn:hidden=8", "rnn:hidden=8,gain=0.5", options={"steps": 40})
    >>> report.results[0].summary["verdict"]
    'worse'
    """
    from gradscope.reports.compare import diff as compare

    sides = [one if isinstance(one, Report) or is_stored(one) else None for one in (base, new)]
    if None not in sides and options:
        raise UsageError(f"diff: both are stored results, so {next(iter(options))}= changes nothing: measure again.")
    reports = [
        _measured(one, options or {}) if side is None else stored(side)
        for one, side in zip((base, new), sides, strict=True)
    ]
    names = [_text(one) for one in (base, new)]
    words = ("diff", *map(str, names)) if None not in (*names, *sides) else ("gradscope.diff(base, new)",)
    return compare(reports[0], reports[1], command=words if command is None else command)


def is_stored(one: Any) -> bool:
    """Whether this is a stored result by its first bytes (a name ending in .json, where there is no such file)."""
    if not isinstance(one, str | os.PathLike):
        return False
    if str(one) == "-":
        return True
    path = Path(one)
    if path.name.lower().endswith(".index.json"):  # of sharded weights
        return False
    if not os.path.isfile(path):
        return path.suffix.lower() in (".json", ".jsonl")
    with path.open("rb") as stream:
        head = stream.read(64)
    # Eight bytes of length stand before the brace of a safetensors header, and some of them are 0.
    return head[:2] in (b"\xff\xfe", b"\xfe\xff") or (
        head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" and b"\0" not in head
    )


def _measured(source: Any, options: Mapping[str, Any]) -> Report:
    from gradscope.measuring import gradients

    return gradients(source, **options)


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


def stored(one: Any) -> Report:
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


def _text(one: Any) -> str | None:
    return os.fspath(one) if isinstance(one, str | os.PathLike) else None


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(part.strip() for part in parts if part.strip())
