"""A sweep: a table of points, means over seeds, and a heat map where two keys vary."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

from gradscope.fields import names as names_of
from gradscope.records import Report, Result
from gradscope.reports.document import Block, Column, Curve, Document, HeatFigure, LineFigure, Section, Sentence, Table
from gradscope.reports.numbers import count, significant
from gradscope.reports.reading import column, labels, number
from gradscope.reports.seed_means import group_means
from gradscope.reports.views.common import about_source, document, generic_table, short_cell, warnings_of

_MEASURED = {*names_of("sweep", "rows"), *names_of("claims", "rows"), "key"}
_VALUES = ("max", "log10_rate", "horizon", "spectral_radius")
_ROWS_SHOWN = 48


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
    """Every point of a small sweep, means over seeds of a larger one; all points with ``verbose``."""
    sections = []
    for name, result in zip(labels(report), report.results, strict=True):
        rows = list(result.rows())
        keys = varied_keys(result)
        failed = sum(bool(row.get("error")) for row in rows)
        said = f"{count(len(rows), 'point')} over {', '.join(keys) or 'nothing'}"
        said += f"; {failed} failed (see their error column)." if failed else "."
        blocks: list[Block] = [Sentence(said, "verdict", "bad" if failed else "plain")]
        value = value_name(result)
        means = group_means(rows, [key for key in keys if key != "seed"], value) if value else []
        names, constant = _varying(result, keys)
        if constant:
            blocks.append(Sentence(f"The same at every point: {constant}."))
        if verbose or len(rows) <= _ROWS_SHOWN:
            blocks.append(generic_table("Points", names, rows, keep=len(keys) + 2))
        if value and "seed" in keys:
            blocks.append(_means_table(means, [key for key in keys if key != "seed"], value))
        elif not verbose and len(rows) > _ROWS_SHOWN:
            first = rows[:_ROWS_SHOWN]
            blocks.append(generic_table(f"The first {_ROWS_SHOWN} points", names, first, len(keys) + 2))
        blocks += warnings_of(result)
        if value and figures:
            blocks += figures_of(result, means, [key for key in keys if key != "seed"], value)
        sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, "Sweep", sections)


def _varying(result: Result, keys: list[str]) -> tuple[list[str], str]:
    """Columns that differ from point to point, and in words what the others hold."""
    names, constant = [], []
    for name in result.columns:
        found = [short_cell(value) for value in column(result, name)]
        if name in keys or len(found) < 2 or len(set(found)) > 1:
            names.append(name)
        elif found[0] != "-":
            constant.append(f"{name} {found[0]}")
    return names, ", ".join(constant)


def _means_table(means: list[dict[str, Any]], keys: list[str], value: str) -> Table:
    columns = (*(Column(key, "right") for key in keys), Column("n"), Column(f"mean {value}"), Column("95 %", "left"))
    rows = tuple(
        (
            *(short_cell(m[key]) for key in keys),
            str(m["n"]),
            significant(m["mean"], 4, against=[0.0]),
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
        marks = (("0", 0.0),) if value in ("max", "log10_rate") else ()
        said = f"Mean {value} against {keys[0]}" + (", 95 % interval over seeds." if has_interval else ".")
        return [LineFigure(f"{value} against {keys[0]}", said, keys[0], value, (curve,), marks)]
    if len(keys) != 2:
        return []
    down, across = keys
    ys_, xs_ = (sorted({m[key] for m in means}, key=lambda v: (isinstance(v, str), v)) for key in (down, across))
    cells: dict[tuple[Any, Any], list[float]] = {}
    for m in means:
        if m["mean"] is not None:
            cells.setdefault((m[down], m[across]), []).append(m["mean"])
    values = tuple(
        tuple(sum(c) / len(c) if (c := cells.get((y, x))) else None for x in xs_) for y in ys_
    )  # fmt: skip
    said = f"{value} for every {down} (down) and {across} (across)."
    ticks = (tuple(short_cell(x) for x in xs_), tuple(short_cell(y) for y in ys_))
    line = threshold(result, across, down, xs_, ys_)
    return [HeatFigure(f"Map of {value}", said, across, down, value, *ticks, values, line=line)]


def threshold(
    result: Result, across: str, down: str, xs: list[Any], ys: list[Any]
) -> tuple[str, Literal["x", "y"], float] | None:
    """Where mean field expects order to turn into chaos without input: gain 1 for tanh, √2 for relu (theory C07)."""
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
