"""A network over training time: where the reach began and ended, a row per checkpoint, and the map step × lag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradscope.records import Report, Result, plain
from gradscope.reports.document import (
    Block,
    Column,
    Curve,
    Document,
    HeatFigure,
    LineFigure,
    Section,
    Sentence,
    Table,
    Tone,
)
from gradscope.reports.numbers import NULL, count, printable, significant
from gradscope.reports.reading import labels, number, spread
from gradscope.reports.views.common import about_source, document, short_cell, verdict_tone, warnings_of

#: Rows of a table, and places of a map's axis, that a person reads.
ROWS_SHOWN, MAP_PLACES = 24, 32


def view(report: Report, *, verbose: bool = False, figures: bool = True) -> Document:
    """One section per layer and direction, or for the network as a whole."""
    sections = []
    for name, result in zip(labels(report), report.results, strict=True):
        rows = list(result.rows())
        blocks: list[Block] = [Sentence(answer(result, rows), "verdict", _tone(rows)), _table(rows, verbose)]
        blocks += warnings_of(result)
        if figures:
            blocks += figures_of(rows, result)
        sections.append(Section(name, tuple(blocks), about_source(result)))
    return document(report, "Over training time", sections)


def answer(result: Result, rows: Sequence[Mapping[str, Any]]) -> str:
    """From where to where the reach went, and how many checkpoints could not be measured."""
    good = [row for row in rows if row.get("error") is None]
    said = count(len(rows), "row")
    if good:
        first, last = good[0], good[-1]
        said += f": reach {_reach(first, result)} at step {_step(first)}, {_reach(last, result)} at step {_step(last)}"
        said += f" ({first.get('verdict')} -> {last.get('verdict')})"
    failed = len(rows) - len(good)
    return said + (f"; {failed} could not be measured (see their error)." if failed else ".")


def _step(row: Mapping[str, Any]) -> str:
    return short_cell(row.get("step"))


def _reach(row: Mapping[str, Any], result: Result | None = None) -> str:
    """The horizon; a censored one exceeds what was measured."""
    if row.get("horizon_censored"):
        steps = None if result is None else result.settings.get("steps")
        return f"over {steps}" if steps else "beyond the last lag"
    return short_cell(row.get("horizon"))


def _tone(rows: Sequence[Mapping[str, Any]]) -> Tone:
    if any(row.get("error") is not None for row in rows):
        return "mixed"
    return verdict_tone(rows[-1].get("verdict")) if rows else "plain"


def _table(rows: Sequence[Mapping[str, Any]], verbose: bool) -> Table:
    """First, last and evenly between; every failure, and all with ``verbose``."""
    n = len(rows)
    failed = {i for i, row in enumerate(rows) if row.get("error") is not None}
    kept = range(n) if verbose else sorted({*spread(n, ROWS_SHOWN), *failed})
    columns = [Column("step"), Column("verdict", "left"), Column("horizon", unit="steps")]
    columns += [Column("rate", priority=1, unit="decades/step")]
    columns += [Column("spectral radius", priority=2)]
    broken = bool(failed)
    files = any(row.get("file") for row in rows)
    columns += [Column("file", "left", priority=3)] * files + [Column("error", "left", wrap=True)] * broken
    texts = []
    for row in (rows[i] for i in kept):
        rate = plain(row.get("log10_rate"))
        texts.append(
            (
                _step(row),
                NULL if row.get("verdict") is None else str(row["verdict"]),
                ("> T" if row.get("horizon_censored") else short_cell(row.get("horizon"))),
                NULL if rate is None else significant(rate, 3),
                short_cell(row.get("spectral_radius")),
                *([printable(str(row.get("file") or NULL))] * files),
                *([printable(str(row.get("error") or ""))] * broken),
            )
        )
    caption = "" if len(texts) == n else f"{len(texts)} of {n} rows; all of them with -v"
    return Table(caption, tuple(columns), tuple(texts))


def figures_of(rows: Sequence[Mapping[str, Any]], result: Result) -> list[Block]:
    """The map of norms (or of gradients) over training, and the horizon's curve."""
    good = [row for row in rows if row.get("error") is None and number(row.get("step")) is not None]
    if len(good) < 2:
        return []
    blocks: list[Block] = []
    if any(row.get("map_log10_norm") for row in good):
        lags = max((row.get("map_lags") or [] for row in good), key=len)
        blocks.append(
            _map(good, [str(lag) for lag in lags], "map_log10_norm", "Norm of the Jacobian product over training",
                 "lag", "log10 norm")
        )  # fmt: skip
    for name, title in (("log10_dloss_dh", "dL/dh"), ("log10_dloss_dc", "dL/dc")):
        if any(row.get(name) for row in good):
            longest = max(len(row.get(name) or ()) for row in good)
            ticks = [str(t + 1) for t in range(longest)]
            blocks.append(_map(good, ticks, name, f"{title} over training", "t", f"log10 |{title}|"))
    steps = tuple(float(row["step"]) for row in good)
    T = number(result.settings.get("steps")) or max(
        (float(len(row.get("log10_dloss_dh") or ())) for row in good), default=0.0
    )
    reach = tuple(T if row.get("horizon_censored") else number(row.get("horizon")) for row in good)
    if any(value is not None for value in reach):
        marks = (("T: the reach is at least this", T),) if T else ()
        said = "Horizon at every checkpoint, at T where it lies beyond."
        curve = Curve("horizon", "measured", steps, reach)
        blocks.append(
            LineFigure(
                "Horizon over training", said, "training step", "horizon (steps)", (curve,), marks, name="horizon"
            )
        )
    return [*blocks, *_radius_and_gates(good, steps)]


def _radius_and_gates(good: Sequence[Mapping[str, Any]], steps: tuple[float, ...]) -> list[Block]:
    """The largest spectral radius of the recurrent blocks, and each gate's mean opening, over training."""
    blocks: list[Block] = []
    radius = tuple(number(row.get("spectral_radius")) for row in good)
    if any(value is not None for value in radius):
        said = "Largest spectral radius of the recurrent blocks at every checkpoint."
        curve = Curve("spectral radius", "measured", steps, radius)
        title, label = "Spectral radius over training", "spectral radius"
        blocks.append(LineFigure(title, said, "training step", label, (curve,), (("1", 1.0),), True, "radius"))
    means = [row.get("gates") or {} for row in good]
    names = dict.fromkeys(name for one in means for name in one)
    if names:
        said = "Mean opening of each gate over units, steps and batch at every checkpoint."
        curves = tuple(
            Curve(f"gate {printable(str(name))}", f"source{i}", steps, tuple(number(one.get(name)) for one in means))
            for i, name in enumerate(names)
        )
        blocks.append(
            LineFigure("Gates over training", said, "training step", "mean opening", curves, minor=True, name="gates")
        )
    return blocks


def _map(
    good: Sequence[Mapping[str, Any]], ticks: Sequence[str], name: str, title: str, y_label: str, value_label: str
) -> HeatFigure:
    across, down = spread(len(good), MAP_PLACES), spread(len(ticks), MAP_PLACES)
    lists = [good[i].get(name) or () for i in across]
    values = tuple(tuple(number(one[j]) if j < len(one) else None for one in lists) for j in down)
    said = f"{value_label} for every training step (across) and {y_label} (down)."
    steps = tuple(_step(good[i]) for i in across)
    picked = tuple(ticks[j] for j in down)
    return HeatFigure(title, said, "training step", y_label, value_label, steps, picked, values, name="map")
