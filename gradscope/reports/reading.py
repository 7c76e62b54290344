"""How a renderer reads a record: labels for sources, columns as plain values, which lags to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gradscope.records import Report, Result, plain
from gradscope.reports.numbers import is_null, printable

_SHOWN = 16
_MANTISSAS = ((1, 1.5, 2, 3, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))


def label(result: Result) -> str:
    """Name a result: its source, and the layer and direction where those tell results apart."""
    source = result.source
    parts = [printable(str(source.get("name", "?")))]
    if source.get("layer") is not None:
        parts.append(f"layer {source['layer']}")
    if source.get("direction") is not None:
        parts.append(str(source["direction"]))
    return " ".join(parts)


def labels(report: Report) -> list[str]:
    """Label every result, with ``#2``, ``#3`` after a label that was there before."""
    seen: dict[str, int] = {}
    out = []
    for result in report.results:
        name = label(result)
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return out


def short_labels(names: Sequence[str], width: int = 20) -> list[str]:
    """Shorten labels for table heads: the end of a path, the layer and direction, or ``#n`` where nothing else is left.

    >>> short_labels(["models/a.npz", "rnn:layers=2,hidden=256 layer 0", "lstm:hidden=128,forget_bias=1"])
    ['a.npz', 'layer 0', '#3']
    """
    short = [name.replace("\\", "/").rsplit("/", 1)[-1] for name in names]
    tails = [name.partition(" ")[2] for name in short]  # "layer 0 backward", "#2"
    out = []
    for i, (name, tail) in enumerate(zip(short, tails, strict=True), start=1):
        choices = [word for word, every in ((name, short), (tail, tails)) if word and every.count(word) == 1]
        out.append(next((word for word in choices if len(word) <= width), f"#{i}"))
    return out


def column(result: Result, name: str) -> list[Any]:
    """One column as plain values, None for null; all None when the result has no such column."""
    if name not in result.columns:
        return [None] * result.n_rows
    return _plain_values(result.columns[name])


def _plain_values(values: Any) -> list[Any]:
    values = values.tolist() if hasattr(values, "tolist") else values
    # A million rows are common; only what is not a plain number or word takes the long way.
    return [v if type(v) in (int, str) or (type(v) is float and v - v == 0.0) else plain(v) for v in values]


def plain_rows(result: Result, *, chunk: int = 4096) -> Iterator[dict[str, Any]]:
    """The rows as ``Result.rows`` gives them, converted some thousand at a time: fast, and small in memory."""
    names = list(result.columns)
    for start in range(0, result.n_rows, chunk):
        parts = [_plain_values(result.columns[name][start : start + chunk]) for name in names]
        for values in zip(*parts, strict=True):
            yield dict(zip(names, values, strict=True))


def picked(result: Result, name: str, rows: Sequence[int]) -> list[Any]:
    """Some rows of one column, without turning all of it into Python objects."""
    values = result.columns.get(name)
    return [None if values is None else plain(values[i]) for i in rows]


def has(result: Result, name: str) -> bool:
    """Whether a column exists and says anything at all."""
    values = result.columns.get(name, ())
    values = values.tolist() if hasattr(values, "tolist") else values
    return any(not is_null(value) for value in values)


def number(value: Any) -> float | None:
    """Return a plain number, or None for a null, a word or a flag."""
    value = plain(value)
    return None if isinstance(value, bool | str | list | dict) or value is None else float(value)


def last_measured(result: Result) -> float:
    """The last lag that was measured, whether the rows hold it or not: what a censored horizon is known to exceed."""
    lags = result.columns.get("lag", ())
    return max(number(result.settings.get("steps")) or 0.0, float(max(lags)) if len(lags) else 0.0)


def epsilon_of(result: Result) -> float | None:
    """The norm below which a gradient counts as gone."""
    return number(result.summary.get("epsilon")) or number(result.settings.get("epsilon"))


def shown_lags(last: int, most: int = _SHOWN) -> list[int]:
    """Round lags from 0 to ``last``, evenly spread on a log scale, at most about ``most``.

    >>> shown_lags(100)
    [0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100]
    """
    lags: list[int] = []
    for mantissas in _MANTISSAS:
        lags = sorted({0, last, *_round_numbers(mantissas, last)})
        if len(lags) <= most:
            break
    return lags


def _round_numbers(mantissas: Sequence[float], last: int) -> list[int]:
    out = []
    decade = 1
    while decade <= last:
        out += [int(m * decade) for m in mantissas if m * decade <= last and m * decade == int(m * decade)]
        decade *= 10
    return out


def spread(n: int, most: int) -> list[int]:
    """At most ``most`` of n places, both ends among them and the others evenly between.

    >>> spread(9, 3), spread(2, 3)
    ([0, 4, 8], [0, 1])
    """
    return list(range(n)) if n <= most else sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})


def shown_rows(result: Result, key: str = "lag", most: int | None = None) -> list[int]:
    """Indices of the rows a table shows: all that were asked for, or about ``most`` plus the turning points."""
    n, most = result.n_rows, most or _SHOWN
    asked = result.settings.get("lags") is not None or result.settings.get("where")
    if asked or n <= most + 2 or key not in result.columns:
        return list(range(n))
    places = [int(place) for place in result.columns[key]]
    index = {place: i for i, place in enumerate(places)}
    wanted = set(shown_lags(max(places), most))
    for name in ("peak_lag", "horizon"):
        turning = number(result.summary.get(name))
        if turning is not None:
            wanted.add(int(turning))
    rows = {index[place] for place in wanted if place in index}
    status = result.columns.get("status")
    if status is not None:
        # The first row at which a number stops being an ordinary one is a row nobody may miss.
        rows |= {next(i for i, s in enumerate(status) if s == word) for word in {*map(str, status)} - {"ok"}}
    phase = [str(word) for word in result.columns.get("phase", ())]
    rows |= {i for i in range(1, len(phase)) if phase[i] != phase[i - 1]}
    if len(rows) < most // 2:  # a selection that starts late holds few round lags
        rows |= set(spread(n, most))
    return sorted(rows)
