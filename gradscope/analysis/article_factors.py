"""The article's product for ∂L/∂W_i, factor by factor, beside the truth (``gradients --factors``).

For the copy of W_hh used at step i = T − k the article writes

    ∂L/∂W_i = ∂L/∂y_T · ∂y_T/∂h_T · (tanh′)^k · W^k · (h_{i−1})ᵀ .

Each factor counts by its size: matrices by the spectral norm, vectors by their length, tanh′ by its mean over units.
The chain from h_T to W_i crosses k + 1 slopes, not k: the one at step i, between h_i and its pre-activation, is the
factor that the article drops (theory.md C03).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.direct_path_details import direct_path_details
from gradscope.analysis.living import flat, mean_of_nonzero
from gradscope.analysis.losses import LossSide
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.worked_row import worked_rows
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.stack import Stack
from gradscope.networks.trajectory import Trajectory
from gradscope.theory.closed_forms import sums_by_lag
from gradscope.theory.power_norms import PowerNorms, power_norms

#: The factors in the article's order; their sum is ``log10_article``.
FACTORS = ("log10_dloss_dy", "log10_dy_dh", "log10_slopes", "log10_power", "log10_h_prev")
COLUMNS = (*FACTORS, "log10_article", "log10_article_corrected")


@dataclass(frozen=True)
class ArticleFactors:
    """The columns of :data:`COLUMNS`, one entry per lag, NaN for null; and rows worked out, for small networks."""

    columns: Mapping[str, Array]
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def article_factors(
    case: Case,
    request: GradientsRequest,
    log10_slopes: Array | None,
    side: LossSide | None,
    *,
    powers: PowerNorms | None = None,
) -> ArticleFactors:
    """Every factor of the article's formula at every lag, lags counted back from T whatever the anchor.

    Parameters
    ----------
    log10_slopes : ndarray, shape (T, *batch_shape), or None
        log10 of the mean φ′ at each step.
    side : LossSide or None
        None without a loss: then the loss's factors are null, and the product with them.
    powers : PowerNorms, optional
        ‖W^k‖₂, where they are known already.

    Notes
    -----
    Over a batch each factor's log10 is averaged over the samples in which no factor is exactly zero (over those in
    which it is not itself zero, where that leaves none), so that factors and product stay a sum.
    """
    T = case.tape.n_steps
    reason = why_no_formula(case, request)
    if reason is not None or log10_slopes is None:
        nothing = np.broadcast_to(np.nan, (T + 1,))
        paths = direct_path_details(case, request)
        instead = ", and the path around W stands in their place" if paths else ""
        warning = f"--factors: {reason}; its columns are null{instead}"
        return ArticleFactors(dict.fromkeys(COLUMNS, nothing), (warning,), paths)
    trajectory = case.tape
    assert isinstance(trajectory, Trajectory)
    W = np.asarray(trajectory.network.layers[0].weight_hh, dtype=np.float64)
    powers = powers or power_norms(W, T)
    shape = (T + 1, *trajectory.batch_shape)
    log10 = {
        "log10_dloss_dy": _everywhere(_length(side.output_gradient), shape) if side else np.full(shape, np.nan),
        "log10_dy_dh": _everywhere(_spectral_norm(side.weight), shape) if side else np.full(shape, np.nan),
        "log10_slopes": sums_by_lag(log10_slopes, "end"),
        "log10_power": np.broadcast_to(powers.log10_norm.reshape(-1, *(1,) * (len(shape) - 1)), shape),
        "log10_h_prev": _previous_lengths(trajectory),
    }
    dropped = np.full(shape, np.nan)
    dropped[:T] = log10_slopes[::-1]
    columns = _reduced(log10, dropped)
    details = {} if side is None else worked_rows(trajectory, side, request)
    return ArticleFactors(columns, (), details)


def why_no_formula(case: Case, request: GradientsRequest) -> str | None:
    """Why the article has no formula for this case, as half a sentence; None where it has one."""
    network = case.network
    if request.loss_at == "all" and request.loss != "none":
        return "the article's formula is about a loss at the last step, and --loss-at all has one at every step"
    if isinstance(network, Stack):
        return "the article's formula is about one layer; --per-layer takes a stack apart"
    if network is None or not isinstance(case.tape, Trajectory) or network.step_weight_bytes:
        return "the article's formula is about one rnn with one W"
    (cell,) = network.layers
    if cell.name != "rnn":
        article = "an" if cell.name[0] in "aeiol" else "a"  # an lstm, as it is read
        return f"the article has no formula for the gradient of {article} {cell.name}"
    return None if cell.norm == "none" else "the article has no formula for an rnn with layer normalisation"


def _reduced(log10: Mapping[str, Array], dropped: Array) -> dict[str, Array]:
    """Batch means of the factors, their sum, and the sum with the dropped slope."""
    samples = {name: flat(values) for name, values in log10.items()}
    alive = np.all([np.isfinite(values) for values in samples.values()], axis=0) & np.isfinite(flat(dropped))
    some = alive.any(axis=1, keepdims=True)

    def mean(values: Array) -> Array:
        return mean_of_nonzero(np.where(alive | ~some, values, np.nan))

    columns = {name: mean(values) for name, values in samples.items()}
    # What a sum of logs lacks one term of is exactly zero, or has no meaning: null either way.
    columns["log10_article"] = np.sum([columns[name] for name in FACTORS], axis=0)
    columns["log10_article_corrected"] = columns["log10_article"] + mean(flat(dropped))
    return columns


def _everywhere(values: Array | float, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(values, shape)


def _length(vectors: Array | None) -> Array | float:
    """log10 of the length of each vector; NaN where it is zero or not known."""
    return np.nan if vectors is None else _log10(np.sqrt(np.square(vectors).sum(axis=-1)))


def _spectral_norm(matrix: Array | None) -> Array | float:
    return np.nan if matrix is None else _log10(np.linalg.norm(np.asarray(matrix, dtype=np.float64), 2, axis=(-2, -1)))


def _log10(values: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(values > 0, np.log10(values), np.nan))


def _previous_lengths(trajectory: Trajectory) -> Array:
    """log10 ‖h_{T−k−1}‖₂ by lag k, (T + 1, *batch_shape); NaN where it is exactly zero, and at k = T."""
    T = trajectory.n_steps
    found = np.full((T + 1, *trajectory.batch_shape), np.nan)
    for segment in trajectory.segments("end"):
        before = np.asarray(segment.states[:-1], dtype=np.float64)  # h_{first−1} … h_{last−1}
        # A length below float64's range would square to nothing.
        scale = np.max(np.abs(before), axis=-1, keepdims=True)
        unit = np.divide(before, scale, out=np.zeros_like(before), where=scale > 0)
        length = _log10(scale[..., 0]) + _log10(np.sqrt(np.square(unit).sum(axis=-1)))
        found[T - segment.last : T - segment.first + 1] = length[::-1]
    return found
