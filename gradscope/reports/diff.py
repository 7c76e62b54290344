"""``diff BASE NEW``: match rows by their keys, tell change from noise, say which way is worse, sort by size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gradscope.errors import UsageError
from gradscope.fields import LISTS
from gradscope.fields import names as names_of
from gradscope.records import Report, Result, plain
from gradscope.reports.reading import has, labels, number
from gradscope.reports.views.sweep import varied_keys
from gradscope.reports.worse import IGNORED, direction_of, noise_of

DIFF_ROWS = tuple(name for name in names_of("diff", "rows") if name != "change_percent")
_KEYS = {
    "gradients": ("lag",),
    "spectrum": ("param", "gate"),
    "lyapunov": ("index",),
    "inspect": ("module", "layer", "direction"),
    "claims": ("id",),
}
_COMPARED_SETTINGS = ("steps", "batch", "inputs", "dtype", "anchor", "transient", "epsilon", "loss", "wrt")
_WORDS = {"zero": "zero", "underflow": "underflow", "nonfinite": "nonfinite", "minus_infinity": "-inf"}


def diff(base: Report, new: Report, *, command: Sequence[str] = ("diff",)) -> Report:
    """Compare two stored results of the same verb.

    Parameters
    ----------
    base, new : Report
    command : sequence of str
        What was typed, for the record.

    Returns
    -------
    Report
        Schema ``gradscope/diff/1``: per source one row per number that changed (``where``, ``field``, ``base``,
        ``new``, ``change``, ``noise``, ``size``, ``verdict``), the largest first; the summary counts ``worse``,
        ``better``, ``changed``, ``same``, ``only_base``, ``only_new``.

    Raises
    ------
    UsageError
        The results come from different verbs.
    """
    if base.verb != new.verb:
        raise UsageError(f"diff: wanted two results of one verb, found {base.verb} and {new.verb}.")
    results = [_compared(base.verb, name, a, b, base, new) for name, a, b in _matched(base, new)]
    return Report(
        schema="gradscope/diff/1",
        gradscope=new.gradscope,
        command=tuple(command),
        seed=new.seed,
        environment=new.environment,
        results=tuple(results),
    )


def _matched(base: Report, new: Report) -> Iterator[tuple[str, Result | None, Result | None]]:
    old = dict(zip(labels(base), base.results, strict=True))
    fresh = dict(zip(labels(new), new.results, strict=True))
    if len(old) == len(fresh) == 1:  # two checkpoints of one network carry two names
        yield next(iter(fresh)), next(iter(old.values())), next(iter(fresh.values()))
        return
    for name, result in fresh.items():
        yield name, old.get(name), result
    for name, result in old.items():
        if name not in fresh:
            yield name, result, None


def _compared(verb: str, name: str, a: Result | None, b: Result | None, base: Report, new: Report) -> Result:
    if a is None or b is None:
        present = b if a is None else a
        assert present is not None
        which = "NEW" if a is None else "BASE"
        summary = _summary([], 0, 0 if a is None else present.n_rows, present.n_rows if a is None else 0)
        warning = f"{name} is only in {which}. Measure the same sources on both sides."
        return Result({"name": name, **_sides(a, b)}, {}, {key: [] for key in DIFF_ROWS}, summary, (warning,))
    keys = tuple(varied_keys(b)) if verb == "sweep" else _KEYS.get(verb, ())
    batches = (int(number(a.settings.get("batch")) or 1), int(number(b.settings.get("batch")) or 1))
    old, fresh = _by_key(a, keys), _by_key(b, keys)
    # A column that has no meaning on one side (the h corner of an rnn) is not compared.
    absent = [name for name in b.columns if has(a, name) != has(b, name)]
    rows, same = _changes("summary", _telling(a), _telling(b), batches)
    for key in fresh.keys() & old.keys():
        where = ", ".join(f"{k} {v}" for k, v in zip(keys or ("row",), key, strict=True) if v is not None)
        more, unchanged = _changes(where, old[key], fresh[key], batches, skip=(*keys, *absent))
        rows += more
        same += unchanged
    rows.sort(key=_place)
    columns = {key: [row[key] for row in rows] for key in DIFF_ROWS}
    summary = _summary(rows, same, len(old.keys() - fresh.keys()), len(fresh.keys() - old.keys()))
    settings = {"verb": verb, "base": plain(a.settings), "new": plain(b.settings)}
    return Result({"name": name, **_sides(a, b)}, settings, columns, summary, tuple(_warnings(a, b, base, new)))


def _place(row: Mapping[str, Any]) -> tuple[int, float]:
    """What is lost without a number (a norm now zero) first, then by size, then what only changed its words."""
    if row["size"] is not None:
        return 1, -row["size"]
    return (0 if row["verdict"] == "worse" else 2), 0.0


def _sides(a: Result | None, b: Result | None) -> dict[str, Any]:
    sides = {"base": a, "new": b}
    return {
        side: None if result is None else {key: plain(result.source.get(key)) for key in ("name", "sha256")}
        for side, result in sides.items()
    }


def _by_key(result: Result, keys: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    if not keys:
        return {(index,): row for index, row in enumerate(result.rows())}
    return {tuple(row.get(key) for key in keys): row for row in result.rows()}


def _telling(result: Result) -> dict[str, Any]:
    """The summary, with a censored horizon as the words it is known by."""
    summary: dict[str, Any] = plain(result.summary)
    if summary.get("horizon_censored"):
        summary["horizon"] = f"> {plain(result.settings.get('steps'))}"
    return summary


def _changes(
    where: str, a: Mapping[str, Any], b: Mapping[str, Any], batches: tuple[int, int], skip: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], int]:
    rows, same = [], 0
    names = [name for name in a if name in b and name not in IGNORED and name not in LISTS and name not in skip]
    for name in names:
        old, fresh = _value(name, a), _value(name, b)
        if isinstance(old, list | dict) or isinstance(fresh, list | dict):
            continue
        change, noise = _difference(old, fresh), noise_of(name, a, b, batches)
        if old == fresh or (change is not None and abs(change) <= noise):
            same += 1
            continue
        rows.append(
            {
                "where": where,
                "field": name,
                "base": old,
                "new": fresh,
                "change": change,
                "noise": None if change is None else noise,
                "size": _size(name, old, fresh),
                "verdict": _verdict(name, old, fresh),
            }
        )
    return rows, same


def _value(name: str, row: Mapping[str, Any]) -> Any:
    """A number, or the word that stands where there is none."""
    value = row.get(name)
    if value is None and name in ("log10_norm", "exponent"):
        return _WORDS.get(str(row.get("status")))
    if value is None and name == "horizon" and row.get("horizon_censored"):
        return "> T"
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _difference(old: Any, fresh: Any) -> float | int | None:
    if not (_is_number(old) and _is_number(fresh)):
        return None
    change = fresh - old
    return change if math.isfinite(change) else None


def _size(name: str, old: Any, fresh: Any) -> float | None:
    """Decades where the number is a logarithm, else the change relative to the larger of the two."""
    change = _difference(old, fresh)
    if change is None:
        return None
    if name.startswith("log10_"):
        return abs(float(change))
    return abs(float(change)) / max(abs(float(old)), abs(float(fresh)))


def _verdict(name: str, old: Any, fresh: Any) -> str:
    if name == "horizon":
        # A censored horizon lies beyond T: better than any number, and not comparable with another one.
        if isinstance(fresh, str):
            return "better" if not isinstance(old, str) else "changed"
        if isinstance(old, str) or fresh is None:
            return "worse"
        if old is None:
            return "better"
    if name == "log10_norm" and fresh in ("zero", "underflow", "nonfinite"):
        return "worse"
    if name == "log10_norm" and isinstance(old, str):
        return "better"
    return direction_of(name, old, fresh)


def _summary(rows: Sequence[Mapping[str, Any]], same: int, only_base: int, only_new: int) -> dict[str, Any]:
    counts = {word: sum(row["verdict"] == word for row in rows) for word in ("worse", "better", "changed")}
    worst = [row["size"] for row in rows if row["verdict"] == "worse" and row["size"] is not None]
    return {
        **counts,
        "same": same,
        "only_base": only_base,
        "only_new": only_new,
        "largest_worse": max(worst, default=0.0),
    }


def _warnings(a: Result, b: Result, base: Report, new: Report) -> Iterator[str]:
    for name in _COMPARED_SETTINGS:
        old, fresh = plain(a.settings.get(name)), plain(b.settings.get(name))
        if old != fresh:
            yield f"{name} differs: {old} and {fresh}. Compare like with like: measure both with the same options."
    if base.seed != new.seed and a.settings.get("inputs") != "zeros":
        yield f"The seed differs: {base.seed} and {new.seed}. Use the same --seed on both sides."
