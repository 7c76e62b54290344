"""Rows of one watched step: what the gradient does in each layer and direction, and how far it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.analysis.cases import cases_of
from gradscope.analysis.gradient_results import Beforehand, measure_case
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.theory_columns import no_theory
from gradscope.errors import GradscopeError
from gradscope.jacobians.step_jacobian import Array
from gradscope.keywords import request_of
from gradscope.numerics.propagate import measure_norms, step_norms
from gradscope.records import plain
from gradscope.sources.build import build_source
from gradscope.sources.live import spec_of
from gradscope.torch.background import one_blas_thread
from gradscope.torch.call_in_layers import CallInLayers, LayerOfCall, differentiate
from gradscope.torch.from_jacobians import measure_jacobians
from gradscope.torch.helper_process import HelperProcess
from gradscope.torch.layer_steps import LayerWeights, VisitedLayer
from gradscope.torch.truncation import truncation
from gradscope.training.columns import WATCHED

#: Largest square block of which eigenvalues are taken at every watched step.
MOST_EIGENVALUES = 1024


@dataclass(frozen=True)
class Asked:
    """What the user wants to know.

    Attributes
    ----------
    epsilon : float
        Norm below which a gradient counts as gone.
    need : int or None
        How far back the task needs gradients.
    truncation_bias : float
        Relative bias of ∂L/∂W_hh that truncated backpropagation may have.
    """

    epsilon: float
    need: int | None
    truncation_bias: float


@dataclass(frozen=True)
class StepRows:
    """The rows of a step, or why there are none."""

    step: Any
    rows: list[dict[str, Any]]
    error: str | None = None


def rows_of_step(call: CallInLayers, step: Any, asked: Asked) -> StepRows:
    """Rows of one step; what goes wrong is in them, since a training that is watched must not end by it."""
    try:
        with one_blas_thread():
            return StepRows(step, [row_of(layer, call.first, step, asked) for layer in differentiate(call)])
    except Exception as problem:
        return StepRows(step, [], said_of(problem))


def rows_apart(helper: HelperProcess, call: CallInLayers, step: Any, asked: Asked) -> StepRows:
    """The same, measured by a process of its own."""
    try:
        found: StepRows = helper.call(rows_of_step, call, step, asked)
        return found
    except Exception as problem:  # the process is gone; the next step gets another
        return StepRows(step, [], said_of(problem))


def said_of(problem: Exception) -> str:
    """What is said of a fault: a sentence of ours, or the name of a bug."""
    return str(problem) if isinstance(problem, GradscopeError) else f"{type(problem).__name__}: {problem}"


def row_of(found: LayerOfCall, first: int, step: Any, asked: Asked) -> dict[str, Any]:
    """One row; ``first`` is where the first sequence of the batch stands in the kernel's order."""
    course = course_of(found.visited, found.x, first, asked)
    backward = found.direction == "backward"
    dh, dc = (part.log10_norms()[:: -1 if backward else 1] for part in (found.adjoint.h, found.adjoint.c))
    row = {
        **course,
        "step": step,
        "layer": found.layer,
        "direction": found.direction,
        "error": None,
        "log10_dloss_dweight_total": found.adjoint.log10_weight_norm,
        **truncation(found.visited, found.adjoint.output, asked.truncation_bias),
        "spectral_radius": spectral_radius(found.visited.weights),
        "gates": found.visited.mean_gates(),
        "log10_dloss_dh": dh,
        "log10_dloss_dc": dc if found.visited.c.shape[-1] else None,
    }
    return {name: plain(row.get(name)) for name in WATCHED}


def failed_row(step: Any, layer: int, direction: str, said: str) -> dict[str, Any]:
    """The row of a step that could not be measured: nothing but its error."""
    row = {"step": step, "layer": layer, "direction": direction, "error": " ".join(said.split())}
    return {name: plain(row.get(name)) for name in WATCHED}


def course_of(visited: VisitedLayer, x: Array, sample: int, asked: Asked) -> Mapping[str, Any]:
    """The summary of ``gradients`` for one sequence through one layer and direction, along its own steps."""
    steps = np.flatnonzero(visited.live[:, sample])
    T = len(steps)
    start = int(steps[0]) if T else 0
    need = asked.need if asked.need is not None and asked.need <= T else None
    if visited.weights.W_hr is not None:
        summary = _course_with_projection(visited, sample, start, T, asked.epsilon, need)
    else:
        state = np.concatenate([visited.h[start, sample], visited.c[start, sample]])
        summary = _course(visited.weights, x[start : start + T, sample], state, asked.epsilon, need)
    return {**summary, "need": asked.need}


def _course(weights: LayerWeights, x: Array, state: Array, epsilon: float, need: int | None) -> Mapping[str, Any]:
    """As ``gradients`` sums it up, without theory and bounds of blocks of steps, which take as long as the rest."""
    given = {"inputs": x, "state": state, "loss": "none", "epsilon": epsilon, "need": need}
    request = request_of(GradientsRequest, given)
    (case,) = cases_of(build_source(spec_of(named(weights)), seed=0), request)
    theory = no_theory(case.tape.n_steps, "none: a watched step is measured, not compared")
    beforehand = Beforehand(measure_norms(case.tape), step_norms(case.tape), None, None, None, theory=theory)
    summary = measure_case(case, request, beforehand).summary
    return {**summary, "vanishes_for_every_input": None}  # not asked, so not denied


def named(weights: LayerWeights) -> tuple[dict[str, Array], str]:
    """The layer as a source."""
    arrays = {
        "weight_ih_l0": weights.W_ih,
        "weight_hh_l0": weights.W_hh,
        "bias_ih_l0": weights.b_ih,
        "bias_hh_l0": weights.b_hh,
    }
    kind, activation = ("rnn", "relu") if weights.kind == "relu" else (weights.kind, "tanh")
    return arrays, f"cell={kind},activation={activation}"


def _course_with_projection(
    visited: VisitedLayer, sample: int, start: int, T: int, epsilon: float, need: int | None
) -> Mapping[str, Any]:
    """No cell has a projection, so its Jacobians are formed from one step backward."""
    one = visited.of_samples(slice(sample, sample + 1))
    P = visited.h.shape[-1]
    n = P + visited.c.shape[-1]
    eye = np.eye(n)
    jacobians = np.empty((T, 1, n, n))
    for t in range(T):
        back = one.back(start + t, eye[:, :P], eye[:, P:])
        jacobians[t, 0] = np.concatenate([back.h_prev, back.c_prev], axis=-1)
    states = np.concatenate([one.h, one.c], axis=-1)[start : start + T + 1]
    request = GradientsRequest(steps=T, loss="none", epsilon=epsilon, need=need)
    result = measure_jacobians(states, jacobians, np.arange(P), request, name="lstm", cell="lstm", settings={})
    return result.summary


def spectral_radius(weights: LayerWeights) -> float | None:
    """The largest |eigenvalue| over the recurrent blocks; None where they are not square, or too large for a step."""
    rows, n = weights.W_hh.shape
    H = {"rnn": rows, "relu": rows, "lstm": rows // 4, "gru": rows // 3}[weights.kind]
    if n != H or n > MOST_EIGENVALUES:
        return None
    return float(np.abs(np.linalg.eigvals(weights.W_hh.reshape(-1, n, n))).max())
