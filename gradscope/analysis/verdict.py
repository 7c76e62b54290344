"""From columns to an answer: does it vanish, how fast, how far does it reach, does theory agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.slopes import Anchor, LayerSlopes
from gradscope.analysis.theory_columns import TheoryColumns
from gradscope.cells.base import Cell
from gradscope.jacobians.base import Array
from gradscope.log_domain import LN10, LN_TINY
from gradscope.numerics.lag_norms import LagNorms
from gradscope.numerics.statistics import fit_rate
from gradscope.theory.closed_forms import sums_by_lag

#: Norms are exact to 1e-10 relative: a measured value within this of an estimate does not exceed it.
NORM_TOLERANCE = 1e-9
#: One decade over the whole run is what a verdict needs.
VERDICT_DECADES = 1.0


def describe_course(
    columns: Mapping[str, Array], request: GradientsRequest, theory: TheoryColumns, n_steps: int, *, state_size: int
) -> tuple[dict[str, Any], list[str]]:
    """The summary of a gradients result, and warnings that carry a next step."""
    log10, status, lags = columns["log10_norm"], columns["status"], columns["lag"]
    ended = np.isin(status, ("zero", "underflow"))
    fit = fit_rate(lags, log10)
    rate, low, high = (float(v) for v in (fit.rate, fit.low, fit.high))
    if ended.any():
        # From some lag on nothing is left: a rate fitted before it would be an answer to another question.
        rate = low = high = float("nan")
    violations = 0
    for name in ("log10_bound", "log10_path_bound", "log10_block_bound"):
        limit = columns[name]
        if not np.isfinite(limit).any():
            continue
        allowance = rounding_allowance(n_steps, limit, columns["log10_path_bound"], state_size=state_size)
        violations += int(_exceeds(log10, limit, allowance).sum())
    summary: dict[str, Any] = {
        "verdict": _verdict(low, high, rate, n_steps, bool(ended.any())),
        "log10_rate": rate,
        "log10_rate_low": low,
        "log10_rate_high": high,
        **_horizon(log10, status, lags, request.epsilon),
        **_peak(log10, lags),
        "epsilon": request.epsilon,
        "bound_violations": violations,
        "theory_violations": int(_exceeds(log10, columns["log10_theory"], NORM_TOLERANCE / LN10).sum()),
        "theory": theory.name,
        "bound": theory.bound_name,
        "certificate": theory.certificate,
        "vanishes_for_every_input": theory.certificate is not None and theory.certificate < 1.0,
    }
    return summary, _warnings(summary, status, request, n_steps)


def rounding_allowance(n_steps: int, limit: Array, log10_path: Array, *, state_size: int) -> Array:
    """log10 by which a computed norm may exceed a true bound through rounding alone, per lag.

    A product of k factors of size n computed in float64 is off by at most k·n^{3/2}·eps times Π‖J_j‖₂, the path bound
    (Higham 2002, §3.5, with ‖|J|‖₂ ≤ √n‖J‖₂); the norm itself is taken to 1e-10. So log10 (b + c·Π‖J_j‖) − log10 b
    for a bound b, which is log10 (1 + c) for the path bound itself.

    Parameters
    ----------
    limit, log10_path : ndarray, shape (T + 1,)
        The bound and the path bound, NaN where there is none; without a path bound b stands for it.
    state_size : int
        n.
    """
    # In place: a million lags are eight megabytes per array.
    with np.errstate(invalid="ignore"):
        allowance = log10_path - limit
    # A bound far below the path bound may be passed by the rounding of factors that cancel, never by more.
    allowance[~np.isfinite(allowance)] = 0.0
    np.clip(allowance, 0.0, 300.0, out=allowance)
    np.power(10.0, allowance, out=allowance)
    allowance *= float(state_size) ** 1.5 * np.finfo(np.float64).eps
    allowance *= np.arange(n_steps + 1)
    allowance += 1.0 + NORM_TOLERANCE
    return np.asarray(np.log10(allowance, out=allowance))


def _exceeds(log10: Array, limit: Array, allowance: Array | float) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(log10) & np.isfinite(limit) & (log10 > limit + allowance))


def _verdict(low: float, high: float, rate: float, n_steps: int, ended: bool) -> str:
    if ended:
        return "vanishing"
    if high < 0 and rate * n_steps <= -VERDICT_DECADES:
        return "vanishing"
    if low > 0 and rate * n_steps >= VERDICT_DECADES:
        return "exploding"
    return "neutral"


def _horizon(log10: Array, status: Array, lags: Array, epsilon: float) -> dict[str, Any]:
    """The largest lag with norm ≥ epsilon; null and censored when it never falls below."""
    above = np.isfinite(log10) & (log10 >= np.log10(epsilon)) | (status == "nonfinite")
    if above.all():
        return {"horizon": None, "horizon_censored": True}
    reached = lags[above]
    return {"horizon": int(reached.max()) if reached.size else None, "horizon_censored": False}


def _peak(log10: Array, lags: Array) -> dict[str, Any]:
    if not np.isfinite(log10).any():
        return {"peak_lag": None, "log10_peak": None}
    index = int(np.nanargmax(log10))
    return {"peak_lag": int(lags[index]), "log10_peak": float(log10[index])}


def _warnings(summary: Mapping[str, Any], status: Array, request: GradientsRequest, n_steps: int) -> list[str]:
    out = []
    if (status == "underflow").any():
        lag = int(np.argmax(status == "underflow"))
        out.append(
            f"from lag {lag} on a slope or gate below 1e-308 decides the product: float64 cannot hold it; "
            "use --lags to stay below, or smaller biases"
        )
    if (status == "zero").any():
        out.append(f"the product is exactly zero from lag {int(np.argmax(status == 'zero'))} on: no gradient passes")
    if summary["bound_violations"]:
        out.append(
            f"{summary['bound_violations']} bound violations: this is a bug in gradscope; "
            "please report the command and the source"
        )
    if summary["verdict"] == "neutral" and 1 < n_steps < 50:
        out.append(f"T = {n_steps} is short for a rate: raise --steps before trusting 'neutral'")
    return out


def _every_cell(case: Case) -> tuple[Cell, ...]:
    return () if case.trajectory is None else case.trajectory.layers


def underflowed_lags(
    case: Case, anchor: Anchor, norms: LagNorms, log10_steps: Array, gathered: list[LayerSlopes]
) -> Array:
    """Lags at which a factor below float64's range could decide the product; shape (T + 1,) of bool.

    A slope or gate that underflowed at step j removed at most tiny·(1 + Σσ₁(W_g)) from J_j, hence at most
    that times Π_{i≠j} ‖J_i‖ from the product. Where this is not 10 decades below the measured norm, or the
    product came out as zero, the number cannot be trusted.
    """
    T = case.tape.n_steps
    flags = np.asarray(norms.flushed.reshape(T + 1, -1).any(axis=1))
    if T == 0 or not gathered:
        return flags
    per_step = np.logical_or.reduce([slopes.underflow for slopes in gathered])
    if not per_step.any():
        return flags
    weights = sum(
        float(np.linalg.norm(np.asarray(W, dtype=np.float64), 2))
        for cell in _every_cell(case)
        for W in cell.recurrent_blocks().values()
    )
    lost = LN_TINY / LN10 + np.log10(1.0 + weights)
    sized = np.where(np.isfinite(log10_steps), log10_steps, 0.0)
    path = sums_by_lag(sized, anchor)
    zeros = sums_by_lag((~np.isfinite(log10_steps)).astype(np.float64), anchor)
    touched = sums_by_lag(per_step.astype(np.float64), anchor) > 0
    # With one factor exactly zero the rest still bounds what was lost; with several the loss is smaller still.
    smallest = np.minimum.accumulate(
        np.concatenate([np.zeros((1, *sized.shape[1:])), sized[::-1] if anchor == "end" else sized]), axis=0
    )
    could_be = path - np.minimum(smallest, 0.0) + lost
    measured = np.where(norms.zero, -np.inf, norms.log10_norm)
    with np.errstate(invalid="ignore"):
        doubtful = touched & ((could_be > measured - 10.0) | (norms.zero & (zeros > 0)))
    return np.asarray(flags | doubtful.reshape(T + 1, -1).any(axis=1))
