"""∂L/∂W_hh as a whole: what truncation leaves out at each lag, its length, and the norms that are clipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.request import GradientsRequest
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.parameter_gradients import ParameterGradients, measure_parameter_gradients
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.backprop import DirectTerm
from gradscope.numerics.chunked_truncation import smallest_chunk
from gradscope.numerics.weight_tails import WeightTails, measure_weight_tails

#: Numbers in the per-sample gradients of all parameters; beyond it they are not measured (null).
MOST_PARAMETER_NUMBERS = 2**28


@dataclass(frozen=True)
class WeightGradients:
    """The column ``log10_dloss_dweight_tail`` and what the summary says of the whole gradient.

    Attributes
    ----------
    tail : ndarray, shape (T + 1,), or None
        By lag, batch mean over the samples whose tail is not exactly zero; NaN where all are.
    summary : mapping
        ``log10_dloss_dweight_total``, ``tbptt_length``, ``tbptt_bias``, ``tbptt_bias_worst``, ….
    """

    tail: Array | None
    summary: Mapping[str, Any] = field(default_factory=dict)


NOTHING: Mapping[str, Any] = {
    "log10_dloss_dweight_total": None,
    "tbptt_length": None,
    "tbptt_bias": None,
    "tbptt_bias_worst": None,
    "tbptt_bias_half": None,
    "tbptt_bias_double": None,
    "tbptt_kind": None,
}


def measure_weight_gradients(
    case: Case, term: DirectTerm | None, request: GradientsRequest, *, tails: WeightTails | None = None
) -> WeightGradients:
    """Tails and truncation of one case; nothing where there is no loss, no single W_hh, or no known weights.

    ``tails`` are given where many networks were measured side by side.
    """
    if term is None or not shares_weights(case):
        # Encoder and decoder have a W_hh each, and losses at many steps: there is a whole, and no truncation of it.
        whole = total_norm(case, term) if isinstance(case.tape, Seq2SeqTape) else None
        return WeightGradients(None, {**NOTHING, "log10_dloss_dweight_total": whole})
    label = str(case.record["name"])
    if request.loss_at == "all":
        return _in_chunks(case, term, request)
    tails = tails or measure_weight_tails(case.tape, term, progress=request.track(f"{label}: truncation"))
    if tails is None:
        return WeightGradients(None, NOTHING)
    return WeightGradients(_column(tails.log10_tail), {**NOTHING, **_last_step(tails, request.truncation_bias)})


def shares_weights(case: Case) -> bool:
    """Whether the run has one set of recurrent weights, used at every step (ready Jacobians and a dnn do not)."""
    return isinstance(case.trajectory, Trajectory) and case.trajectory.network.step_weight_bytes == 0


def _last_step(tails: WeightTails, target: float) -> dict[str, Any]:
    """The smallest K whose tail is at most ``target`` of the whole, of the mean loss and of the worst sample."""
    total = float(tails.log10_mean_tail[0])
    if not np.isfinite(total):
        return {}
    bias = 10.0 ** (tails.log10_mean_tail - total)
    K = int(np.argmax(bias[1:] <= target)) + 1 if len(bias) > 1 else 0
    living = np.isfinite(tails.log10_tail[0])
    worst = float(np.max(10.0 ** (tails.log10_tail[K, living] - tails.log10_tail[0, living])))
    return {
        "log10_dloss_dweight_total": total,
        "tbptt_length": K,
        "tbptt_bias": float(bias[K]),
        "tbptt_bias_worst": worst,
        "tbptt_bias_half": float(bias[K // 2]),
        "tbptt_bias_double": float(bias[min(2 * K, len(bias) - 1)]),
        "tbptt_kind": "last",
    }


def _in_chunks(case: Case, term: DirectTerm, request: GradientsRequest) -> WeightGradients:
    """``--loss-at all``: the state is detached every K steps."""
    progress = request.track(f"{case.record['name']}: truncation")
    found = smallest_chunk(case.tape, term, request.truncation_bias, progress=progress)
    if found is None:
        return WeightGradients(None, NOTHING)
    total = total_norm(case, term)
    summary = {"log10_dloss_dweight_total": total, "tbptt_length": found[0], "tbptt_bias": found[1]}
    return WeightGradients(None, {**NOTHING, **summary, "tbptt_kind": "chunks"})


def total_norm(case: Case, term: DirectTerm | None) -> float | None:
    """log10 ‖∂L/∂W_hh‖_F of the batch's mean loss, all layers."""
    gradients = parameter_gradients(case, term)
    if gradients is None:
        return None
    shift = np.clip(gradients.exponent - gradients.exponent.max(), -2000, 0).astype(np.int32)
    square = 0.0
    for name, value in zip(gradients.names, gradients.values, strict=True):
        if name.rpartition(".")[2].startswith("weight_hh"):
            square += float(np.square(np.ldexp(value, shift[:, None, None]).mean(axis=0)).sum())
    return None if square == 0 else 0.5 * float(np.log10(square)) + int(gradients.exponent.max()) * np.log10(2.0)


def parameter_gradients(case: Case, term: DirectTerm | None) -> ParameterGradients | None:
    """Every sample's ∂L/∂θ, or None where that has no meaning or would take more than a gigabyte or two."""
    run = case.trajectory
    if term is None or run is None or not (shares_weights(case) or isinstance(run, Seq2SeqTape)):
        return None
    if len(run.batch_shape) != 1 or run.n_steps == 0:
        return None
    cells = run.layers
    numbers = sum(cell.weight_ih.size + cell.weight_hh.size for cell in cells) * run.batch_shape[0]
    if numbers > MOST_PARAMETER_NUMBERS:
        return None
    # PyTorch's second bias goes with W_hh h; where units read themselves alone there is one.
    biases = case.source.biases if all(cell.recurrent == "full" for cell in cells) else min(case.source.biases, 1)
    return measure_parameter_gradients(run, term, biases=biases)


def _column(log10: Array) -> Array:
    """Mean over the samples whose tail is not exactly zero; NaN where every one is."""
    flat = log10.reshape(len(log10), -1)
    living = np.isfinite(flat)
    count = living.sum(axis=1)
    return np.where(count, np.where(living, flat, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
