"""Bounds on ‖∂s_t/∂s_i‖₂ that hold whatever the input, from weights and suprema of slopes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradscope.cells.base import Cell
from gradscope.jacobians.base import Array
from gradscope.theory.closed_forms import sums_by_lag
from gradscope.theory.powers import log10_absolute_power_norms
from gradscope.theory.scaled_norm import scaled_norm

Anchor = Literal["end", "start"]

#: ‖|W|^k‖ is computed to a few units in the last place per step; a true bound is rounded up by more than that.
ROUNDING_OF_POWERS = 1e-10


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


def absolute_radius_is_below(W: Array, limit: float, *, sweeps: int = 40) -> bool:
    """Whether power iteration sees ρ(|W|) < limit; where it does not, ‖|W|^k‖ ≥ ρ(|W|)^k ≥ limit^k is of no use."""
    A = np.abs(W)
    v = np.ones(A.shape[0])
    size = 0.0
    for _ in range(sweeps):
        v = A @ v
        size = float(v.max(initial=0.0))
        if size == 0.0:
            return True
        v = v / size
    return size < limit


def product_bounds(W: Array, slope: float, n_steps: int, *, sigma: float, radius: float) -> tuple[list[Bound], float]:
    """Bounds on ‖D_k W ⋯ D_1 W‖₂ for any diagonal |D_j| ≤ slope, log10 per lag, and the certificate γ·min_S‖SWS⁻¹‖.

    (γσ₁)^k (Pascanu, Mikolov and Bengio 2013); γ^k ‖|W|^k‖₂ (entrywise domination); κ(S)(γ‖SWS⁻¹‖₂)^k (diagonal S
    commutes with D_j; Buehner and Young 2006). Only the last can certify vanishing where γσ₁ ≥ 1.

    Parameters
    ----------
    W : ndarray, shape (n, n)
    slope : float
        γ = sup φ′.
    sigma : float
        σ₁(W), rounded up.
    radius : float
        ρ(W); the scaled norm never falls below it, so it is sought only where it can decide something.
    """
    lags = np.arange(n_steps + 1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = [Bound("(γσ₁)^k", np.where(lags > 0, lags * np.log10(slope * sigma), 0.0))]
        certificate = slope * sigma
        if absolute_radius_is_below(W, sigma):
            powers = log10_absolute_power_norms(W, n_steps)
            bounds.append(Bound("γ^k ‖|W|^k‖₂", powers + lags * np.log10(slope) + ROUNDING_OF_POWERS))
    n = W.shape[0]
    if slope * radius < 1.0:
        scaled = scaled_norm(W, max_steps=60 if n <= 64 else 20 if n <= 256 else 10)
        certificate = min(certificate, slope * scaled.value)
        bounds.append(Bound("κ(S)(γ‖SWS⁻¹‖₂)^k", scaled.log10_power_bound(lags, slope)))
    return bounds, certificate


def tightest(bounds: list[Bound]) -> tuple[Array, str]:
    """The smallest of several true bounds at every lag, and the name of the one that wins at the longest."""
    table = np.array([bound.log10 for bound in bounds])
    return np.asarray(table.min(axis=0)), bounds[int(np.argmin(table[:, -1]))].name
