"""One point of a sweep, measured wherever a worker runs: a task in, plain rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from gradscope._version import __version__
from gradscope.errors import GradscopeError, InputError, UsageError

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
        "gradscope.analysis.gradients",
        "measure_gradients",
        "gradscope.analysis.request",
        "GradientsRequest",
        (
            "verdict", "log10_rate", "log10_rate_low", "log10_rate_high", "horizon", "horizon_censored", "peak_lag",
            "log10_peak", "bound_violations", "theory_violations", "theory", "bound", "epsilon",
        ),
        {"loss": "none"},  # no summary field reads the loss, and it costs a second pass
    ),
    "spectrum": Measure(
        "gradscope.analysis.spectrum",
        "measure_spectrum",
        "gradscope.analysis.request",
        "RunRequest",
        ("max_spectral_radius", "max_spectral_norm", "blocks", *_BLOCK_FIELDS),
    ),
    "lyapunov": Measure(
        "gradscope.analysis.lyapunov",
        "measure_exponents",
        "gradscope.analysis.lyapunov",
        "LyapunovRequest",
        ("max", "sum", "mean_log_det", "kaplan_yorke_dimension", "entropy_rate", "converged", "steps", "verdict"),
    ),
}  # fmt: skip


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


def _entry(measure: str) -> Measure:
    if measure not in MEASURES:
        raise UsageError(f"--measure {measure}: wanted {', '.join(MEASURES)}.")
    return MEASURES[measure]


def measure_point(task: Task) -> Rows:
    """Measure one point; a failure is a row with its error.

    Raises
    ------
    InputError
        The worker runs another version than the parent: its rows would not be the same.
    """
    if task.version != __version__:
        raise InputError(
            f"a worker runs gradscope {__version__}, this sweep {task.version}: install one version everywhere."
        )
    try:
        return measure_source(task)
    except FAILURES as problem:
        return [failed_row(_message(problem, task.names))]


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
    request = request_class(task.measure)(**entry.options, **task.options)
    function: Callable[..., Any] = getattr(import_module(entry.module), entry.function)
    source = build_source(parse_source(task.source), seed=request.seed, dtype=request.dtype)
    rows: Rows = []
    for result in function(source, request):
        fields = dict(result.summary)
        if task.measure == "spectrum":
            fields |= _leading_block(result.columns)
        row = {name: result.source[name] for name in ("layer", "direction") if name in result.source}
        rows.append({**row, **{name: fields.get(name) for name in entry.fields}, "status": "ok", "error": None})
    return rows


def _leading_block(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the recurrent block with the largest spectral radius, the first of equals."""
    radii = list(columns["spectral_radius"])
    leading = radii.index(max(radii))
    return {name: columns[name][leading] for name in _BLOCK_FIELDS}
