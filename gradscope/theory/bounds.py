"""Bounds on ‖∂s_t/∂s_i‖₂ that hold whatever the input, from weights and suprema of slopes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.certificate import Certificate
from gradscope.theory.closed_forms import sums_by_lag
from gradscope.theory.powers import log10_power_norms
from gradscope.theory.scaled_norm import PROMISING, ScaledNorm, log10_condition_of, rounded_up_norm, scaled_norm
from gradscope.theory.scaling_starts import scale_without_loss
from gradscope.theory.schur import EPS, times_power_of_two

Anchor = Literal["end", "start"]

#: ‖|W|^k‖ is computed to a few units in the last place per step; a true bound is rounded up by more than that.
ROUNDING_OF_POWERS = 1e-10
#: Up to this size S is also optimised under tighter limits on κ(S), which the bound pays once: better at short lags.
SEVERAL_S_UP_TO = 32
CONDITION_LIMITS = (1e1, 1e3, 1e8)
#: Points between S = I and each optimum, S^(j/16).
SCALINGS_ON_THE_WAY = 16


#: Decades above the path bound from which a growing bound is left out.
EMPTY_ABOVE = 20.0


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


def norm_rounded_up(matrix: Array) -> float:
    """σ₁, rounded up by the error bound of the SVD (Golub and Van Loan 2013, §8.6)."""
    if 0 in matrix.shape:
        return 0.0
    sigma = float(np.linalg.norm(np.asarray(matrix, dtype=np.float64), 2))
    return sigma * (1.0 + 4.0 * float(max(matrix.shape)) * EPS)


def block_norms(cell: Cell) -> dict[str, float]:
    """σ₁ of every recurrent block, rounded up."""
    return {gate: norm_rounded_up(W) for gate, W in cell.recurrent_blocks().items()}


def step_norm_bounds(cell: Cell, n_steps: int, initial_bound: float, *, norms: dict[str, float] | None = None) -> Array:
    """log10 of the cell's own bound on ‖J_t‖₂ for t = 1 … T, given sup |s_0|; shape (T,).

    The supremum of the state is carried along (:meth:`Cell.next_state_bound`), since some cells' states grow with t.
    ``norms`` are :func:`block_norms`, where they are known already.
    """
    norms = norms or block_norms(cell)
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


def stepwise_bound(
    cell: Cell, n_steps: int, initial_bound: float, anchor: Anchor, *, norms: dict[str, float] | None = None
) -> Array:
    """Π_t of the cell's step bounds over the k steps of each lag, log10; +inf where the cell has none."""
    return sums_by_lag(step_norm_bounds(cell, n_steps, initial_bound, norms=norms), anchor)


def product_bounds(W: Array, slope: float, n_steps: int, certificate: Certificate) -> list[Bound]:
    """Bounds on ‖D_k W ⋯ D_1 W‖₂ for any diagonal |D_j| ≤ slope, log10 per lag.

    (γσ₁)^k (Pascanu, Mikolov and Bengio 2013); γ^k ‖|W|^k‖₂ (entrywise domination); κ(S)(γ‖SWS⁻¹‖₂)^k (diagonal S
    commutes with D_j; Buehner and Young 2006). The last two can prove vanishing where γσ₁ ≥ 1.

    Parameters
    ----------
    W : ndarray, shape (n, n)
    slope : float
        γ = sup φ′.
    certificate : Certificate
        Of W: what its S and ρ(|W|) tell is used here.
    """
    lags = np.arange(n_steps + 1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = [Bound("(γσ₁)^k", np.where(lags > 0, lags * np.log10(slope * certificate.sigma), 0.0))]
        if certificate.absolute_radius < certificate.sigma:
            powers = log10_power_norms(np.abs(W), n_steps)
            bounds.append(Bound("γ^k ‖|W|^k‖₂", powers + lags * np.log10(slope) + ROUNDING_OF_POWERS))
    small, scaled = len(W) <= SEVERAL_S_UP_TO, certificate.scaled.value
    # A nilpotent pattern wants an S without end, and ‖|W|^k‖ above is exactly 0 from k = n on.
    if certificate.value > 0 and scaled < certificate.sigma and (small or slope * scaled < PROMISING):
        bounds.append(Bound("min_S κ(S)(γ‖SWS⁻¹‖₂)^k", scaled_bound(W, slope, lags, certificate.scaled)))
    return bounds


def scaled_bound(W: Array, slope: float, lags: Array, found: ScaledNorm) -> Array:
    """log10 min_S κ(S)(γ‖SWS⁻¹‖₂)^k, the minimum at every lag taken over a family of S.

    The family: the S of the certificate, optima under several limits on κ(S), and S^θ, 0 < θ ≤ 1, on the way to each.
    ln ‖S^θ W S^−θ‖₂ is convex in θ, so the way is never worse than what its ends give (Sezginer and Overton 1990).

    Parameters
    ----------
    lags : ndarray, shape (T + 1,)
    found : ScaledNorm
        That of :func:`certify`.
    """
    n = W.shape[0]
    optima = [found]
    if n <= SEVERAL_S_UP_TO:
        for limit in sorted(CONDITION_LIMITS, reverse=True):
            # An optimum far inside a tighter limit is what the search within it would find, step by step; one merely
            # inside may not be the only one, and another with a smaller κ(S) may be worth more at short lags.
            if 2.0 * optima[-1].log10_condition > math.log10(limit):
                optima.append(scaled_norm(W, max_condition=limit, max_steps=120))
    envelope = np.min([optimum.log10_power_bound(lags, slope) for optimum in optima], axis=0)
    for optimum in optima:
        if optimum.log10_condition > 0:
            for between in _on_the_way(W, optimum):
                envelope = np.minimum(envelope, between.log10_power_bound(lags, slope))
    envelope[lags == 0] = 0.0
    return np.asarray(envelope)


def _on_the_way(W: Array, found: ScaledNorm) -> list[ScaledNorm]:
    """S^θ for some θ between 0 and 1, closer to S = I the more graded S is."""
    A, exponent = scale_without_loss(W)
    shares = list(np.arange(1, SCALINGS_ON_THE_WAY) / SCALINGS_ON_THE_WAY)
    while shares[0] * found.log10_condition > 2.0:
        shares.insert(0, shares[0] / 2)
    return [
        ScaledNorm(times_power_of_two(rounded_up_norm(A, x), exponent), x, log10_condition_of(x))
        for x in (share * found.log_scales for share in shares)
    ]


def tightest(bounds: list[Bound]) -> tuple[Array, str]:
    """The smallest of several true bounds at every lag, and the name of the one that wins at the longest."""
    table = np.array([bound.log10 for bound in bounds])
    return np.asarray(table.min(axis=0)), bounds[int(np.argmin(table[:, -1]))].name


def says_nothing(bound: Array, along_path: Array) -> bool:
    """Whether a bound true for every input is empty: it grows, and ends twenty decades above the path bound.

    That of a gated cell, whose gates are all given their worst slope at once, is 10^352 at lag 200 of an lstm where
    the product of the norms along the trajectory is 10^36. A bound that falls is kept, however far above.

    Parameters
    ----------
    bound, along_path : ndarray, shape (T + 1,)
        log10 per lag.
    """
    if len(bound) < 2 or not np.isfinite(bound[-2:]).all():
        return False
    return bool(bound[-1] > bound[-2] and bound[-1] - along_path[-1] > EMPTY_ABOVE)
