"""Where theory stands beside measurement: the gradient at every lag, its closed form, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradscope.analysis.cases import Case, cases_of, layer_cases
from gradscope.analysis.figure_details import figure_details
from gradscope.analysis.losses import LossSide, loss_side
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.slopes import gather_slopes
from gradscope.analysis.theory_columns import theory_columns
from gradscope.analysis.verdict import describe_course, underflowed_lags
from gradscope.analysis.weight_gradients import measure_weight_gradients
from gradscope.errors import UsageError
from gradscope.jacobians.base import Array
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.numerics.backprop import LossGradients, measure_loss_gradients
from gradscope.numerics.block_bound import log10_block_bound
from gradscope.numerics.propagate import LagNorms, StepNorms, measure_norms, step_norms
from gradscope.numerics.weight_tails import WeightTails
from gradscope.records import Result
from gradscope.sources.source import Source
from gradscope.theory.bounds import says_nothing
from gradscope.theory.closed_forms import sums_by_lag
from gradscope.theory.power_norms import PowerNorms


def measure_gradients(source: Source, request: GradientsRequest) -> list[Result]:
    """Measure one source: one result, or one per layer and direction of a bidirectional network.

    ``per_layer`` adds one per layer of a stack, each alone, driven by what it reads in the stack.
    """
    cases = cases_of(source, request)
    if request.per_layer:
        cases += [part for case in cases for part in layer_cases(case, request)]
    if request.wrt == "inputs":
        from gradscope.analysis.input_sensitivity import measure_input_sensitivity

        return [measure_input_sensitivity(case, request) for case in cases]
    return [_result(case, request) for case in cases]


@dataclass(frozen=True)
class Beforehand:
    """What was measured for many networks side by side, one network's share of it."""

    norms: LagNorms
    steps: StepNorms
    block: Array | None
    powers: PowerNorms | None
    loss: LossGradients | None
    tails: WeightTails | None = None


def measure_case(case: Case, request: GradientsRequest, beforehand: Beforehand | None = None) -> Result:
    """Measure one trajectory, except for what was measured beforehand."""
    return _result(case, request, beforehand)


def _result(case: Case, request: GradientsRequest, beforehand: Beforehand | None = None) -> Result:
    """Measure, column by column: each quantity per sample is reduced to its column before the next is made.

    A million lags are fifteen columns of eight megabytes; all per-sample arrays at once would be twice that.
    """
    label, anchor = str(case.record["name"]), _anchor(request)
    trajectory = case.trajectory
    gathered = [] if trajectory is None else gather_slopes(trajectory, anchor)
    if beforehand is not None:
        norms, steps = beforehand.norms, beforehand.steps
    else:
        norms = measure_norms(
            case.tape, anchor=anchor, method=_method(request), progress=request.track(f"{label}: norms")
        )
        steps = step_norms(case.tape)
    log10_steps = np.where(steps.zero, -np.inf, steps.log10_norm)
    underflow = underflowed_lags(case, anchor, norms, log10_steps, gathered)
    columns = _norm_columns(case, norms, underflow)
    del norms, steps, underflow
    theory = theory_columns(case, request, gathered, powers=None if beforehand is None else beforehand.powers)
    del gathered
    columns["log10_theory"] = _finite(theory.estimate)
    columns["log10_eigen"] = _finite(theory.eigen)
    path = _mean(sums_by_lag(log10_steps, anchor))
    gated = theory.certificate is None and not isinstance(case.tape, Seq2SeqTape)
    if gated and says_nothing(theory.bound, path):
        theory = replace(theory, bound=np.full_like(theory.bound, np.nan), bound_name=None)
    columns["log10_bound"] = _finite(theory.bound)
    columns["log10_path_bound"] = _finite(path)
    block = beforehand.block if beforehand is not None else log10_block_bound(case.tape, log10_steps, anchor=anchor)
    columns["log10_block_bound"] = _nothing(case) if block is None else _finite(_mean(block))
    del log10_steps, block
    found = loss_side(case, request)
    loss = found if isinstance(found, LossSide) else None
    if beforehand is not None or loss is None:
        gradients = None if beforehand is None else beforehand.loss
    else:
        n_layers = len(case.network.layers) if case.network else 1
        progress = request.track(f"{label}: loss")
        gradients = measure_loss_gradients(case.tape, loss.term, n_layers=n_layers, progress=progress)
    columns |= _loss_columns(case, gradients)
    del gradients
    weights = measure_weight_gradients(
        case, loss.term if loss else None, request, tails=None if beforehand is None else beforehand.tails
    )
    columns["log10_dloss_dweight_tail"] = _nothing(case) if weights.tail is None else weights.tail
    if isinstance(case.tape, Seq2SeqTape):
        phases = case.tape.phases()
        columns["phase"] = np.array(phases[::-1] if anchor == "start" else phases, dtype=object)
    columns["status"] = columns.pop("status")  # the last column, as in the contract
    warnings = [*case.warnings, *theory.warnings]
    if isinstance(found, str):
        warnings.append(found)
    summary, more = describe_course(columns, request, theory, case.tape.n_steps, state_size=case.tape.state_size)
    summary |= {**weights.summary} | reach_wanted(columns, request, case.tape.n_steps)
    keep = _kept_lags(request, case.tape.n_steps)
    if keep is not None:
        columns = {name: values[keep] for name, values in columns.items()}
    settings = {**case.settings, "loss": loss.description if loss else "none"}
    settings["readout"] = loss.readout if loss else None
    details = {**theory.details, **figure_details(case, request)}
    return Result(case.record, settings, columns, summary, tuple(warnings + more), details)


def reach_wanted(columns: dict[str, Array], request: GradientsRequest, n_steps: int) -> dict[str, Any]:
    """``need`` and whether the gradient is ``enough``: what an output can see (the h corner) is still ≥ epsilon there.

    Raises
    ------
    UsageError
        A lag beyond the run: nothing was measured there.
    """
    if request.need is None:
        return {"need": None, "enough": None}
    if request.need > n_steps:
        raise UsageError(f"--need {request.need} is beyond the run of {n_steps} steps: raise --steps.")
    corner = columns["log10_norm_h"]
    norms = columns["log10_norm"] if np.isnan(corner).all() else corner
    found, status = norms[request.need], columns["status"][request.need]
    known = bool(np.isfinite(found)) or status == "zero"
    enough = bool(np.isfinite(found) and found >= np.log10(request.epsilon)) if known else None
    return {"need": request.need, "enough": enough}


def _anchor(request: GradientsRequest) -> Any:
    return request.anchor


def _method(request: GradientsRequest) -> Any:
    return request.method


def _nothing(case: Case) -> Array:
    """A column of nulls that takes no memory."""
    return np.broadcast_to(np.nan, (case.tape.n_steps + 1,))


def _norm_columns(case: Case, norms: LagNorms, underflow: Array) -> dict[str, Array]:
    """The measured columns, one entry per lag; NaN is null."""
    T = case.tape.n_steps
    # One "ok" for all lags: np.full would make a string for each.
    status = np.empty(T + 1, dtype=object)
    status[:] = "ok"
    status[_any(norms.zero)] = "zero"
    status[underflow] = "underflow"
    status[_any(norms.nonfinite)] = "nonfinite"
    untrusted = status != "ok"
    status[_any(norms.doubtful) & ~untrusted] = "doubtful"  # the number is given all the same
    log10 = np.where(norms.zero, -np.inf, norms.log10_norm)
    columns: dict[str, Any] = {"lag": np.arange(T + 1)}
    columns["log10_norm"] = np.where(untrusted, np.nan, _mean(log10))
    single = _flat(log10).shape[1] < 2
    columns["log10_norm_std"] = _nothing(case) if single else np.where(untrusted, np.nan, _std(log10))
    columns["log10_norm_h"] = _nothing(case)
    if case.tape.h_components is not None:
        corner = np.where(norms.zero_h, -np.inf, norms.log10_norm_h)
        columns["log10_norm_h"] = np.where(untrusted, np.nan, _finite(_mean(corner)))
    bad = norms.nonfinite | norms.zero
    columns["stable_rank"] = np.where(untrusted, np.nan, _mean(np.where(bad, np.nan, norms.stable_rank)))
    columns["rank"] = np.where(untrusted, 0, _flat(norms.rank).max(axis=1))
    columns["status"] = status
    return columns


def _loss_columns(case: Case, loss: LossGradients | None) -> dict[str, Array]:
    """The loss side, one entry per lag; nulls for ``--loss none``."""
    if loss is None:
        return {"log10_dloss_dstate": _nothing(case), "log10_dloss_dweight": _nothing(case)}
    # One sample whose gradient is exactly zero (NaN) has a log of −∞ and makes the mean null.
    columns = {
        "log10_dloss_dstate": _mean(loss.log10_dstate),
        "log10_dloss_dweight": _mean(loss.log10_dweight),
    }
    if loss.log10_dweight_layers.shape[1]:
        columns["log10_dloss_dweight_layers"] = _mean_by_layer(loss.log10_dweight_layers)
    return columns


def _flat(values: Array) -> Array:
    return values.reshape(values.shape[0], -1)


def _any(flags: Array) -> Array:
    return np.asarray(_flat(flags).any(axis=1))


def _mean(values: Array) -> Array:
    flat = _flat(values)
    return flat[:, 0] if flat.shape[1] == 1 else np.asarray(flat.mean(axis=1))


def _mean_by_layer(values: Array) -> Array:
    out = np.empty(values.shape[0], dtype=object)
    means = values.reshape(*values.shape[:2], -1).mean(axis=2)
    for lag, row in enumerate(means):
        out[lag] = [None if np.isnan(v) else float(v) for v in row]
    return out


def _std(values: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(_flat(values).std(axis=1, ddof=1))


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _kept_lags(request: GradientsRequest, n_steps: int) -> Array | None:
    if request.lags is None:
        return None
    kept = [lag for lag in request.lags if 0 <= lag <= n_steps]
    if not kept:
        raise UsageError(f"--lags {request.lags_text} keeps none of the lags 0 … {n_steps}: choose lags up to T.")
    return np.array(kept)
