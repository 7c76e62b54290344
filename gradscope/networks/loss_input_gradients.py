"""∂L/∂x_t at every step, each on its own power of two."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array, shared_matmul
from gradscope.networks.tangents import input_weight
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.backprop import DirectTerm, add_direct, rescaled, state_gradients


def loss_input_gradients(trajectory: Trajectory, term: DirectTerm) -> tuple[Array, Array]:
    """∂L/∂x_t = (∂L/∂s_t) ∂s_t/∂drive_t U for t = 1 … T: rows (T, batch, I) and their exponents (T, batch)."""
    T, network = trajectory.n_steps, trajectory.network
    rows = np.zeros((T, *trajectory.batch_shape, network.input_size))
    exponents = np.zeros((T, *trajectory.batch_shape), dtype=np.int64)
    for t, vector, exponent in state_gradients(trajectory, term):
        if t == 0:
            break
        drive, exponent = rescaled(trajectory.jacobian(t).pull_drive(vector[..., None, :])[..., 0, :], exponent)
        row = shared_matmul(drive[..., None, :], input_weight(network, t, t))[..., 0, :]
        rows[t - 1], exponents[t - 1] = rescaled(row, exponent)
    return rows, exponents


def sum_of_gradients(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """Two such sequences added, on the larger of the two scales at each step."""
    (a, e), (b, f) = first, second
    common = np.where(np.any(a, axis=-1), np.where(np.any(b, axis=-1), np.maximum(e, f), e), f)
    total, exponent = add_direct(
        np.ldexp(a, np.clip(e - common, -2000, 0)[..., None]),
        np.zeros_like(e),
        np.ldexp(b, np.clip(f - common, -2000, 0)[..., None]),
    )
    return rescaled(total, exponent + common)
