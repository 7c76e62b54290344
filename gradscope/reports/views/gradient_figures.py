"""Figures of a gradients result: gradient against lag with every theory curve, rank decay, details where present."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradscope.records import Result, plain
from gradscope.reports.document import Block, Curve, HeatFigure, LineFigure, Number
from gradscope.reports.numbers import count, significant
from gradscope.reports.reading import column, has, number
from gradscope.reports.views.gradient_words import verdict_sentence
from gradscope.reports.views.thinning import thinned

_CURVES = (
    ("log10_theory", "theory", "theory"),
    ("log10_eigen", "eigenvalues", "eigen"),
    ("log10_bound", "bound (any input)", "bound"),
    ("log10_path_bound", "bound (this path)", "path"),
    ("log10_norm_h", "dh/dh corner", "corner"),
    ("log10_dloss_dstate", "loss at the state", "loss"),
)


def figures_of(result: Result) -> list[Block]:
    """All figures this result has the numbers for."""
    made = (
        gradient_figure(result),
        rank_figure(result),
        heat_figure(result),
        gate_figure(result),
        reach_figure(result),
    )
    return [figure for figure in made if figure is not None]


def measured_curve(result: Result, name: str = "measured", role: str = "measured") -> Curve:
    """The measured norm with one standard deviation over the batch on either side."""
    lags = tuple(float(lag) for lag in column(result, "lag"))
    norm = column(result, "log10_norm")
    if not has(result, "log10_norm_std"):
        return thinned(Curve(name, role, lags, tuple(norm)))
    spread = column(result, "log10_norm_std")
    low: list[Number] = []
    high: list[Number] = []
    for value, std in zip(norm, spread, strict=True):
        missing = value is None or std is None
        low.append(None if missing else value - std)
        high.append(None if missing else value + std)
    return thinned(Curve(name, role, lags, tuple(norm), tuple(low), tuple(high)))


def epsilon_mark(result: Result) -> tuple[tuple[str, float], ...]:
    """The horizon's threshold as a horizontal line."""
    epsilon = number(result.summary.get("epsilon")) or number(result.settings.get("epsilon"))
    return ((f"epsilon {significant(epsilon)}", math.log10(epsilon)),) if epsilon else ()


def gradient_figure(result: Result) -> LineFigure | None:
    """Log10 of the gradient's norm against the lag, theory and bounds beside it."""
    if not has(result, "log10_norm") or "lag" not in result.columns:
        return None
    lags = tuple(float(lag) for lag in column(result, "lag"))
    curves = [measured_curve(result)]
    curves += [
        thinned(Curve(title, role, lags, tuple(column(result, name))))
        for name, title, role in _CURVES
        if has(result, name)
    ]
    said = f"Measured gradient, {verdict_sentence(result)}."
    marks = epsilon_mark(result)
    return LineFigure("Gradient against lag", said, "lag k (steps back)", "log10 of the norm", tuple(curves), marks)


def overlay(names: Sequence[str], results: Sequence[Result]) -> LineFigure | None:
    """The measured gradient of every source in one figure."""
    curves = tuple(
        measured_curve(result, name, f"source{i}")
        for i, (name, result) in enumerate(zip(names, results, strict=True))
        if has(result, "log10_norm")
    )
    if not curves:
        return None
    said = "; ".join(f"{name}: {result.summary.get('verdict')}" for name, result in zip(names, results, strict=True))
    marks = epsilon_mark(results[0])
    return LineFigure(
        "Measured gradient of every source", said, "lag k (steps back)", "log10 of the norm", curves, marks
    )


def rank_figure(result: Result) -> LineFigure | None:
    """How many directions survive: rank and stable rank against the lag."""
    lags = tuple(float(lag) for lag in column(result, "lag"))
    names = (("stable_rank", "stable rank", "measured"), ("rank", "rank", "theory"))
    curves = [
        thinned(Curve(title, role, lags, tuple(map(number, column(result, name)))))
        for name, title, role in names
        if has(result, name)
    ]
    if not curves or len(lags) < 2:
        return None
    last = [value for value in column(result, "rank") if value is not None]
    said = "Stable rank against lag."
    if last:
        left = count(int(last[-1]), "singular value")
        said = f"At the last lag, {left} above rounding; the stable rank is a soft count of the same."
    return LineFigure(
        "How many directions survive", said, "lag k (steps back)", "number of directions", tuple(curves), minor=True
    )


def heat_figure(result: Result) -> HeatFigure | None:
    """log10 of the norm over (t, i), where ``details["heat"]`` holds ``t``, ``i`` and ``log10_norm[t][i]``."""
    heat = plain(result.details.get("heat"))
    if not heat:
        return None
    values = tuple(tuple(number(v) for v in row) for row in heat["log10_norm"])
    return HeatFigure(
        "Gradient from every step to every earlier one",
        "log10 of the norm of the derivative of state t with respect to state i; fainter is smaller.",
        "from step i",
        "to step t",
        "log10 of the norm",
        _ticks(heat["i"]),
        _ticks(heat["t"]),
        values,
        minor=True,
    )


def _ticks(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def reach_figure(result: Result) -> HeatFigure | None:
    """From each decoder step to each encoder step of an encoder-decoder (``details["bottleneck"]``)."""
    held = plain(result.details.get("bottleneck"))
    if not held:
        return None
    return HeatFigure(
        "How each decoder step reaches the encoder",
        f"Everything passes a state of size {held['state_size']}; what arrives has rank {held['rank']}.",
        "encoder step",
        "decoder step",
        "log10 of the norm",
        _ticks(held["encoder_step"]),
        _ticks(held["decoder_step"]),
        tuple(tuple(number(v) for v in row) for row in held["log10_norm"]),
        minor=True,
    )


def gate_figure(result: Result) -> LineFigure | None:
    """Mean opening of each gate over time, where ``details["gates"]`` holds a series per gate."""
    gates = result.details.get("gates")
    if not gates:
        return None
    roles = ("measured", "theory", "eigen", "bound", "path", "loss")
    curves = []
    for role, (name, series) in zip(roles, gates.items(), strict=False):
        values = tuple(number(v) for v in series)
        curves.append(thinned(Curve(f"gate {name}", role, tuple(float(t) for t in range(1, len(values) + 1)), values)))
    said = "Mean over units: 1 is open, 0 is closed."
    return LineFigure("Gates over time", said, "step t", "mean opening", tuple(curves), (("0", 0.0), ("1", 1.0)), True)
