"""Bounds that hold for every input on compositions: stacked layers, and decoders that hear themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.bounds import Anchor, block_norms, norm_rounded_up


def stack_bound(
    cells: Sequence[Cell], n_steps: int, initial_bound: float, anchor: Anchor, *, mask_gain: float = 1.0
) -> Array:
    """log10 ‖N_T ⋯ N_{T−k+1}‖₂ for the block norms N_t of the stack's step Jacobians; +inf where a cell has no bound.

    (N_t)_{ll} bounds ‖J_l‖, (N_t)_{lj} = ‖B_l‖ ‖U_l‖ (N_t)_{l−1,j} what comes from below. A product's blocks are at
    most the product of block norms, and a matrix's norm at most that of its blocks' norms, so an upper layer that
    contracts is not charged for one below that does not, beyond what it hears.

    Parameters
    ----------
    cells : sequence of Cell
        Bottom first.
    initial_bound : float
        sup |s_0| over all layers.
    mask_gain : float
        The largest entry of the dropout masks, 1/(1−p).

    Returns
    -------
    ndarray, shape (n_steps + 1,)
    """
    L = len(cells)
    norms = [block_norms(cell) for cell in cells]
    heard = [norm_rounded_up(cell.weight_ih) * mask_gain for cell in cells]
    states = [initial_bound] * L
    steps = np.zeros((n_steps, L, L))
    for t in range(n_steps):
        for layer, cell in enumerate(cells):
            steps[t, layer, layer] = cell.step_norm_bound(norms[layer], states[layer])
            if layer and heard[layer]:
                into = cell.drive_norm_bound(norms[layer], states[layer]) * heard[layer]
                below = steps[t, layer - 1, :layer]
                steps[t, layer, :layer] = np.where(below > 0, into * below, 0.0)
        following = [cell.next_state_bound(bound) for cell, bound in zip(cells, states, strict=True)]
        if following == states:
            steps[t:] = steps[t]
            break
        states = following
    return _products(steps, anchor)


def _products(steps: Array, anchor: Anchor) -> Array:
    """log10 ‖·‖₂ of running products of small non-negative matrices, rescaled by powers of two."""
    out = np.full(len(steps) + 1, np.inf)
    out[0] = 0.0
    if not np.isfinite(steps).all():
        return out
    P, exponent = np.eye(steps.shape[-1]), 0
    for k in range(1, len(steps) + 1):
        P = P @ steps[len(steps) - k] if anchor == "end" else steps[k - 1] @ P
        top = float(P.max())
        if top == 0.0:
            out[k:] = -np.inf
            break
        shift = int(np.frexp(top)[1])
        P, exponent = np.ldexp(P, -shift), exponent + shift
        # Each of k products of L × L matrices rounds by at most L·eps: a true bound is rounded up by more.
        rounding = 4.0 * k * len(P) * float(np.finfo(np.float64).eps)
        out[k] = np.log10(np.linalg.norm(P, 2)) + exponent * np.log10(2.0) + rounding
    return out


def feedback_gain(cell: Cell, head_weight: Array, embedding: Array | None, temperature: float) -> float:
    """‖U Eᵀ‖₂ · ½ · ‖W_head‖₂/τ: what a softmax fed back can carry, since ‖diag(p) − p pᵀ‖₂ ≤ ½."""
    U = np.asarray(cell.weight_ih, dtype=np.float64)
    into = U if embedding is None else U @ np.asarray(embedding, dtype=np.float64).T
    return norm_rounded_up(into) * 0.5 * norm_rounded_up(head_weight) / temperature


def decoder_step_bounds(cell: Cell, n_steps: int, initial_bound: float, gain: float = 0.0) -> Array:
    """log10 of ‖J_cell‖ + ‖B‖·gain for decoder steps 1 … S; the first step hears no output. Shape (n_steps,).

    Parameters
    ----------
    gain : float
        :func:`feedback_gain` of soft feedback; 0 for teacher and greedy, which pass no gradient.
    """
    norms = block_norms(cell)
    out, state_bound = np.empty(n_steps), initial_bound
    with np.errstate(divide="ignore"):
        for t in range(n_steps):
            bound = cell.step_norm_bound(norms, state_bound)
            if t and gain:
                bound += cell.drive_norm_bound(norms, state_bound) * gain
            out[t] = np.log10(bound)
            state_bound = cell.next_state_bound(state_bound)
    return out
