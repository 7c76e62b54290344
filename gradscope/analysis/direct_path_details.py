"""What ``gradients --factors`` shows of a cell with a path around the recurrence: that path, unit by unit.

A gated cell passes each unit's own gate from step to step, Π f over the lag; a skip passes 1 and telescopes,
h_T = h_{T−k} + Σ u (theory.md C09, C12).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.nulls import nulls
from gradscope.analysis.request import GradientsRequest
from gradscope.cells.skip import Skip
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LN10
from gradscope.networks.layer import Layer
from gradscope.networks.trajectory import Trajectory
from gradscope.theory.closed_forms import sums_by_lag

#: Lags kept where all are asked for, evenly spread on a log scale.
USUAL_LAGS = 15
#: Units and steps whose vectors are written out, so that somebody may add them up.
MOST_UNITS, MOST_STEPS = 6, 12
#: The lag that is added up where all are asked for.
USUAL_LAG = 2


def direct_path_details(case: Case, request: GradientsRequest) -> dict[str, Any]:
    """``direct_paths`` layer by layer, and ``telescoped`` of a skip; nothing for cells without a direct path.

    Lags count back from T whatever the anchor; over a batch each unit's log10 is the mean over the samples.
    """
    trajectory = case.tape
    if not isinstance(trajectory, Trajectory) or not trajectory.n_steps:
        return {}
    lags = _kept(request, trajectory.n_steps)
    layers = _unit_sums(trajectory, lags)
    found = [
        {"layer": index, "path": cell.closed_form, "lag": lags, "log10_units": [nulls(row) for row in sums]}
        for index, (cell, sums) in enumerate(zip(trajectory.network.layers, layers, strict=True))
        if sums is not None
    ]
    details: dict[str, Any] = {"direct_paths": found} if found else {}
    if isinstance(trajectory.network, Layer) and isinstance(trajectory.network.cell, Skip):
        details["telescoped"] = _telescoped(trajectory, trajectory.network.cell, request, lags)
    return details


def _kept(request: GradientsRequest, T: int) -> list[int]:
    if request.lags is not None:
        return sorted({lag for lag in request.lags if 0 <= lag <= T})
    return sorted({0, T, *(round(lag) for lag in np.geomspace(1, T, USUAL_LAGS - 1))})


def _unit_sums(trajectory: Trajectory, lags: list[int]) -> list[Array | None]:
    """log10 of each unit's product over the last k steps, (lags, H) for each layer; None without a direct path."""
    T = trajectory.n_steps
    kept: list[dict[int, Array] | None] = []
    carried: list[Array] = []
    for segment in trajectory.segments("end"):
        for index, traces in enumerate(segment.linearised.traces):
            if index == len(kept):
                kept.append(None if traces.log_direct is None else {})
                carried.append(np.zeros(()))
            held = kept[index]
            if held is None or traces.log_direct is None:
                continue
            sums = sums_by_lag(traces.log_direct, "end") + carried[index]
            carried[index] = sums[-1]
            first = T - segment.last
            held |= {
                lag: _batch_mean(sums[lag - first]) / LN10 for lag in lags if first <= lag <= T - segment.first + 1
            }
    return [None if held is None else np.stack([held[lag] for lag in lags]) for held in kept]


def _batch_mean(values: Array) -> Array:
    """Mean over all axes but the units'; −inf where a gate was exactly shut."""
    return np.asarray(values.reshape(-1, values.shape[-1]).mean(axis=0))


def _telescoped(trajectory: Trajectory, cell: Skip, request: GradientsRequest, lags: list[int]) -> dict[str, Any]:
    """‖h_T‖, ‖h_{T−k}‖, ‖Σ_{j > T−k} u_j‖ and what is left of their difference, u_j evaluated from its own formula.

    Lengths are means over the batch. Small networks also get the vectors of one lag.
    """
    T = trajectory.n_steps
    end = np.asarray(trajectory.state(T), dtype=np.float64)
    total = np.zeros_like(end)
    updates: dict[int, Array] = {}
    lines: dict[int, tuple[float, float, float]] = {0: (_length(end), 0.0, 0.0)}
    for segment in trajectory.segments("end"):
        x = trajectory.inputs.read(segment.first, segment.last)
        before = np.asarray(segment.states[:-1], dtype=np.float64)
        u = cell.activation.value(cell.normalised(cell.drive(x) + cell.recurrent_products(before)))
        sums = total + np.cumsum(u[::-1], axis=0)  # by lag T − segment.last + 1, …
        total = sums[-1]
        updates |= {j: u[j - segment.first] for j in range(max(segment.first, T - MOST_STEPS + 1), segment.last + 1)}
        for lag in lags:
            if segment.first <= T - lag + 1 <= segment.last:
                start, sum_of_u = before[T - lag + 1 - segment.first], sums[lag - 1 - (T - segment.last)]
                lines[lag] = (_length(start), _length(sum_of_u), _length(end - start - sum_of_u))
    out: dict[str, Any] = {"lag": lags, "h_end": _length(end)}
    columns = zip(*(lines[lag] for lag in lags), strict=True)
    out |= {name: list(values) for name, values in zip(("h_start", "sum", "difference"), columns, strict=True)}
    if trajectory.state_size <= MOST_UNITS and trajectory.batch_shape == (1,):
        asked = (min(USUAL_LAG, T),) if request.lags is None else request.lags
        k = next((lag for lag in asked if 0 < lag <= min(T, MOST_STEPS)), None)
        if k is not None:
            steps = range(T - k + 1, T + 1)
            vectors = {f"h_{T - k}": trajectory.state(T - k)} | {f"u_{j}": updates[j] for j in steps} | {f"h_{T}": end}
            out["vectors"] = {name: np.asarray(v, dtype=np.float64)[0].tolist() for name, v in vectors.items()}
    return out


def _length(vectors: Array) -> float:
    return float(np.sqrt(np.square(vectors).sum(axis=-1)).mean())
