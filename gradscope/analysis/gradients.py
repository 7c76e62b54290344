"""Where theory stands beside measurement: the gradient at every lag, its closed form, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.analysis.cases import Case, cases_of, layer_cases
from gradscope.analysis.figure_details import figure_details
from gradscope.analysis.input_sensitivity import measure_input_sensitivity
from gradscope.analysis.losses import loss_side
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.slopes import gather_slopes
from gradscope.analysis.theory_columns import TheoryColumns, theory_columns
from gradscope.analysis.verdict import describe_course, underflowed_lags
from gradscope.errors import UsageError
from gradscope.jacobians.base import Array
from gradscope.linalg import PowerNorms
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.numerics.backprop import LossGradients, measure_loss_gradients
from gradscope.numerics.block_bound import log10_block_bound
from gradscope.numerics.propagate import LagNorms, StepNorms, measure_norms, step_norms
from gradscope.records import Result
from gradscope.sources.build import Source
from gradscope.theory.closed_forms import sums_by_lag


def measure_gradients(source: Source, request: GradientsRequest) -> list[Result]:
    """Measure one source: one result, or one per layer and direction of a bidirectional network.

    ``per_layer`` adds one per layer of a stack, each alone, driven by what it reads in the stack.
    """
    cases = cases_of(source, request)
    if request.per_layer:
        cases += [part for case in cases for part in layer_cases(case, request)]
    if request.wrt == "inputs":
        return [measure_input_sensitivity(case, request) for case in cases]
    return [_result(case, request) for case in cases]


@dataclass
class Measured:
    """Everything measured on one trajectory, per lag and sample."""

    norms: LagNorms
    log10_steps: Array
    log10_path: Array
    loss: LossGradients | None
    log10_block: Array | None = None
    underflow: Array = field(default_factory=lambda: np.zeros(0, dtype=bool))


@dataclass(frozen=True)
class Beforehand:
    """What was measured for many networks side by side, one network's share of it."""

    norms: LagNorms
    steps: StepNorms
    block: Array | None
    powers: PowerNorms | None


def measure_case(case: Case, request: GradientsRequest, beforehand: Beforehand | None = None) -> Result:
    """Measure one trajectory, except for what was measured beforehand."""
    return _result(case, request, beforehand)


def _result(case: Case, request: GradientsRequest, beforehand: Beforehand | None = None) -> Result:
    label = str(case.record["name"])
    if beforehand is not None:
        norms, steps = beforehand.norms, beforehand.steps
    else:
        norms = measure_norms(case.tape, anchor=_anchor(request), progress=request.track(f"{label}: norms"))
        steps = step_norms(case.tape)
    log10_steps = np.where(steps.zero, -np.inf, steps.log10_norm)
    path = sums_by_lag(log10_steps, _anchor(request))
    loss = loss_side(case, request)
    gradients = None
    if loss is not None:
        gradients = measure_loss_gradients(
            case.tape,
            loss[0],
            n_layers=len(case.network.layers) if case.network else 1,
            progress=request.track(f"{label}: loss"),
        )
    if beforehand is not None:
        block = beforehand.block
    else:
        block = log10_block_bound(case.tape, log10_steps, anchor=_anchor(request))
    measured = Measured(norms, log10_steps, path, gradients, block)
    trajectory = case.trajectory
    gathered = [] if trajectory is None else gather_slopes(trajectory, _anchor(request))
    theory = theory_columns(case, request, gathered, powers=None if beforehand is None else beforehand.powers)
    measured.underflow = underflowed_lags(case, _anchor(request), norms, log10_steps, gathered)
    columns = _columns(case, request, measured, theory)
    warnings = [*case.warnings, *theory.warnings]
    summary, more = describe_course(columns, request, theory, case.tape.n_steps)
    keep = _kept_lags(request, case.tape.n_steps)
    if keep is not None:
        columns = {name: values[keep] for name, values in columns.items()}
    settings = {**case.settings, "loss": loss[1] if loss else "none"}
    details = {**theory.details, **figure_details(case, request)}
    return Result(case.record, settings, columns, summary, tuple(warnings + more), details)


def _anchor(request: GradientsRequest) -> Any:
    return request.anchor


def _columns(case: Case, request: GradientsRequest, measured: Measured, theory: TheoryColumns) -> dict[str, Array]:
    """Rows by column, one entry per lag; NaN is null."""
    T = case.tape.n_steps
    norms = measured.norms
    bad = norms.nonfinite | norms.zero
    log10 = np.where(norms.zero, -np.inf, norms.log10_norm)
    status = np.full(T + 1, "ok", dtype=object)
    status[_any(norms.zero)] = "zero"
    status[measured.underflow] = "underflow"
    status[_any(norms.nonfinite)] = "nonfinite"
    untrusted = status != "ok"
    columns: dict[str, Any] = {"lag": np.arange(T + 1)}
    columns["log10_norm"] = np.where(untrusted, np.nan, _mean(log10))
    columns["log10_norm_std"] = np.where(untrusted, np.nan, _std(log10))
    has_corner = case.tape.h_components is not None
    corner = np.where(norms.zero_h, -np.inf, norms.log10_norm_h) if has_corner else np.full_like(log10, np.nan)
    columns["log10_norm_h"] = np.where(untrusted, np.nan, _finite(_mean(corner)))
    columns["stable_rank"] = np.where(untrusted, np.nan, _mean(np.where(bad, np.nan, norms.stable_rank)))
    columns["rank"] = np.where(untrusted, 0, norms.rank.reshape(T + 1, -1).max(axis=1))
    columns["log10_theory"] = _finite(theory.estimate)
    columns["log10_eigen"] = _finite(theory.eigen)
    columns["log10_bound"] = _finite(theory.bound)
    columns["log10_path_bound"] = _finite(_mean(measured.log10_path))
    nothing = np.full(T + 1, np.nan)
    columns["log10_block_bound"] = nothing if measured.log10_block is None else _finite(_mean(measured.log10_block))
    if measured.loss is not None:
        columns["log10_dloss_dstate"] = _nan_mean(measured.loss.log10_dstate)
        columns["log10_dloss_dweight"] = _nan_mean(measured.loss.log10_dweight)
        if measured.loss.log10_dweight_layers.shape[1] > 1:
            columns["log10_dloss_dweight_layers"] = _nan_mean_layers(measured.loss.log10_dweight_layers)
    else:
        columns["log10_dloss_dstate"] = columns["log10_dloss_dweight"] = np.full(T + 1, np.nan)
    if isinstance(case.tape, Seq2SeqTape):
        phases = case.tape.phases()
        columns["phase"] = np.array(phases[::-1] if request.anchor == "start" else phases, dtype=object)
    columns["status"] = status
    return columns


def _flat(values: Array) -> Array:
    return values.reshape(values.shape[0], -1)


def _any(flags: Array) -> Array:
    return np.asarray(_flat(flags).any(axis=1))


def _mean(values: Array) -> Array:
    return np.asarray(_flat(values).mean(axis=1))


def _nan_mean(values: Array) -> Array:
    """Mean over the batch; one sample whose gradient is exactly zero (NaN) makes the mean null."""
    return _mean(values)


def _nan_mean_layers(values: Array) -> Array:
    out = np.empty(values.shape[0], dtype=object)
    means = values.reshape(*values.shape[:2], -1).mean(axis=2)
    for lag, row in enumerate(means):
        out[lag] = [None if np.isnan(v) else float(v) for v in row]
    return out


def _std(values: Array) -> Array:
    flat = _flat(values)
    if flat.shape[1] < 2:
        return np.full(flat.shape[0], np.nan)
    with np.errstate(invalid="ignore"):
        return np.asarray(flat.std(axis=1, ddof=1))


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _kept_lags(request: GradientsRequest, n_steps: int) -> Array | None:
    if request.lags is None:
        return None
    kept = [lag for lag in request.lags if 0 <= lag <= n_steps]
    if not kept:
        raise UsageError(f"--lags {request.lags_text} keeps none of the lags 0 … {n_steps}: choose lags up to T.")
    return np.array(kept)
