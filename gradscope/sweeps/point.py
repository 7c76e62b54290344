"""One point of a sweep, measured wherever a worker runs: a task in, plain rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from gradscope._version import __version__
from gradscope.errors import GradscopeError, InputError, UsageError
from gradscope.records import Result, plain
from gradscope.training import columns

#: What a point may fail with and still be an answer; anything else is a bug and ends the sweep.
FAILURES = (GradscopeError, ArithmeticError, ValueError, MemoryError, OSError)


@dataclass(frozen=True)
class Measure:
    """What is measured at a point: a function from (source, request) to results, and the fields it gives.

    Attributes
    ----------
    module, function, request : str
        Imported when first used; ``request`` names the request's class.
    fields : tuple of str
        The columns after the varied keys, fixed beforehand so that the first row of a store knows them.
    options : mapping
        Fields of the request that a sweep sets for itself.
    """

    module: str
    function: str
    request_module: str
    request: str
    fields: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


_BLOCK_FIELDS = (
    "param", "gate", "n", "spectral_radius", "spectral_norm", "log10_condition", "diagonalizable",
    "reconstruction_error", "henrici", "numerical_radius", "numerical_abscissa", "kreiss", "peak_power",
    "log10_peak_power_norm",
)  # fmt: skip

MEASURES: dict[str, Measure] = {
    "gradients": Measure(
        "gradscope.analysis.gradient_results",
        "measure_gradients",
        "gradscope.analysis.request",
        "GradientsRequest",
        (
            "verdict", "course", "log10_rate", "log10_rate_low", "log10_rate_high", "horizon", "horizon_censored",
            "horizon_dip", "horizon_h", "horizon_h_censored", "zero_samples", "underflow_samples", "peak_lag",
            "log10_peak", "bound_violations", "theory_violations", "theory", "bound", "epsilon",
            "horizon_low", "horizon_high", "horizon_h_low", "horizon_h_high", "log10_peak_low", "log10_peak_high",
        ),
        {"loss": "none"},  # no summary field reads the loss, and it costs a second pass
    ),
    "spectrum": Measure(
        "gradscope.analysis.spectrum_results",
        "measure_spectrum",
        "gradscope.analysis.request",
        "RunRequest",
        ("max_spectral_radius", "max_spectral_norm", "blocks", *_BLOCK_FIELDS),
    ),
    "lyapunov": Measure(
        "gradscope.analysis.lyapunov_results",
        "measure_exponents",
        "gradscope.analysis.lyapunov_results",
        "LyapunovRequest",
        ("max", "sum", "mean_log_det", "kaplan_yorke_dimension", "entropy_rate", "converged", "steps", "verdict"),
    ),
}  # fmt: skip

#: What the verb ``series`` asks of each checkpoint; no measure of a sweep, whose points are not in time.
SERIES = Measure(
    "gradscope.training.checkpoint",
    "measure_checkpoint",
    "gradscope.analysis.request",
    "GradientsRequest",
    (*columns.MEASURED, *columns.ABOUT),
)


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker gets: small, plain, self-contained.

    Attributes
    ----------
    source : str
        The point's SOURCE; files by absolute path, since a worker may stand in another directory.
    options : mapping
        Fields of the measure's request.
    names : mapping
        Absolute path → name as the user wrote it, put back into error messages.
    """

    measure: str
    source: str
    options: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    version: str = __version__


#: Rows of a point: the measured fields by name, with ``layer`` and ``direction`` where a source gives several results.
Rows = list[dict[str, Any]]


def request_class(measure: str) -> type[Any]:
    """The request of a measure.

    Raises
    ------
    UsageError
        For a measure that is not known.
    """
    entry = _entry(measure)
    found: type[Any] = getattr(import_module(entry.request_module), entry.request)
    return found


def make_request(measure: str, options: Mapping[str, Any]) -> Any:
    """The request of a point: what a sweep sets for itself, and what was asked for on top of it."""
    return request_class(measure)(**{**_entry(measure).options, **options})


def fields_of(measure: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The measured columns: the measure's fields, and what was asked for by an option (a loss, ``--need``)."""
    fields = _entry(measure).fields
    if measure == "gradients":
        if options.get("loss", "none") != "none":
            fields = (*fields, "tbptt_length", "tbptt_bias", "tbptt_kind")
        if options.get("need") is not None:
            fields = (*fields, "need", "enough")
    return fields


def _entry(measure: str) -> Measure:
    if measure not in MEASURES and measure != "series":
        raise UsageError(f"--measure {measure}: wanted {', '.join(MEASURES)}.")
    return SERIES if measure == "series" else MEASURES[measure]


def measure_point(task: Task) -> Rows:
    """Measure one point; a failure is a row with its error.

    Raises
    ------
    InputError
        The worker runs another version than the parent: its rows would not be the same.
    """
    _check_version(task)
    try:
        return measure_source(task)
    except FAILURES as problem:
        return [failed_row(_message(problem, task.names))]


def _check_version(task: Task) -> None:
    if task.version != __version__:
        raise InputError(
            f"a worker runs gradscope {__version__}, this sweep {task.version}: install one version everywhere."
        )


def failed_row(message: str) -> dict[str, Any]:
    """The row of a point that gave no numbers."""
    return {"status": "error", "error": message}


def _message(problem: BaseException, names: Mapping[str, str]) -> str:
    text = str(problem) if isinstance(problem, GradscopeError) else f"{type(problem).__name__}: {problem}"
    for absolute, written in names.items():
        text = text.replace(absolute, written)
    return " ".join(text.split())


def measure_source(task: Task) -> Rows:
    """Build the point's network and measure it.

    Raises
    ------
    GradscopeError
        Whatever the source or the measurement refuses.
    """
    from gradscope.sources.build import build_source
    from gradscope.sources.spec import parse_source

    entry = _entry(task.measure)
    request = make_request(task.measure, task.options)
    function: Callable[..., Any] = getattr(import_module(entry.module), entry.function)
    source = build_source(parse_source(task.source), seed=request.seed, dtype=request.dtype)
    return rows_of(function(source, request), task)


def rows_of(results: Iterable[Result], task: Task) -> Rows:
    """A row per result: the measure's summary fields."""
    names = fields_of(task.measure, task.options)
    rows: Rows = []
    for result in results:
        summary = dict(result.summary)
        if task.measure == "spectrum":
            summary |= _leading_block(result.columns)
        row = {name: result.source[name] for name in ("layer", "direction") if name in result.source}
        row |= {name: summary.get(name) for name in names}
        rows.append({**row, "status": "ok", "error": None})
    return rows


def measure_group(tasks: Sequence[Task]) -> list[Rows]:
    """Measure a group of points, side by side where they stack; rows of each, in order.

    The outcome depends on the group alone, never on who measures it or when.
    """
    if len(tasks) == 1 or tasks[0].measure != "gradients" or tasks[0].options.get("wrt", "state") != "state":
        return [measure_point(task) for task in tasks]
    from gradscope.sweeps.stacked import can_be_stacked, case_of, measure_stacked

    _check_version(tasks[0])
    rows: list[Rows] = [[] for _ in tasks]
    stack: list[tuple[int, Any, Any]] = []
    for index, task in enumerate(tasks):
        try:
            request = make_request(task.measure, task.options)
            cases = case_of(task.source, request)
        except FAILURES as problem:
            rows[index] = [failed_row(_message(problem, task.names))]
            continue
        if len(cases) == 1 and can_be_stacked(cases[0]):
            stack.append((index, cases[0], request))
        else:
            rows[index] = measure_point(task)
    try:
        results = measure_stacked([case for _, case, _ in stack], [request for *_, request in stack]) if stack else []
    except FAILURES:
        # One of them cannot be measured, or they differ after all: each answers for itself.
        for index, *_ in stack:
            rows[index] = measure_point(tasks[index])
        return rows
    for (index, *_), result in zip(stack, results, strict=True):
        rows[index] = rows_of([result], tasks[index])
    return rows


def _leading_block(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the recurrent block with the largest spectral radius, the first of equals."""
    radii = list(columns["spectral_radius"])
    leading = radii.index(max(radii))
    return {name: plain(columns[name][leading]) for name in _BLOCK_FIELDS}
