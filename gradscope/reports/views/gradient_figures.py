"""Figures of a gradients result: gradient against lag with every theory curve, rank decay, details where present."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradscope.records import Result, plain
from gradscope.reports.document import Block, Curve, HeatFigure, LineFigure, Number
from gradscope.reports.figure_scale import within
from gradscope.reports.numbers import count, significant
from gradscope.reports.reading import column, epsilon_of, has, number, picked
from gradscope.reports.views.gradient_bounds import held_bounds, tightest_bound, tightest_meaning
from gradscope.reports.views.gradient_words import is_users_loss, verdict_sentence
from gradscope.reports.views.loss_map_table import loss_map_figure
from gradscope.reports.views.thinning import thinned

_LAG_AXIS = "lag k (steps back)"
_CURVES = (
    ("log10_theory", "theory (the article's estimate)", "theory"),
    ("log10_eigen", "eigenvalues", "eigen"),
    ("log10_norm_h", "h alone", "corner"),
)


def figures_of(result: Result) -> list[Block]:
    """All figures this result has the numbers for."""
    made = (
        gradient_figure(result),
        rank_figure(result),
        heat_figure(result),
        gate_figure(result),
        time_constant_figure(result),
        reach_figure(result),
        loss_map_figure(result),
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
    epsilon = epsilon_of(result)
    return ((f"epsilon {significant(epsilon)}", math.log10(epsilon)),) if epsilon else ()


def horizon_spot(result: Result) -> tuple[tuple[str, float, float], ...]:
    """The last point of the curve that is at least epsilon; none where the curve does not come below it."""
    horizon = number(result.summary.get("horizon"))
    if horizon is None or horizon < 0 or result.summary.get("horizon_censored"):
        return ()
    rows = [row for row, lag in enumerate(result.columns.get("lag", ())) if lag == horizon]
    norm = number(picked(result, "log10_norm", rows)[0]) if rows else None
    return () if norm is None else ((f"horizon {int(horizon)}", horizon, norm),)


def gradient_figure(result: Result) -> LineFigure | None:
    """The gradient's norm against the lag, with its horizon, the estimates and the tightest bound beside it."""
    if not has(result, "log10_norm") or "lag" not in result.columns:
        return None
    if result.settings.get("wrt") == "weights":
        return sensitivity_figure(result)
    lags = tuple(float(lag) for lag in column(result, "lag"))
    curves = [measured_curve(result)]
    curves += [
        thinned(Curve(title, role, lags, tuple(column(result, name))))
        for name, title, role in _CURVES
        if has(result, name)
    ]
    if held_bounds(result):
        curves.append(thinned(Curve("bound", "bound", lags, tuple(tightest_bound(result, range(result.n_rows))))))
    if is_users_loss(result) and has(result, "log10_dloss_dstate"):
        curves.append(thinned(Curve("loss", "loss", lags, tuple(column(result, "log10_dloss_dstate")))))
    said = "Norm of the gradient against the lag."
    if held_bounds(result):
        said += f" The bound is {tightest_meaning(result)}."
    return within(
        LineFigure(
            verdict_sentence(result).rstrip("."),
            said,
            _LAG_AXIS,
            "norm of the gradient",
            tuple(curves),
            epsilon_mark(result),
            name="gradient",
            powers=True,
            spots=horizon_spot(result),
        )
    )


_SENSITIVITIES = (
    ("log10_one_step", "one step alone", "bound"),
    ("log10_dh_dweight_hh", "W_hh", "theory"),
    ("log10_dh_dweight_ih", "W_ih", "eigen"),
    ("log10_dh_dforget_bias", "forget bias", "corner"),
    ("log10_dh_dlambda", "eigenvalues", "path"),
)


def sensitivity_figure(result: Result) -> LineFigure:
    """‖∂h_t/∂θ‖ over time, all parameters together and kind by kind, and what one step alone gives."""
    steps = tuple(float(t) for t in column(result, "lag"))
    curves = [measured_curve(result, "all parameters")]
    curves += [
        thinned(Curve(title, role, steps, tuple(column(result, name))))
        for name, title, role in _SENSITIVITIES
        if has(result, name)
    ]
    said = "How sensitive the state is to the weights. The gap to one step alone is what memory adds."
    title = verdict_sentence(result).rstrip(".")
    return LineFigure(title, said, "step t", "norm of dh_t/dθ", tuple(curves), name="gradient", powers=True)


def overlay(names: Sequence[str], results: Sequence[Result], title: str) -> LineFigure | None:
    """The measured gradient of every source in one figure, each with its horizon."""
    held = [(name, result) for name, result in zip(names, results, strict=True) if has(result, "log10_norm")]
    if not held:
        return None
    curves = tuple(measured_curve(result, name, f"source{i}") for i, (name, result) in enumerate(held))
    # Horizons lie close to one another: the points stand without names, the title gives the numbers.
    spots = tuple(("", *spot[1:]) for _, result in held for spot in horizon_spot(result))
    said = "Measured gradient of every source against the lag; the points are the horizons."
    marks = epsilon_mark(results[0])
    return LineFigure(
        title, said, _LAG_AXIS, "norm of the gradient", curves, marks, name="gradient", powers=True, spots=spots
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
        "How many directions survive", said, _LAG_AXIS, "number of directions", tuple(curves), minor=True, name="rank"
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
        name="heat",
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
        name="bottleneck",
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
    edges = (("0", 0.0), ("1", 1.0))
    return LineFigure("Gates over time", said, "step t", "mean opening", tuple(curves), edges, True, name="gates")


#: Bars of the histogram of time constants, per decade, and at most.
_BARS_PER_DECADE, _MOST_BARS = 8, 40


def time_constant_figure(result: Result) -> LineFigure | None:
    """How many units remember how long, layer by layer, where ``details["time_constants"]`` holds them."""
    layers = plain(result.details.get("time_constants"))
    finite = [[math.log10(v) for v in layer or () if v is not None] for layer in layers or ()]
    every = [value for layer in finite for value in layer]
    if not every:
        return None
    low, high = min(every), max(every)
    bars = min(_MOST_BARS, max(1, round((high - low) * _BARS_PER_DECADE)))
    width = (high - low) / bars or 1.0 / _BARS_PER_DECADE
    roles = ("measured", "theory", "eigen", "bound", "path", "loss")
    curves = []
    for index, values in enumerate(finite):
        if not values:
            continue
        heights = [0] * bars
        for value in values:
            heights[min(bars - 1, int((value - low) / width))] += 1
        edges = [low + width * i for i in range(bars + 1)]
        x = [edge for edge in edges for _ in range(2)]
        y = [0, *(height for height in heights for _ in range(2)), 0]
        name = "units" if len(finite) == 1 else f"layer {index}"
        curves.append(Curve(name, roles[index % len(roles)], tuple(x), tuple(float(height) for height in y)))
    quantiles = [number(result.summary.get(f"time_constant_{name}")) for name in ("median", "q10", "q90")]
    said = "How long units remember by themselves: −1/⟨ln f⟩ of the direct path."
    if None not in quantiles:
        median, tenth, ninth = (significant(value) for value in quantiles)
        said += f" Half the units below {median} steps, a tenth below {tenth}, a tenth above {ninth}."
    return LineFigure(
        "Time constants of the units", said, "log10 of the time constant in steps", "units", tuple(curves),
        minor=True, name="time-constants",
    )  # fmt: skip
