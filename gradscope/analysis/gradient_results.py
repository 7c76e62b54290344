"""Where theory stands beside measurement: the gradient at every lag, its closed form, and its bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gradscope.analysis.article_factors import article_factors
from gradscope.analysis.cases import Case, cases_of, layer_cases
from gradscope.analysis.figure_details import figure_details
from gradscope.analysis.living import ENDED, UNDERFLOW, ZERO, Living, by_layer, flat, mean_of_nonzero
from gradscope.analysis.loss_map_details import loss_map_details
from gradscope.analysis.losses import LossSide, loss_side
from gradscope.analysis.memory_units import time_constant_summary
from gradscope.analysis.nulls import finite, nulls
from gradscope.analysis.readouts import what_follows
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.slopes import LayerSlopes, gather_slopes, time_constants_by_layer
from gradscope.analysis.theory_columns import TheoryColumns, TheoryQuestion, theory_columns
from gradscope.analysis.verdict import describe_course, underflowed_lags
from gradscope.analysis.weight_gradients import measure_weight_gradients
from gradscope.errors import UsageError
from gradscope.fields.gradients_fields import BOUNDS
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import log10_at_most, log10_rounding
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
    return [result for part in gradient_parts(source, request) for result in part()]


def gradient_parts(source: Source, request: GradientsRequest) -> list[Callable[[], list[Result]]]:
    """What gives the results of a source, each part on its own; a bidirectional network is run here, once for all."""
    if request.wrt != "state" and request.factors:
        raise UsageError(f"--factors takes the gradient of W_hh through the states apart: drop --wrt {request.wrt}.")
    if not source.gives_several_results and not request.per_layer:
        return [lambda: [_measured(case, request) for case in cases_of(source, request)]]
    cases = cases_of(source, request)
    if request.per_layer:
        cases += [part for case in cases for part in layer_cases(case, request)]
    return [partial(_listed, case, request) for case in cases]


def _listed(case: Case, request: GradientsRequest) -> list[Result]:
    return [_measured(case, request)]


def _measured(case: Case, request: GradientsRequest) -> Result:
    if request.wrt == "state":
        return _result(case, request)
    if request.wrt == "weights":
        from gradscope.analysis.weight_sensitivity_results import measure_sensitivity_to_weights

        return measure_sensitivity_to_weights(case, request)
    from gradscope.analysis.input_sensitivity import measure_input_sensitivity

    return measure_input_sensitivity(case, request)


@dataclass(frozen=True)
class Beforehand:
    """What was measured for many networks side by side, one network's share of it; or what is not to be compared."""

    norms: LagNorms
    steps: StepNorms
    block: Array | None
    powers: PowerNorms | None
    loss: LossGradients | None
    tails: WeightTails | None = None
    theory: TheoryColumns | None = None


def measure_case(case: Case, request: GradientsRequest, beforehand: Beforehand | None = None) -> Result:
    """Measure one trajectory, except for what was measured beforehand."""
    return _result(case, request, beforehand)


def _result(case: Case, request: GradientsRequest, beforehand: Beforehand | None = None) -> Result:
    """Measure, column by column: each quantity per sample is reduced to its column before the next is made.

    A million lags are fifteen columns of eight megabytes; all per-sample arrays at once would be twice that.
    """
    label, anchor = str(case.record["name"]), _anchor(request)
    trajectory = case.trajectory
    gathered = [] if trajectory is None else gather_slopes(trajectory, anchor, starts=case.starts)
    if beforehand is not None:
        norms, steps = beforehand.norms, beforehand.steps
    else:
        norms = measure_norms(
            case.tape, anchor=anchor, method=_method(request), progress=request.track(f"{label}: norms")
        )
        steps = step_norms(case.tape)
    log10_steps = np.where(steps.zero, -np.inf, steps.log10_norm)
    underflow = underflowed_lags(case, anchor, norms, log10_steps, gathered)
    living = Living(norms.zero, underflow, norms.nonfinite, case.ended(case.tape.n_steps + 1))
    columns = norm_columns(case, norms, living)
    # Where every sample lives the mean over the batch is that over the survivors.
    survivors = None if living.all_alive else living.to_the_end(norms.log10_norm)
    del norms, steps, underflow
    powers = None if beforehand is None else beforehand.powers
    theory = None if beforehand is None else beforehand.theory
    if theory is None:
        theory = theory_columns(TheoryQuestion(case, anchor, gathered, living.mean, powers))
    log10_slopes = gathered[0].log10_mean if request.factors and gathered else None
    times = _time_constants(case, gathered)
    del gathered
    path = living.mean(sums_by_lag(log10_steps, anchor))
    gated = theory.certificate is None and not isinstance(case.tape, Seq2SeqTape)
    if gated and says_nothing(theory.bound, path):
        theory = replace(theory, bound=np.full_like(theory.bound, np.nan), bound_name=None)
    # Exact zeros stay −inf until the violations are counted: they are limits too.
    columns["log10_theory"] = theory.estimate
    columns["log10_eigen"] = theory.eigen
    columns["log10_bound"] = theory.bound
    columns["log10_path_bound"] = path
    block = beforehand.block if beforehand is not None else log10_block_bound(case.tape, log10_steps, anchor=anchor)
    columns["log10_block_bound"] = _nothing(case) if block is None else living.mean(block)
    proof = theory.contraction
    columns["log10_contraction_bound"] = _nothing(case) if proof is None else proof.log10_bound(case.tape.n_steps)
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
    factors = article_factors(case, request, log10_slopes, loss, powers=powers) if request.factors else None
    columns |= {} if factors is None else factors.columns
    weights = measure_weight_gradients(
        case, loss.term if loss else None, request, tails=None if beforehand is None else beforehand.tails
    )
    columns["log10_dloss_dweight_tail"] = _nothing(case) if weights.tail is None else weights.tail
    if isinstance(case.tape, Seq2SeqTape):
        phases = case.tape.phases()
        columns["phase"] = np.array(phases[::-1] if anchor == "start" else phases, dtype=object)
    columns["zero_samples"], columns["underflow_samples"] = living.count(ZERO), living.count(UNDERFLOW)
    if case.starts is not None:
        columns["samples"] = living.n_samples - living.count(ENDED)
    columns["status"] = columns.pop("status")  # the last column, as in the contract
    warnings = [*case.warnings, *(factors.warnings if factors else ())]
    if isinstance(found, str):
        warnings.append(found)
    warnings += what_follows(case, loss.readout) if loss else ()
    n = case.tape.state_size
    summary, more = describe_course(
        columns, request, theory, case.tape.n_steps, state_size=n, living=living, survivors=survivors
    )
    for name in ("log10_theory", "log10_eigen", *BOUNDS):
        columns[name] = finite(columns[name])
    summary |= {**weights.summary} | time_constant_summary(times) | reach_wanted(columns, request, case.tape.n_steps, n)
    keep = _kept_lags(request, case.tape.n_steps)
    if keep is not None:
        columns = {name: values[keep] for name, values in columns.items()}
    settings = {**case.settings, "loss": loss.description if loss else "none"}
    settings["readout"] = loss.readout if loss else None
    details = {**figure_details(case, request), **(factors.details if factors else {})}
    details |= {} if beforehand is not None else loss_map_details(case, request, loss)
    if any(layer is not None for layer in times):
        details["time_constants"] = [None if layer is None else nulls(layer) for layer in times]
    return Result(case.record, settings, columns, summary, tuple(warnings + more), details)


def reach_wanted(columns: dict[str, Array], request: GradientsRequest, n_steps: int, state_size: int) -> dict[str, Any]:
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
    if status == "doubtful":
        # Below epsilon with all that rounding can have taken away, or nobody can tell.
        rounding = log10_rounding(request.need, state_size, columns["log10_path_bound"][request.need])
        known = bool(log10_at_most(found, rounding) < np.log10(request.epsilon))
    enough = bool(np.isfinite(found) and found >= np.log10(request.epsilon)) if known else None
    return {"need": request.need, "enough": enough}


def _time_constants(case: Case, gathered: list[LayerSlopes]) -> list[Array | None]:
    """Of every unit, layer by layer; nothing for an encoder–decoder.

    An encoder's units are not the decoder's: a mean over both would be nobody's.
    """
    if isinstance(case.tape, Seq2SeqTape) or not case.tape.n_steps:
        return []
    return time_constants_by_layer(gathered)


def _anchor(request: GradientsRequest) -> Any:
    return request.anchor


def _method(request: GradientsRequest) -> Any:
    return request.method


def _nothing(case: Case) -> Array:
    """A column of nulls that takes no memory."""
    return np.broadcast_to(np.nan, (case.tape.n_steps + 1,))


def norm_columns(case: Case, norms: LagNorms, living: Living) -> dict[str, Array]:
    """The measured columns, one entry per lag; NaN is null."""
    status = living.status()
    gone = status != "ok"
    doubtful = flat(norms.doubtful).any(axis=1)
    log10 = np.where(norms.zero, -np.inf, norms.log10_norm)
    columns: dict[str, Any] = {"lag": np.arange(case.tape.n_steps + 1)}
    columns["log10_norm"] = np.where(gone, np.nan, living.mean(log10))
    columns["log10_norm_std"] = living.std(log10)
    columns["log10_norm_h"] = _nothing(case)
    if case.tape.h_components is not None:
        # The corner may be exactly zero where the product is not: those samples say nothing of the others.
        corner = np.where(norms.zero_h | ~living.alive, np.nan, norms.log10_norm_h)
        columns["log10_norm_h"] = mean_of_nonzero(corner)
    columns["stable_rank"] = np.where(gone, np.nan, living.mean(norms.stable_rank))
    columns["rank"] = _largest_rank(norms.rank, living, status)
    status[doubtful & ~gone] = "doubtful"  # the number is given all the same
    columns["status"] = status
    return columns


def _largest_rank(rank: Array, living: Living, status: Array) -> Array:
    """The largest rank among the living samples; 0 of a zero product, null where nothing is known."""
    ranks = np.asarray(np.where(living.alive, flat(rank), 0).max(axis=1))
    unknown = np.isin(status, ("underflow", "nonfinite"))
    if not unknown.any():
        return ranks
    with_nulls = ranks.astype(object)
    with_nulls[unknown] = None
    return with_nulls


def _loss_columns(case: Case, loss: LossGradients | None) -> dict[str, Array]:
    """The loss side, one entry per lag; nulls for ``--loss none``."""
    if loss is None:
        return {"log10_dloss_dstate": _nothing(case), "log10_dloss_dweight": _nothing(case)}
    columns = {
        "log10_dloss_dstate": mean_of_nonzero(loss.log10_dstate),
        "log10_dloss_dweight": mean_of_nonzero(loss.log10_dweight),
    }
    if loss.log10_dweight_layers.shape[1]:
        columns["log10_dloss_dweight_layers"] = by_layer(loss.log10_dweight_layers)
    return columns


def _kept_lags(request: GradientsRequest, n_steps: int) -> Array | None:
    if request.lags is None:
        return None
    kept = [lag for lag in request.lags if 0 <= lag <= n_steps]
    if not kept:
        raise UsageError(f"--lags {request.lags_text} keeps none of the lags 0 … {n_steps}: choose lags up to T.")
    return np.array(kept)
