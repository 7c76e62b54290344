"""Bounds on ‖∂s_t/∂s_i‖₂ that hold whatever the input, from weights and suprema of slopes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradscope.cells.base import Cell
from gradscope.jacobians.base import Array
from gradscope.theory.closed_forms import sums_by_lag

Anchor = Literal["end", "start"]


@dataclass(frozen=True)
class Bound:
    """One certified bound.

    Attributes
    ----------
    name : str
        The formula, for the summary.
    log10 : ndarray, shape (T + 1,)
        +inf where it says nothing.
    """

    name: str
    log10: Array


def block_norms(cell: Cell) -> dict[str, float]:
    """σ₁ of every recurrent block, rounded up by the error bound of the SVD (Golub and Van Loan 2013, §8.6)."""
    norms = {}
    for gate, W in cell.recurrent_blocks().items():
        n = W.shape[-1]
        sigma = float(np.linalg.norm(np.asarray(W, dtype=np.float64), 2))
        norms[gate] = sigma * (1.0 + 4.0 * n * np.finfo(np.float64).eps)
    return norms


def step_norm_bounds(cell: Cell, n_steps: int, initial_bound: float) -> Array:
    """log10 of the cell's own bound on ‖J_t‖₂ for t = 1 … T, given sup |s_0|; shape (T,).

    The supremum of the state is carried along (:meth:`Cell.next_state_bound`), since some cells' states grow with t.
    """
    norms = block_norms(cell)
    out = np.empty(n_steps)
    state_bound = initial_bound
    with np.errstate(divide="ignore"):
        for t in range(n_steps):
            out[t] = np.log10(cell.step_norm_bound(norms, state_bound))
            following = cell.next_state_bound(state_bound)
            if following == state_bound:
                # A fixed point: every later step has the same bound.
                out[t:] = out[t]
                break
            state_bound = following
    return out


def stepwise_bound(cell: Cell, n_steps: int, initial_bound: float, anchor: Anchor) -> Array:
    """Π_t of the cell's step bounds over the k steps of each lag, log10; +inf where the cell has none."""
    return sums_by_lag(step_norm_bounds(cell, n_steps, initial_bound), anchor)
