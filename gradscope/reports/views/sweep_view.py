"""A sweep: a table of points, means over seeds, and a heat map where two keys vary."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

from gradscope.fields import field
from gradscope.fields import names as names_of
from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, Curve, Document, HeatFigure, LineFigure, Section, Sentence, Table
from gradscope.reports.numbers import count, significant
from gradscope.reports.reading import column, labels, number
from gradscope.reports.seed_means import AtLeast, group_means
from gradscope.reports.views.common import about_source, document, generic_table, short_cell, warnings_of

_MEASURED = {*names_of("sweep", "rows"), *names_of("claims", "rows"), "key"}
_VALUES = ("max", "log10_rate", "horizon", "spectral_radius")
#: Values whose sign is what matters.
_SIGNED = ("max", "log10_rate")
_ROWS_SHOWN = 48
_MOST_COLUMNS = 8
#: What a person asks first of a point.
_FIRST = ("error", "verdict", "horizon", "log10_rate", "max", "spectral_radius", "log10_peak", "converged")
#: Fields that may lie beyond the steps that were run.
_CENSORED = ("horizon", "horizon_h")


def varied_keys(result: Result) -> list[str]:
    """The varied keys: as the settings name them, else the columns before the first summary field."""
    asked = result.settings.get("vary")
    names = list(asked) if isinstance(asked, dict) else [str(item).partition("=")[0] for item in asked or ()]
    names = [name for name in names if name in result.columns]
    if names:
        return names
    out = []
    for name in result.columns:
        if name in _MEASURED:
            break
        out.append(name)
    return out


def value_name(result: Result) -> str | None:
    """The summary field a map shows: ``settings["value"]``, else the first usual one there is."""
    asked = result.settings.get("value")
    return next((name for name in (asked, *_VALUES) if name and name in result.columns), None)


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """Every point of a small sweep, means over seeds of a larger one; all points and columns with ``verbose``."""
    sections = []
    for name, result in zip(labels(report), report.results, strict=True):
        rows = [_for_a_person(row, result) for row in result.rows()]
        keys = varied_keys(result)
        failed = sum(bool(row.get("error")) for row in rows)
        said = f"{count(len(rows), 'point')} over {', '.join(keys) or 'nothing'}"
        said += f"; {failed} failed (see their error column)" if failed else ""
        value = value_name(result)
        told = "; ".join(part for part in (said, _verdicts(rows), _extremes(rows, keys, value)) if part)
        blocks: list[Block] = [Sentence(f"{told}.", "verdict", "bad" if failed else "plain")]
        means = group_means(rows, [key for key in keys if key != "seed"], value) if value else []
        names, constant = _varying(result, keys, rows)
        chosen, left_out = (names, []) if verbose else _chosen(names, keys)
        many = len(rows) > _ROWS_SHOWN and not verbose
        by_seed = value is not None and "seed" in keys and any(m["n"] > 1 for m in means)
        if not (many and by_seed):
            shown = rows[:_ROWS_SHOWN] if many else rows
            caption = f"The first {_ROWS_SHOWN} points" if many else "Points"
            blocks.append(generic_table(caption, chosen, shown, keep=len(keys) + 2, verb="sweep"))
        if by_seed and value:
            blocks.append(_means_table(means, [key for key in keys if key != "seed"], value))
        notes = [f"The same at every point: {constant}."] if constant else []
        notes += [f"-v adds {', '.join(left_out)}."] if left_out else []
        notes += ["Every point: -v."] if many else []
        blocks += [Sentence(" ".join(notes), "note", "dim")] if notes else []
        blocks += warnings_of(result)
        if value and figures:
            blocks += figures_of(result, means, [key for key in keys if key != "seed"], value)
        sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, "Sweep", sections)


def _verdicts(rows: list[dict[str, Any]]) -> str:
    found = [str(row["verdict"]) for row in rows if row.get("verdict") is not None]
    return ", ".join(f"{found.count(word)} {word}" for word in dict.fromkeys(found))


def _extremes(rows: list[dict[str, Any]], keys: list[str], value: str | None) -> str:
    """The least and the largest value, and where."""
    held = [(found, row) for row in rows if value and (found := number(row.get(value))) is not None]
    if not held or value is None:
        return ""
    ends = (min(held, key=lambda pair: pair[0])[1], max(held, key=lambda pair: pair[0])[1])
    told = [
        f"{short_cell(row[value])} at {', '.join(f'{key} {short_cell(row.get(key))}' for key in keys)}" for row in ends
    ]
    return f"{value} {' to '.join(dict.fromkeys(told))}"


def _for_a_person(row: dict[str, Any], result: Result) -> dict[str, Any]:
    """A row whose censored horizons are marked (they exceed the steps that were run) and whose verdict is a word."""
    steps = number(row.get("T", result.settings.get("steps")))
    marked = dict(row)
    for name in _CENSORED:
        if row.get(f"{name}_censored") and row.get(name) is None and steps is not None:
            marked[name] = AtLeast(int(steps))
    if isinstance(row.get("verdict"), str):  # of exponents: converged or not, then why
        marked["verdict"] = row["verdict"].partition(":")[0]
    return marked


def _chosen(names: list[str], keys: list[str]) -> tuple[list[str], list[str]]:
    """At most eight columns: the keys, then what a person asks first; and the names of the others."""
    ends = tuple(f"_{end}" for end in ("low", "high", "censored"))
    first = [name for name in _FIRST if name in names]
    rest = [name for name in names if name not in (*keys, *first) and not name.endswith(ends)]
    wanted = [*keys, *first, *rest][: max(_MOST_COLUMNS, len(keys) + 2)]
    # The end of a censored horizon is told in its own cell: nothing is left out with its column.
    return wanted, [name for name in names if name not in wanted and not name.endswith("_censored")]


def _varying(result: Result, keys: list[str], rows: list[dict[str, Any]]) -> tuple[list[str], str]:
    """Columns that differ from point to point, and in words what the others hold."""

    def values_of(name: str) -> list[Any]:
        return [row.get(name) for row in rows] if name == "verdict" else column(result, name)

    names, constant = [], []
    for name in result.columns:
        found = [short_cell(value) for value in values_of(name)]
        if name in keys or len(found) < 2 or len(set(found)) > 1:
            names.append(name)
        elif found[0] != "-":
            constant.append(f"{name} {found[0]}")
    return names, ", ".join(constant)


def _means_table(means: list[dict[str, Any]], keys: list[str], value: str) -> Table:
    known = field("sweep", value, "rows")
    unit = known.unit if known is not None else ""
    columns = (
        *(Column(key, "right") for key in keys),
        Column("n"),
        Column(f"mean {value}", unit=unit),
        Column("95 %", "left", unit=unit),
    )
    rows = tuple(
        (
            *(short_cell(m[key]) for key in keys),
            str(m["n"]),
            ("> " if m["at_least"] else "") + significant(m["mean"], 4, against=[0.0]),
            "-" if m["low"] is None else " to ".join(significant(m[end], 4, against=[0.0]) for end in ("low", "high")),
        )
        for m in means
    )
    return Table(f"Mean {value} over seeds", columns, rows)


def figures_of(result: Result, means: list[dict[str, Any]], keys: list[str], value: str) -> list[Block]:
    """A curve over one varied key, a heat map over two."""
    pivot = [key for key in result.settings.get("pivot") or () if key in keys]
    keys = pivot if len(pivot) == 2 else keys
    if len(keys) == 1 and all(number(m[keys[0]]) is not None for m in means):
        xs = tuple(float(m[keys[0]]) for m in means)
        low, high = (tuple(m[end] for m in means) for end in ("low", "high"))
        has_interval = any(end is not None for end in low)
        ys = tuple(m["mean"] for m in means)
        curve = Curve(value, "measured", xs, ys, low if has_interval else (), high if has_interval else ())
        marks = (("0", 0.0),) if value in _SIGNED else ()
        title = told(value)
        said = f"Mean {title} against {keys[0]}" + (", 95 % interval over seeds." if has_interval else ".")
        label = told(value, unit=True)
        return [LineFigure(f"{_capital(title)} against {keys[0]}", said, keys[0], label, (curve,), marks, name="curve")]
    if len(keys) != 2:
        return []
    down, across = keys
    ys_, xs_ = (sorted({m[key] for m in means}, key=lambda v: (isinstance(v, str), v)) for key in (down, across))
    cells: dict[tuple[Any, Any], list[float]] = {}
    bounded = {(m[down], m[across]) for m in means if m["at_least"]}
    for m in means:
        if m["mean"] is not None:
            cells.setdefault((m[down], m[across]), []).append(m["mean"])
    values = tuple(
        tuple(sum(c) / len(c) if (c := cells.get((y, x))) else None for x in xs_) for y in ys_
    )  # fmt: skip
    at_least = tuple(tuple((y, x) in bounded for x in xs_) for y in ys_) if bounded else ()
    title = told(value)
    said = f"{_capital(title)} for every {down} (up) and {across} (across)."
    said += " Hatched: at least this, it lies beyond the steps that were run." if bounded else ""
    around_zero = value in _SIGNED
    both = (
        around_zero
        and any(v < 0 for row in values for v in row if v)
        and any(v > 0 for row in values for v in row if v)
    )
    said += " The line runs where it changes its sign." if both else ""
    ticks = (tuple(short_cell(x) for x in xs_), tuple(short_cell(y) for y in ys_))
    line = threshold(result, across, down, xs_, ys_)
    return [
        HeatFigure(
            f"{_capital(title)} over {down} and {across}",
            said,
            across,
            down,
            told(value, unit=True),
            *ticks,
            values,
            line=line,
            name="map",
            around_zero=around_zero,
            at_least=at_least,
        )
    ]


def told(value: str, *, unit: bool = False) -> str:
    """A field as a person calls it, with its unit where asked."""
    known = field("sweep", value, "rows")
    if known is None:
        return value
    title = {"max": "largest exponent", "log10_rate": "rate of the gradient"}.get(value, known.title)
    return f"{title} ({known.unit})" if unit and known.unit else title


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def threshold(
    result: Result, across: str, down: str, xs: list[Any], ys: list[Any]
) -> tuple[str, Literal["x", "y"], float] | None:
    """Where mean field expects order to turn into chaos without input: gain 1 for tanh, √2 for relu (theory.md C07)."""
    words = str(result.source.get("name"))
    activation = words.partition("activation=")[2].partition(",")[0] or "tanh"
    critical = {"tanh": 1.0, "relu": math.sqrt(2.0)}.get(activation)
    axis: Literal["x", "y"] = "x" if across == "gain" else "y"
    places = xs if across == "gain" else ys if down == "gain" else []
    if result.source.get("cell") != "rnn" or critical is None or "activation" in (across, down):
        return None
    for i, (low, high) in enumerate(pairwise(places)):
        if low <= critical <= high:
            return f"gain {critical:.4g}: chaos begins here without input", axis, i + (critical - low) / (high - low)
    return None
