"""``gradients --wrt inputs``: how far h_T still hears each x_j, its share of the total, and a control (theory C08)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.input_gradients import input_columns
from gradscope.analysis.request import GradientsRequest
from gradscope.errors import UsageError
from gradscope.jacobians.base import Array
from gradscope.networks.run import Trajectory
from gradscope.networks.sensitivity import Influence, measure_influence, sensitivity_of
from gradscope.numerics.statistics import fit_rate
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
    columns = _columns(found.log10_norm, found.log10_norm_frobenius, found.share, T)
    heard, said = input_columns(case, trajectory, request)
    status = columns.pop("status")
    columns |= {**heard, "status": status}
    summary = {
        **_reach(columns, request.epsilon),
        "log10_total": _mean(found.log10_total),
        "rank": int(np.max(found.rank)),
        "effective_rank": _mean(found.effective_rank),
        "epsilon": request.epsilon,
        "theory": "∂h_T/∂x_j = J_T ⋯ J_{j+1} ∂s_j/∂x_j",
        **_control(trajectory, request),
    }
    if request.lags is not None:
        keep = np.isin(columns["lag"], request.lags)
        if not keep.any():
            raise UsageError(f"--lags {request.lags_text} keeps none of the lags 0 … {T - 1}: choose lags below T.")
        columns = {name: values[keep] for name, values in columns.items()}
    settings = {**case.settings, "wrt": "inputs"}
    return Result(case.record, settings, columns, summary, (*case.warnings, *said))


def _columns(spectral: Array, frobenius: Array, share: Array, T: int) -> dict[str, Array]:
    """Rows from x_T (lag 0) back to x_1; NaN where h_T does not hear x_j at all."""
    steps = np.arange(T, 0, -1)
    log10 = _batch_mean(spectral)[::-1]
    return {
        "lag": T - steps,
        "step": steps,
        "log10_norm": log10,
        "log10_norm_std": _batch_std(spectral)[::-1],
        "log10_norm_frobenius": _batch_mean(frobenius)[::-1],
        "share": _batch_mean(share)[::-1],
        "status": np.where(np.isnan(log10), "zero", "ok").astype(object),
    }


def _batch_mean(values: Array) -> Array:
    return np.asarray(values.reshape(values.shape[0], -1).mean(axis=1))


def _batch_std(values: Array) -> Array:
    flat = values.reshape(values.shape[0], -1)
    return np.asarray(flat.std(axis=1, ddof=1)) if flat.shape[1] > 1 else np.full(flat.shape[0], np.nan)


def _mean(values: Array) -> float | None:
    mean = float(np.mean(values))
    return mean if np.isfinite(mean) else None


def _reach(columns: dict[str, Array], epsilon: float) -> dict[str, Any]:
    """Rate, horizon and peak of the sensitivities, as for states."""
    log10, lags = columns["log10_norm"], columns["lag"]
    fit = fit_rate(lags, log10)
    T = len(lags)
    verdict = "neutral"
    if np.isnan(log10).any() or (fit.high < 0 and fit.rate * T <= -1):
        verdict = "vanishing"
    elif fit.low > 0 and fit.rate * T >= 1:
        verdict = "exploding"
    above = np.isfinite(log10) & (log10 >= np.log10(epsilon))
    heard = np.isfinite(log10).any()
    peak = int(np.nanargmax(log10)) if heard else None
    return {
        "verdict": verdict,
        "log10_rate": float(fit.rate),
        "log10_rate_low": float(fit.low),
        "log10_rate_high": float(fit.high),
        "horizon": int(lags[above].max()) if above.any() and not above.all() else None,
        "horizon_censored": bool(above.all()),
        "peak_lag": None if peak is None else int(lags[peak]),
        "log10_peak": None if peak is None else float(log10[peak]),
        "bound_violations": 0,
        "theory_violations": 0,
    }


def _control(trajectory: Trajectory, request: GradientsRequest) -> dict[str, Any]:
    """∂h_t/∂x_1 with what lies between permuted, and made five times larger (theory C08)."""
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
