"""Series for figures: gates over time, the heat map over (t, i), layer × layer blocks; small, and only when cheap."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.request import GradientsRequest
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.networks.stack import Stack
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.bottleneck import measure_bottleneck
from gradscope.numerics.layer_blocks import measure_layer_blocks
from gradscope.numerics.propagate import measure_norms
from gradscope.numerics.tape import Prefix, Tape

#: Longest run whose gates are kept step by step.
GATE_STEPS = 2000
#: Points of each axis of the heat map, and the largest state and run it is made for.
HEAT_POINTS, HEAT_STATE, HEAT_STEPS = 24, 256, 2000
#: Lags of the layer × layer table.
TABLE_LAGS = 8


def figure_details(case: Case, request: GradientsRequest) -> dict[str, Any]:
    """What the figures of a gradients result show beyond its rows."""
    details: dict[str, Any] = {}
    if case.starts is not None:  # step t is another step of each sequence: pictures over time would mix them
        return details
    if isinstance(case.tape, Trajectory):
        gates = _gates(case.tape)
        if gates:
            details["gates"] = gates
        if request.per_layer and isinstance(case.network, Stack):
            details["layer_blocks"] = _layer_blocks(case, case.network)
    if request.figures and case.tape.state_size <= HEAT_STATE and 1 < case.tape.n_steps <= HEAT_STEPS:
        details["heat"] = _heat(case.tape)
    if isinstance(case.tape, Seq2SeqTape):
        details["bottleneck"] = _bottleneck(case.tape)
    return details


def _gates(trajectory: Trajectory) -> dict[str, Any]:
    """Mean opening of each gate over units and batch, step by step, of a run held in one stretch."""
    if trajectory.spacing < trajectory.n_steps or not 0 < trajectory.n_steps <= GATE_STEPS:
        return {}
    (segment,) = trajectory.segments("start")
    traces = segment.linearised.traces
    return {
        gate if len(traces) == 1 else f"{gate} (layer {layer})": values.reshape(len(values), -1).mean(axis=1)
        for layer, trace in enumerate(traces)
        for gate, values in trace.gates.items()
    }


def _heat(tape: Tape) -> dict[str, Any]:
    """log10 ‖∂s_t/∂s_i‖₂ on a grid of t and i ≤ t: where along the sequence gradients are lost."""
    T = tape.n_steps
    grid = sorted({round(t) for t in np.linspace(0, T, min(HEAT_POINTS, T + 1))})
    table: list[list[float | None]] = []
    for t in grid:
        norms = measure_norms(Prefix(tape, t))
        means = _batch_mean(np.where(norms.zero | norms.nonfinite, np.nan, norms.log10_norm))
        table.append([float(means[t - i]) if i <= t else None for i in grid])
    return {"t": grid, "i": grid, "log10_norm": table}


def _batch_mean(values: Array) -> Array:
    return np.asarray(values.reshape(values.shape[0], -1).mean(axis=1))


def _log_spaced(last: int, count: int) -> list[int]:
    return sorted({round(lag) for lag in np.geomspace(1, max(last, 1), count)} | {0}) if last else [0]


def _layer_blocks(case: Case, network: Stack) -> dict[str, Any]:
    """log10 ‖∂(layer a at T)/∂(layer b at T − k)‖₂, which tells which layer vanishes."""
    lags = _log_spaced(case.tape.n_steps, TABLE_LAGS)
    blocks = measure_layer_blocks(case.tape, network.layer_slices, lags)
    return {"lag": lags, "log10_norm": blocks.reshape(*blocks.shape[:3], -1).mean(axis=-1)}


def _bottleneck(tape: Seq2SeqTape) -> dict[str, Any]:
    """How the loss of each decoder step reaches each encoder step, and the rank of what passes between them."""
    terms = {}
    for t in range(tape.encoder_steps + 1, tape.n_steps + 1):
        term = tape.direct_term(t)
        if term is not None:
            terms[t] = term
    found = measure_bottleneck(tape, terms)
    T = tape.encoder_steps
    norms = found.log10_norm.reshape(*found.log10_norm.shape[:2], -1).mean(axis=-1)
    return {
        "decoder_step": [t - T for t in terms],
        "encoder_step": list(range(T + 1)),
        "log10_norm": norms[:, : T + 1],
        "rank": int(np.max(found.rank[T])),
        "state_size": tape.state_size,
    }
