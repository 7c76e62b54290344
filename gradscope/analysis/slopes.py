"""What theory reads of a trajectory, gathered stretch by stretch so that a long run never holds all its slopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradscope.analysis.memory_units import time_constants_of
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LN10
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.networks.trajectory import Trajectory
from gradscope.theory.closed_forms import mean_slopes, sums_by_lag

Anchor = Literal["end", "start"]


@dataclass
class LayerSlopes:
    """One layer's slopes and direct path.

    Attributes
    ----------
    log10_mean : ndarray, shape (T, *batch)
        log10 of the mean candidate slope at each step.
    direct : ndarray, shape (T + 1, *batch), or None
        log10 ‖Π diag(f)‖₂ over the k steps of each lag; None where the cell has no direct path.
    underflow : ndarray of bool, shape (T, *batch)
        Steps at which a factor fell below float64.
    mean_log_direct : ndarray, shape (H,), or None
        Mean over steps and batch of ln of each unit's direct factor; None without a direct path, or without steps.
    """

    log10_mean: Array
    direct: Array | None
    underflow: Array
    mean_log_direct: Array | None = None


def gather_slopes(
    trajectory: Trajectory | Seq2SeqTape, anchor: Anchor, *, starts: Array | None = None
) -> list[LayerSlopes]:
    """One pass over the trajectory, from its anchor; bottom layer first.

    Means over steps leave out those before a sequence's first (``starts``, one for each sample).
    """
    T, batch = trajectory.n_steps, trajectory.batch_shape
    n_running = T * int(np.prod(batch)) if starts is None else int((T - starts).sum())
    layers: list[LayerSlopes] = []
    carried: list[Array] = []
    for segment in trajectory.segments(anchor):
        for index, traces in enumerate(segment.linearised.traces):
            if index == len(layers):
                direct = None if traces.log_direct is None else np.zeros((T + 1, *batch))
                layers.append(LayerSlopes(np.empty((T, *batch)), direct, np.zeros((T, *batch), dtype=bool)))
                carried.append(np.zeros(()))
            layer = layers[index]
            span = slice(segment.first - 1, segment.last)
            layer.log10_mean[span] = mean_slopes(traces.log_slope)
            layer.underflow[span] = traces.underflow
            if layer.direct is None or traces.log_direct is None:
                continue
            running = traces.log_direct.reshape(-1, traces.log_direct.shape[-1])
            if starts is not None:
                begun = np.arange(segment.first, segment.last + 1)[:, None] > starts
                running = running[begun.reshape(-1)]
            share = running.sum(axis=0) / max(n_running, 1)
            layer.mean_log_direct = share if layer.mean_log_direct is None else layer.mean_log_direct + share
            # The sum over units' logs goes on where the neighbouring stretch left off.
            sums = sums_by_lag(traces.log_direct, anchor) + carried[index]
            carried[index] = sums[-1]
            lags = (
                slice(T - segment.last, T - segment.first + 2)
                if anchor == "end"
                else slice(segment.first - 1, segment.last + 1)
            )
            layer.direct[lags] = sums.max(axis=-1) / LN10
    return layers


def time_constants_by_layer(gathered: list[LayerSlopes]) -> list[Array | None]:
    """−1/⟨ln f⟩ of every unit in steps, layer by layer; None for a layer without a direct path."""
    return [None if one.mean_log_direct is None else time_constants_of(one.mean_log_direct) for one in gathered]
