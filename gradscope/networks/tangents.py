"""Forward derivatives of what a network puts out by what it reads."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array, shared_matmul_left
from gradscope.networks.network import Network


def input_weight(network: Network, first: int, last: int) -> Array:
    """U as it stands beside Jacobians with leading axes (networks…, batch): shape (..., G·H, I), float64."""
    U = np.asarray(network.input_matrix(first, last), dtype=np.float64)
    return U if U.ndim == 2 else U[..., None, :, :]


def push_inputs(network: Network, states: Array, x: Array, input_tangents: Array) -> Array:
    """∂out_t/∂ξ for every t, given ∂x_t/∂ξ; out is the top layer's h.

    S_t = J_t S_{t−1} + (∂s_t/∂drive_t) U ∂x_t/∂ξ. A column of ξ that has not entered yet is exactly zero.

    Parameters
    ----------
    states : ndarray, shape (T + 1, ..., batch, n)
    x : ndarray, shape (T, ..., batch, I)
    input_tangents : ndarray, shape (T, ..., batch, I, K)

    Returns
    -------
    ndarray, shape (T, ..., batch, H, K)
    """
    jacobians = network.linearise(states, x).jacobian
    out = network.output_components
    S = np.zeros((*states.shape[1:], input_tangents.shape[-1]))
    tangents = np.empty((x.shape[0], *states.shape[1:-1], len(out), S.shape[-1]))
    U = input_weight(network, 1, x.shape[0])
    for t in range(x.shape[0]):
        step = jacobians[t]
        S = step.push(S) + step.push_drive(shared_matmul_left(U, input_tangents[t]))
        tangents[t] = S[..., out, :]
    return tangents


def every_input_apart(x: Array) -> Array:
    """∂x_t/∂(x_1, …, x_T) side by side: 1 where the step and the component are the same, shape (T, ..., I, T·I)."""
    T, width = x.shape[0], x.shape[-1]
    identity = np.zeros((T, *x.shape[1:], T * width))
    for t in range(T):
        identity[t, ..., :, t * width : (t + 1) * width] = np.eye(width)
    return identity
