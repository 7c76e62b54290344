"""``gradients --wrt weights``: ‖∂h_t/∂θ‖ by t, and whether it is the gradient that vanishes or the loss that is sharp.

A network can fail to learn long memories for two reasons that call for different cures. Its gradient vanishes:
∂h_t/∂h_i falls to nothing. Or its gradient lives and, because it does, every step adds to ∂h_t/∂θ: the same step in θ
moves h_t many times as far as a network without memory would let it, and the loss is too sharp for its learning rate
(Zucchet and Orvieto 2024). The first is measured as always, the second stands beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.lengths import refuse_lengths
from gradscope.analysis.living import UNDERFLOW, ZERO, Living, flat, mean_of_nonzero
from gradscope.analysis.memory_units import time_constant_summary
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.slopes import gather_slopes, time_constants_by_layer
from gradscope.analysis.verdict import describe_alone
from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.trajectory import Trajectory
from gradscope.networks.weight_sensitivity import (
    Plan,
    WeightSensitivity,
    measure_weight_sensitivity,
    plan_sensitivity,
)
from gradscope.numerics.propagate import measure_norms
from gradscope.records import Result

#: Kinds of parameters, and the columns they have.
COLUMNS = {
    "weight_hh": "log10_dh_dweight_hh",
    "weight_ih": "log10_dh_dweight_ih",
    "bias": "log10_dh_dbias",
    "forget_bias": "log10_dh_dforget_bias",
    "lambda": "log10_dh_dlambda",
}
#: One decade above what a single step gives is what "too sharp" needs, as a verdict needs one decade over the run.
SHARP = 10.0
#: Runs too short to tell.
TOO_SHORT = 3


def measure_sensitivity_to_weights(case: Case, request: GradientsRequest) -> Result:
    """One row per step t (its lag counts from s_0): log10 ‖∂h_t/∂θ‖_F, all parameters together and kind by kind.

    Raises
    ------
    UsageError
        Where there are no weights that all steps share, or no step.
    """
    trajectory, T = case.tape, case.tape.n_steps
    if not isinstance(trajectory, Trajectory) or trajectory.network.step_weight_bytes:
        raise UsageError(
            f"--wrt weights: '{case.record['name']}' has no recurrent weights that all its steps share.\n"
            "It speaks of single recurrences, stacks and single directions."
        )
    if request.anchor != "end":
        raise UsageError("--wrt weights measures h_t at every t: drop --anchor start.")
    steps = tuple(range(1, T + 1)) if request.lags is None else tuple(t for t in sorted(request.lags) if 1 <= t <= T)
    if not steps:
        raise UsageError(f"--wrt weights has rows at t = 1 … {T}: raise -T, or choose --lags among them.")
    refuse_lengths(request, "--wrt weights, whose t counts from a common start")
    plan = plan_sensitivity(trajectory, steps, request.memory)
    label = f"{case.record['name']}: weights ({plan.road}, {_bytes(plan.size)} at a time)"
    found = measure_weight_sensitivity(trajectory, steps, plan, progress=request.track(label))
    living = _living(trajectory, found)
    columns = _columns(found, living)
    state, said, times = _state_gradient(case, request)
    summary = {**state, **_sharpness(found, T), **time_constant_summary(times), "epsilon": request.epsilon}
    settings = {**case.settings, "wrt": "weights", "loss": "none", "readout": None, **_settings(plan)}
    return Result(case.record, settings, columns, summary, (*case.warnings, *living.sentences(), *said))


def _settings(plan: Plan) -> dict[str, Any]:
    return {"sensitivity_road": plan.road, "sensitivity_bytes": plan.size}


def _bytes(size: int) -> str:
    return f"{size / 2**20:.3g} MiB"


def _living(trajectory: Trajectory, found: WeightSensitivity) -> Living:
    """A sensitivity of exactly zero, told from one that a slope below float64's range decides."""
    zero = np.isneginf(found.log10_norms["all"])
    lost = np.logical_or.reduce([layer.underflow for layer in gather_slopes(trajectory, "end")])
    lost = np.logical_or.accumulate(lost, axis=0)[np.array(found.steps) - 1]
    return Living(zero & ~lost, zero & lost, np.zeros_like(zero))


def _columns(found: WeightSensitivity, living: Living) -> dict[str, Array]:
    status, every = living.status(), found.log10_norms["all"]
    steps = np.array(found.steps)
    columns: dict[str, Array] = {
        "lag": steps,
        "step": steps,
        "log10_norm": mean_of_nonzero(every),
        "log10_norm_std": living.std(every),
        "log10_one_step": mean_of_nonzero(found.log10_one_step),
    }
    for kind, name in COLUMNS.items():
        held = found.log10_norms.get(kind)
        columns[name] = np.full(len(steps), np.nan) if held is None else mean_of_nonzero(held)
    columns["zero_samples"], columns["underflow_samples"] = living.count(ZERO), living.count(UNDERFLOW)
    columns["status"] = status
    return columns


def _state_gradient(case: Case, request: GradientsRequest) -> tuple[dict[str, Any], list[str], list[Array | None]]:
    """Verdict, rate, horizon and peak of ∂s_T/∂s_{T−k} along the same run; no theory and no bound is compared."""
    norms = measure_norms(case.tape, anchor="end", progress=request.track(f"{case.record['name']}: norms"))
    living = Living(norms.zero, norms.flushed, norms.nonfinite)
    status = living.status()
    log10 = np.where(status == "ok", living.mean(np.where(norms.zero, -np.inf, norms.log10_norm)), np.nan)
    survivors = None if living.all_alive else living.to_the_end(norms.log10_norm)
    summary, said = describe_alone(log10, status, survivors=survivors, epsilon=request.epsilon)
    summary["theory"] = "∂h_t/∂θ = J_t ∂s_{t−1}/∂θ + (∂s_t/∂θ at step t alone)"
    trajectory = case.tape
    times = time_constants_by_layer(gather_slopes(trajectory, "end")) if isinstance(trajectory, Trajectory) else []
    return summary, said, times


def _sharpness(found: WeightSensitivity, T: int) -> dict[str, Any]:
    """Root mean squares over the later half of the run, and how many times a single step's the whole one is."""
    late = np.array(found.steps) > T // 2
    one_step = _log10_rms(found.log10_one_step[late])
    rms = {kind: _log10_rms(values[late]) for kind, values in found.log10_norms.items()}
    out: dict[str, Any] = {f"log10_rms_{kind}": rms.get(kind) for kind in ("all", *COLUMNS)}
    whole = rms["all"]
    if whole is None or one_step is None or T <= TOO_SHORT:
        return {**out, "log10_amplification": None, "sharpness": "undetermined"}
    amplification = whole - one_step
    sharp = "sharp" if amplification >= np.log10(SHARP) else "flat"
    return {**out, "log10_amplification": amplification, "sharpness": sharp}


def _log10_rms(log10: Array) -> float | None:
    """log10 √⟨10^2x⟩ over steps and samples; None where nothing is above zero."""
    values = flat(log10).ravel()
    if not values.size or not np.isfinite(values).any():
        return None
    top = float(values[np.isfinite(values)].max())
    return top + 0.5 * float(np.log10(np.mean(10.0 ** (2.0 * (values - top)))))
