"""Rows of ``--factors`` with their matrices, so that a reader can work them out with a pocket calculator."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.analysis.losses import LossSide
from gradscope.analysis.request import GradientsRequest
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.trajectory import Trajectory

#: Units and outputs whose matrices still fit a screen, and steps that somebody still multiplies by hand.
MOST_UNITS, MOST_OUTPUTS, MOST_STEPS = 6, 30, 12
#: The lag that is worked out where all are asked for: one power of W and two slopes; and the most that are.
USUAL_LAG, MOST_LAGS = 2, 6


def worked_rows(trajectory: Trajectory, side: LossSide, request: GradientsRequest) -> dict[str, Any]:
    """W, W^k, slopes, h_{i−1}, W_hy and ∂L/∂y of the lags asked for, and the true ∂L/∂W_i multiplied out from them.

    Nothing for networks of more than `MOST_UNITS` units, for batches, or where no lag asked for has a copy of W_hh.
    """
    T, n = trajectory.n_steps, trajectory.state_size
    if side.weight is None or side.output_gradient is None or trajectory.batch_shape != (1,):
        return {}
    if n > MOST_UNITS or len(side.weight) > MOST_OUTPUTS:
        return {}
    lags = [lag for lag in request.lags or (min(USUAL_LAG, T - 1),) if 0 <= lag < min(T, MOST_STEPS)]
    if not lags:
        return {}
    return {"worked_rows": [_worked(trajectory, side, lag) for lag in lags[:MOST_LAGS]]}


def _worked(trajectory: Trajectory, side: LossSide, k: int) -> dict[str, Any]:
    T = trajectory.n_steps
    i = T - k
    W = np.asarray(trajectory.network.layers[0].weight_hh, dtype=np.float64)
    W_hy, dloss_dy = np.asarray(side.weight, dtype=np.float64), np.asarray(side.output_gradient)[0]
    slopes = {j: _slopes(trajectory, j) for j in range(i, T + 1)}
    # δ_j = ∂L/∂(pre-activation of step j): the chain as it is, slopes in their places.
    delta = slopes[T] * (dloss_dy @ W_hy)
    for j in range(T - 1, i - 1, -1):
        delta = slopes[j] * (W.T @ delta)
    h_prev = np.asarray(trajectory.state(i - 1)[0], dtype=np.float64)
    return {
        "lag": k,
        "step": i,
        "W": W.tolist(),
        "W_power": np.linalg.matrix_power(W, k).tolist(),
        "W_hy": W_hy.tolist(),
        "dloss_dy": dloss_dy.tolist(),
        "slopes": {str(j): values.tolist() for j, values in sorted(slopes.items(), reverse=True)},
        "h_prev": h_prev.tolist(),
        "dloss_dweight": np.outer(delta, h_prev).tolist(),
    }


def _slopes(trajectory: Trajectory, j: int) -> Array:
    """φ′ of every unit at step j."""
    for segment in trajectory.segments("end"):
        if segment.first <= j <= segment.last:
            return np.asarray(np.exp(segment.linearised.traces[0].log_slope[j - segment.first, 0]))
    raise AssertionError(f"step {j} is not in the run")
