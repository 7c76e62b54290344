"""``diff BASE NEW``: every summary field, changed or not; rows where they changed, as detail; a verdict per source.

Rows are matched by their keys, change is told from noise, and what decides is in ``worse``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gradscope.errors import UsageError
from gradscope.fields import LISTS
from gradscope.fields import names as names_of
from gradscope.records import Report, Result, plain
from gradscope.reports.gate_values import DOUBTED, HORIZONS
from gradscope.reports.reading import has, labels, last_measured, number
from gradscope.reports.views.sweep_view import varied_keys
from gradscope.reports.worse import DECIDING, IGNORED, direction_of, judged, noise_of

DIFF_ROWS = names_of("diff", "rows")
_KEYS = {
    "gradients": ("lag",),
    "spectrum": ("param", "gate"),
    "lyapunov": ("index",),
    "inspect": ("module", "layer", "direction"),
    "claims": ("id",),
    "advise": ("kind", "change"),
    "series": ("step", "layer", "direction"),
}
_PLACES = 10_000
_COMPARED_SETTINGS = ("steps", "batch", "inputs", "dtype", "anchor", "transient", "epsilon", "loss", "wrt")
_WORDS = {"zero": "zero", "underflow": "underflow", "nonfinite": "nonfinite", "minus_infinity": "-inf"}


def diff(base: Report, new: Report, *, command: Sequence[str] = ("diff",)) -> Report:
    """Compare two stored results of the same verb.

    Parameters
    ----------
    command : sequence of str
        What was typed, for the record.

    Returns
    -------
    Report
        Schema ``gradscope/diff/1``: per source one row per summary field, then one per number of the other rows that
        changed, the largest first; the summary has the ``verdict`` and counts ``worse``, ``better``, ``changed``,
        ``same``, ``only_base``, ``only_new``.

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
    if all(len({str(result.source.get("name")) for result in side.results}) == 1 for side in (base, new)):
        # One source a side, whatever its name: its layers and directions are what is matched.
        places = {_layer_of(result): name for name, result in fresh.items()}
        old = {places.get(_layer_of(result), name): result for name, result in old.items()}
    for name, result in fresh.items():
        yield name, old.get(name), result
    for name, result in old.items():
        if name not in fresh:
            yield name, result, None


def _layer_of(result: Result) -> tuple[Any, Any]:
    return result.source.get("layer"), result.source.get("direction")


def _compared(verb: str, name: str, a: Result | None, b: Result | None, base: Report, new: Report) -> Result:
    if a is None or b is None:
        present = b if a is None else a
        assert present is not None
        which = "NEW" if a is None else "BASE"
        only = (0, present.n_rows) if a is None else (present.n_rows, 0)
        summary = {"verdict": None, **_summary([], 0, *only)}
        warning = f"{name} is only in {which}. Measure the same sources on both sides."
        return Result({"name": name, **_sides(a, b)}, {}, {key: [] for key in DIFF_ROWS}, summary, (warning,))
    keys = tuple(varied_keys(b)) if verb == "sweep" else _KEYS.get(verb, ())
    batches = (int(number(a.settings.get("batch")) or 1), int(number(b.settings.get("batch")) or 1))
    old, fresh = _by_key(a, keys), _by_key(b, keys)
    # A column that has no meaning on one side (the h corner of an rnn) is not compared.
    absent = [name for name in b.columns if has(a, name) != has(b, name)]
    last = (last_measured(a), last_measured(b))
    summary_rows = _summary_rows(a, b, batches, last)
    rows, same, places = [], 0, []
    for key in fresh.keys() & old.keys():
        where = ", ".join(f"{k} {v}" for k, v in zip(keys or ("row",), key, strict=True) if v is not None)
        more, unchanged = _changes(where, old[key], fresh[key], batches, last, skip=(*keys, *absent))
        places.append(where)
        rows += more
        same += unchanged
    rows.sort(key=_place)
    everything = [*summary_rows, *rows]
    columns = {key: [row[key] for row in everything] for key in DIFF_ROWS}
    # Lag rows are detail: where the summary has a verdict on a gradient, it alone is counted.
    counted = summary_rows if verb == "gradients" else everything
    same += sum(row["verdict"] == "same" for row in summary_rows)
    summary = _summary(counted, same, len(old.keys() - fresh.keys()), len(fresh.keys() - old.keys()))
    summary = {"verdict": _source_verdict(a, b, last) if verb == "gradients" else _by_count(summary), **summary}
    fields = [name for name in dict.fromkeys((*b.columns, *b.summary)) if name in a.columns or name in a.summary]
    settings = {"verb": verb, "base": plain(a.settings), "new": plain(b.settings), "fields": fields}
    if len(places) <= _PLACES:  # so that a gate on an unchanged row is told from one on a row there is not
        settings["places"] = ["summary", *sorted(places)]
    return Result({"name": name, **_sides(a, b)}, settings, columns, summary, tuple(_warnings(a, b, base, new)))


def _source_verdict(a: Result, b: Result, last: tuple[float, float]) -> str:
    """The first of the deciding fields that moved decides."""
    base, new = plain(a.summary), plain(b.summary)
    found = (judged(name, base, new, last) for name in DECIDING)
    return next((word for word in found if word in ("worse", "better")), "same")


def _by_count(summary: Mapping[str, Any]) -> str:
    return "worse" if summary["worse"] else "better" if summary["better"] else "same"


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
    for name in HORIZONS:
        if summary.get(f"{name}_censored") and summary.get(name) is None:
            summary[name] = f"> {last_measured(result):g}"
    return summary


def _summary_rows(a: Result, b: Result, batches: tuple[int, int], last: tuple[float, float]) -> list[dict[str, Any]]:
    base, new = _telling(a), _telling(b)
    rows = []
    for name in dict.fromkeys((*new, *base)):
        old, fresh = base.get(name), new.get(name)
        if name in LISTS or isinstance(old, list | dict) or isinstance(fresh, list | dict):
            continue
        row = _row("summary", name, old, fresh, noise_of(name, plain(a.summary), plain(b.summary), batches))
        if "log10_rate" in new and "horizon" in new:  # a gradient: three fields decide, the rest only changes
            word = judged(name, plain(a.summary), plain(b.summary), last) if name in DECIDING else row["verdict"]
            row["verdict"] = word if name in DECIDING or word == "same" else "changed"
        rows.append(row)
    return rows


def _row(where: str, name: str, old: Any, fresh: Any, noise: float) -> dict[str, Any]:
    change = 0 if old == fresh else _difference(old, fresh)
    unchanged = change is not None and abs(change) <= noise
    return {
        "where": where,
        "field": name,
        "base": old,
        "new": fresh,
        "change": change,
        "change_percent": _percent(change, old),
        "noise": None if change is None else noise,
        "size": 0.0 if old == fresh else _size(name, old, fresh),
        "verdict": "same" if unchanged else "changed" if name in IGNORED else _verdict(name, old, fresh),
    }


def _percent(change: float | int | None, old: Any) -> float | None:
    """The change as a percentage of the size of the old value; of nothing there is none."""
    if change is None or change == 0:
        return change if change is None else 0.0
    percent = 100.0 * change / abs(old) if old else math.inf
    return percent if math.isfinite(percent) else None


def _changes(
    where: str,
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    batches: tuple[int, int],
    last: tuple[float, float],
    skip: Sequence[str] = (),
) -> tuple[list[dict[str, Any]], int]:
    """Rows of what changed beyond noise, and how many numbers did not."""
    rows, same = [], 0
    is_gradient = "log10_rate" in b and "horizon" in b  # a point of a sweep, a checkpoint of a series
    for name in a:
        if name not in b or name in IGNORED or name in LISTS or name in skip:
            continue
        old, fresh = _value(name, a), _value(name, b)
        if isinstance(old, list | dict) or isinstance(fresh, list | dict):
            continue
        row = _row(where, name, old, fresh, noise_of(name, a, b, batches))
        if name in DOUBTED and "doubtful" in (a.get("status"), b.get("status")) and row["verdict"] != "same":
            row["verdict"] = "changed"  # rounding may have made either up: neither better nor worse
        if is_gradient and row["verdict"] != "same":
            lags = tuple(number(side.get("T")) or limit for side, limit in zip((a, b), last, strict=True))
            row["verdict"] = judged(name, a, b, (lags[0], lags[1])) if name in DECIDING else "changed"
        if row["verdict"] == "same":
            same += 1
        else:
            rows.append(row)
    return rows, same


def _value(name: str, row: Mapping[str, Any]) -> Any:
    """A number, or the word that stands where there is none."""
    value = row.get(name)
    if value is None and name in ("log10_norm", "exponent"):
        return _WORDS.get(str(row.get("status")))
    if value is None and name in HORIZONS and row.get(f"{name}_censored"):
        return f"> {row['T']}" if "T" in row else "> T"
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
