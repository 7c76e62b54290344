"""From columns to an answer: does it vanish, how fast, how far does it reach, does theory agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.living import UNDERFLOW, ZERO, Living
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.slopes import Anchor, LayerSlopes
from gradscope.analysis.theory_columns import TheoryColumns
from gradscope.cells.cell import Cell
from gradscope.fields.gradients_fields import BOUNDS
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LN10, LN_TINY, log10_at_most, log10_rounding
from gradscope.numerics.course import TOO_SHORT, Course, describe_curve
from gradscope.numerics.lag_norms import LagNorms
from gradscope.theory.closed_forms import sums_by_lag

#: Norms are exact to 1e-10 relative: a measured value within this of an estimate does not exceed it.
NORM_TOLERANCE = 1e-9
#: One decade over the whole run is what a verdict needs.
VERDICT_DECADES = 1.0


def describe_course(
    columns: Mapping[str, Array],
    request: GradientsRequest,
    theory: TheoryColumns,
    n_steps: int,
    *,
    state_size: int,
    living: Living,
    survivors: Array | None,
) -> tuple[dict[str, Any], list[str]]:
    """The summary of a gradients result, and warnings that carry a next step.

    Parameters
    ----------
    columns : mapping of str to ndarray
        As in the rows, except that an exact zero of a theory or a bound is still −inf.
    living : Living
        Which samples live at which lag.
    survivors : ndarray, shape (T + 1,), or None
        log10 norms, mean over the samples that live at every lag: the curve that rate and verdict are about.
    """
    log10, status, lags = columns["log10_norm"], columns["status"], columns["lag"]
    course = describe_end(lags, log10 if survivors is None else survivors, str(status[-1]))
    if (status[len(status) // 2 :] == "doubtful").any():
        # The rate is that of the later half: no interval speaks of what rounding may have made up.
        course = replace(course, low=float("nan"), high=float("nan"), reason=DOUBT)
    violations, compared = 0, False
    for name in BOUNDS:
        limit = columns[name]
        if np.isnan(limit).all():
            continue
        compared = True
        allowance = rounding_allowance(n_steps, limit, columns["log10_path_bound"], state_size=state_size)
        violations += int(_exceeds(log10, limit, allowance).sum())
    estimate = columns["log10_theory"]
    over_theory = None if np.isnan(estimate).all() else int(_exceeds(log10, estimate, NORM_TOLERANCE / LN10).sum())
    corner = columns["log10_norm_h"] if np.isfinite(columns["log10_norm_h"]).any() else log10
    at_h = horizon_of(corner, status, lags, request.epsilon)
    summary: dict[str, Any] = {
        **summary_of_course(course, log10, str(status[-1]), n_steps),
        **horizon_of(log10, status, lags, request.epsilon),
        "horizon_h": at_h["horizon"],
        "horizon_h_censored": at_h["horizon_censored"],
        **peak_of(log10, lags),
        **left_open(columns, request.epsilon, state_size),
        "epsilon": request.epsilon,
        "bound_violations": violations if compared else None,
        "theory_violations": over_theory,
        "theory": theory.name,
        "bound": theory.bound_name,
        "contraction": None if theory.contraction is None else theory.contraction.factor,
        "contracts_for": theory.contracts_for,
        "certificate": theory.certificate,
        "vanishes_for_every_input": theory.certificate is not None and theory.certificate < 1.0,
        "zero_samples": int(living.count(ZERO).max()),
        "underflow_samples": int(living.count(UNDERFLOW).max()),
    }
    return summary, [*living.sentences(), *_warnings(summary, status, course)]


def describe_alone(
    log10: Array, status: Array, *, survivors: Array | None, epsilon: float
) -> tuple[dict[str, Any], list[str]]:
    """Verdict, rate, horizon and peak of a curve over lags 0 … with which no theory and no bound is compared.

    Parameters
    ----------
    log10, status : ndarray, shape (lags,)
    survivors : ndarray, shape (lags,), or None
        As for :func:`describe_course`.
    """
    lags, last = np.arange(len(log10)), str(status[-1])
    course = describe_end(lags, log10 if survivors is None else survivors, last)
    summary = {
        **summary_of_course(course, log10, last, len(lags) - 1),
        **horizon_of(log10, status, lags, epsilon),
        **peak_of(log10, lags),
        "bound_violations": None,
        "theory_violations": None,
    }
    return summary, undetermined_warning(summary, course)


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
    """Where a measured norm passes a limit; NaN is no limit, −inf an exact zero that anything passes."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(log10) & (log10 > limit + allowance))


#: Why there is no interval where rounding decides.
DOUBT = "the norms of the later half are doubtful"


def describe_end(lags: Array, log10: Array, last_status: str) -> Course:
    """The course of a curve, unless its end is no number: what came before would answer another question."""
    if last_status in ("ok", "doubtful"):
        return describe_curve(lags, log10)
    nothing = float("nan")
    return Course(None, nothing, nothing, nothing, f"the product is {last_status} at lag {int(lags[-1])}")


def summary_of_course(course: Course, log10: Array, last_status: str, n_steps: int) -> dict[str, Any]:
    """``verdict``, ``course`` and the rate with its interval."""
    return {
        "verdict": verdict_of(course, float(log10[-1]), last_status, n_steps),
        "course": course.kind,
        "log10_rate": course.rate,
        "log10_rate_low": course.low,
        "log10_rate_high": course.high,
    }


def verdict_of(course: Course, log10_end: float, last_status: str, n_steps: int) -> str:
    """Vanishing and exploding need the whole interval of the rate, its reach over the run, and the level at its end."""
    if last_status in ("zero", "underflow"):
        return "vanishing"
    if n_steps <= TOO_SHORT or not (np.isfinite(course.low) and np.isfinite(course.high)):
        return "undetermined"
    reach = course.rate * n_steps
    if course.high < 0 and reach <= -VERDICT_DECADES and log10_end <= -VERDICT_DECADES:
        return "vanishing"
    if course.low > 0 and reach >= VERDICT_DECADES and log10_end >= VERDICT_DECADES:
        return "exploding"
    return "neutral"


def horizon_of(log10: Array, status: Array, lags: Array, epsilon: float) -> dict[str, Any]:
    """The largest lag with a norm of at least epsilon, whether the run ended before it, and a dip before it.

    −1 where no lag reaches epsilon (above 1); null where the norm at the last lag is still there (censored), or is not
    known (nonfinite).
    """
    above = np.isfinite(log10) & (log10 >= np.log10(epsilon))
    reached = np.flatnonzero(above)
    last = int(reached[-1]) if reached.size else -1
    dips = np.flatnonzero(~above[: last + 1] & (status[: last + 1] != "nonfinite"))
    unknown = str(status[-1]) == "nonfinite"
    return {
        "horizon": None if unknown or last == len(above) - 1 else int(lags[last]) if last >= 0 else -1,
        "horizon_censored": not unknown and last == len(above) - 1,
        "horizon_dip": int(lags[dips[0]]) if dips.size else None,
    }


def peak_of(log10: Array, lags: Array) -> dict[str, Any]:
    """The largest norm and its lag."""
    if not np.isfinite(log10).any():
        return {"peak_lag": None, "log10_peak": None}
    # The first of those that are equal but for rounding.
    index = int(np.argmax(log10 >= np.nanmax(log10) - 1e-12))
    return {"peak_lag": int(lags[index]), "log10_peak": float(log10[index])}


def left_open(columns: Mapping[str, Array], epsilon: float, state_size: int) -> dict[str, Any]:
    """Between which numbers horizons and peak lie, where rows of status ``doubtful`` decide them; else nothing.

    Such a norm is known to be no larger than itself or its rounding (:func:`~gradscope.log_domain.log10_at_most`).
    Where that is below epsilon, or a later row is surely above, the row decides nothing.

    Returns
    -------
    dict
        ``horizon_low``, ``horizon_high``, the same of ``horizon_h`` and ``log10_peak``, for those that are open only;
        a high end that is null lies beyond the last lag.
    """
    status, lags, log10 = columns["status"], columns["lag"], columns["log10_norm"]
    doubtful = status == "doubtful"
    if not doubtful.any() or str(status[-1]) == "nonfinite":
        return {}
    rounding = log10_rounding(lags, state_size, columns["log10_path_bound"])
    corner = columns["log10_norm_h"] if np.isfinite(columns["log10_norm_h"]).any() else log10
    out: dict[str, Any] = {}
    for name, norms in (("horizon", log10), ("horizon_h", corner)):
        sure = ~doubtful & np.isfinite(norms) & (norms >= np.log10(epsilon))
        could_be = sure | (doubtful & (log10_at_most(norms, rounding) >= np.log10(epsilon)))
        first, last = (int(found[-1]) if (found := np.flatnonzero(rows)).size else -1 for rows in (sure, could_be))
        if first != last:
            out[f"{name}_low"] = int(lags[first]) if first >= 0 else -1
            out[f"{name}_high"] = int(lags[last]) if last < len(lags) - 1 else None
    least = float(np.max(log10[~doubtful & np.isfinite(log10)], initial=-np.inf))
    most = float(np.max(log10_at_most(log10, rounding)[doubtful]))
    if most > least > -np.inf:
        out |= {"log10_peak_low": least, "log10_peak_high": most}
    return out


def _warnings(summary: Mapping[str, Any], status: Array, course: Course) -> list[str]:
    out = []
    if (status == "underflow").any():
        lag = int(np.argmax(status == "underflow"))
        out.append(
            f"from lag {lag} on a slope or gate below 1e-308 decides the product: float64 cannot hold it; "
            "use --lags to stay below, or smaller biases"
        )
    if (status == "zero").any():
        out.append(f"the product is exactly zero from lag {int(np.argmax(status == 'zero'))} on: no gradient passes")
    if (status == "nonfinite").any():
        lag = int(np.argmax(status == "nonfinite"))
        out.append(f"from lag {lag} on the product holds infinities: lower the gain, or stay below with -T {lag - 1}")
    if summary["bound_violations"]:
        out.append(
            f"{summary['bound_violations']} bound violations: this is a bug in gradscope; "
            "please report the command and the source"
        )
    if (status == "doubtful").any():
        first, count = int(np.argmax(status == "doubtful")), int(np.count_nonzero(status == "doubtful"))
        out.append(
            f"{count} lags are doubtful, from lag {first} on: the product has cancelled to below the rounding of its "
            "factors, and its norm there is known to be small, not how small (status doubtful)"
        )
    if "horizon_low" in summary:
        high = summary["horizon_high"]
        upper = "beyond the last lag" if high is None else f"at {high}"
        out.append(
            f"where the norm falls below epsilon for good is doubtful: somewhere between lag {summary['horizon_low']} "
            f"and {upper}; a gate on the horizon that this leaves open fails"
        )
    if course.reason != DOUBT:
        out += undetermined_warning(summary, course)
    return out


def undetermined_warning(summary: Mapping[str, Any], course: Course) -> list[str]:
    """Why there is no verdict, and what would give one."""
    if summary["verdict"] != "undetermined" or not course.reason or course.reason.startswith("the product is"):
        return []
    return [f"no verdict: {course.reason}; a longer run would tell"]


def _every_cell(case: Case) -> tuple[Cell, ...]:
    return () if case.trajectory is None else case.trajectory.layers


def underflowed_lags(
    case: Case, anchor: Anchor, norms: LagNorms, log10_steps: Array, gathered: list[LayerSlopes]
) -> Array:
    """Lags and samples at which a factor below float64's range could decide the product; (T + 1, *batch_shape) of bool.

    A slope or gate that underflowed at step j removed at most tiny·(1 + Σσ₁(W_g)) from J_j, hence at most
    that times Π_{i≠j} ‖J_i‖ from the product. Where this is not 10 decades below the measured norm, or the
    product came out as zero, the number cannot be trusted.
    """
    T = case.tape.n_steps
    flags = np.array(norms.flushed, dtype=bool)
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
    return np.asarray(flags | doubtful)
