"""``gradients --wrt inputs``: how far h_T still hears each x_j, its share of all, and a control (theory.md C08)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.input_gradients import input_columns
from gradscope.analysis.living import ENDED, ZERO, Living
from gradscope.analysis.nulls import number_or_none
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.verdict import describe_alone
from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.sensitivity import Influence, InputSensitivity, measure_influence, sensitivity_of
from gradscope.networks.trajectory import Trajectory
from gradscope.records import Result
from gradscope.sources.kinds import EncoderDecoderSource
from gradscope.sources.seeding import generator

#: The control changes x_2 … x_{t−1} and watches ∂h_t/∂x_1, at t = 10 as in the article (or T, if shorter).
CONTROL_STEP = 10


def measure_input_sensitivity(case: Case, request: GradientsRequest) -> Result:
    """One row per input step j (lag T − j): log10 ‖∂h_T/∂x_j‖₂, its Frobenius norm and its share of the total.

    Raises
    ------
    UsageError
        Where no input is read (ready Jacobians, a matrix alone) or the run has no step.
    """
    trajectory = case.tape
    if isinstance(case.source, EncoderDecoderSource):
        raise UsageError(
            f"--wrt inputs: not measured for an encoder–decoder ('{case.record['name']}').\n"
            "Leave it out: rows of phase encoder say how far a decoder step reaches into the encoder's states."
        )
    if not isinstance(trajectory, Trajectory) or trajectory.network.input_size == 0:
        raise UsageError(f"--wrt inputs: '{case.record['name']}' reads no inputs that a derivative could be taken by.")
    if trajectory.n_steps == 0:
        raise UsageError("--wrt inputs needs at least one step: raise -T.")
    if request.anchor != "end":
        raise UsageError("--wrt inputs measures h_T against every x_j: drop --anchor start.")
    T = trajectory.n_steps
    found = sensitivity_of(trajectory, progress=request.track(f"{case.record['name']}: inputs"))
    deaf = np.isnan(found.log10_norm[::-1])
    # x_j at lag k is the input of step T − k: a sequence of L steps has lags 0 … L − 1.
    ended = case.ended(T + 1)
    living = Living(deaf, np.zeros_like(deaf), np.zeros_like(deaf), None if ended is None else ended[1:])
    columns = _columns(found, living, T)
    survivors = None if living.all_alive else living.to_the_end(found.log10_norm[::-1])
    reach, more = describe_alone(columns["log10_norm"], columns["status"], survivors=survivors, epsilon=request.epsilon)
    heard, said = input_columns(case, trajectory, request)
    status = columns.pop("status")
    if case.starts is not None:
        columns["samples"] = living.n_samples - living.count(ENDED)
    columns |= {**heard, "status": status}
    summary = {
        **reach,
        "zero_samples": int(living.count(ZERO).max()),
        "log10_total": _mean(found.log10_total),
        "rank": int(np.max(found.rank)),
        "effective_rank": _mean(found.effective_rank),
        "epsilon": request.epsilon,
        "theory": "∂h_T/∂x_j = J_T ⋯ J_{j+1} ∂s_j/∂x_j",
        **(_control(trajectory, request) if case.starts is None else {}),
    }
    if request.lags is not None:
        keep = np.isin(columns["lag"], request.lags)
        if not keep.any():
            raise UsageError(f"--lags {request.lags_text} keeps none of the lags 0 … {T - 1}: choose lags below T.")
        columns = {name: values[keep] for name, values in columns.items()}
    settings = {**case.settings, "wrt": "inputs"}
    return Result(case.record, settings, columns, summary, (*case.warnings, *said, *living.sentences(), *more))


def _columns(found: InputSensitivity, living: Living, T: int) -> dict[str, Array]:
    """Rows from x_T (lag 0) back to x_1, means over the samples whose h_T hears x_j at all."""
    steps = np.arange(T, 0, -1)
    status = living.status()
    gone = status != "ok"

    def mean(values: Array) -> Array:
        return np.where(gone, np.nan, living.mean(np.nan_to_num(values[::-1], nan=0.0)))

    return {
        "lag": T - steps,
        "step": steps,
        "log10_norm": mean(found.log10_norm),
        "log10_norm_std": living.std(found.log10_norm[::-1]),
        "log10_norm_frobenius": mean(found.log10_norm_frobenius),
        "share": living.mean_of_running(np.nan_to_num(found.share, nan=0.0)[::-1]),
        "zero_samples": living.count(ZERO),
        "status": status,
    }


def _mean(values: Array) -> float | None:
    return number_or_none(np.mean(values))


def _control(trajectory: Trajectory, request: GradientsRequest) -> dict[str, Any]:
    """∂h_t/∂x_1 with what lies between permuted, and made five times larger (theory.md C08)."""
    step = min(CONTROL_STEP, trajectory.n_steps)
    if step < 3:
        return {}
    x = trajectory.inputs.read(1, step)
    influence: Influence = measure_influence(
        trajectory.network, x, trajectory.state(0), rng=generator(request.seed, "control"), step=step
    )
    return {
        "influence_step": step,
        "log10_influence": _mean(influence.original),
        "log10_influence_permuted": _mean(influence.permuted),
        "log10_influence_rescaled": _mean(influence.rescaled),
    }
