"""Bounds on ‖∂s_t/∂s_i‖₂ that hold whatever the input, from weights and suprema of slopes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradscope.cells.base import Cell
from gradscope.jacobians.base import Array
from gradscope.theory.closed_forms import sums_by_lag
from gradscope.theory.powers import log10_absolute_power_norms, nilpotency_by_pattern
from gradscope.theory.scaled_norm import ScaledNorm, scaled_norm
from gradscope.theory.schur import EPS

Anchor = Literal["end", "start"]

#: ‖|W|^k‖ is computed to a few units in the last place per step; a true bound is rounded up by more than that.
ROUNDING_OF_POWERS = 1e-10
#: Up to this size S is also optimised under tighter limits on κ(S), which the bound pays once: better at short lags.
SEVERAL_S_UP_TO = 32
CONDITION_LIMITS = (1e1, 1e3, 1e8)
#: Points between S = I and each optimum, S^(j/16).
SCALINGS_ON_THE_WAY = 16


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


def structured_radius(W: Array, *, sweeps: int = 60) -> float:
    """max ρ(QW) over diagonal |Q| = 1, as power iteration sees it: inf_S ‖SWS⁻¹‖₂ never falls below it.

    The lower bound on the structured singular value μ of Packard, Fan and Doyle (Proc. 27th IEEE CDC, 1988), for
    diagonal scalar blocks. It only decides whether a search for S can succeed, so it need not have converged.
    """
    rng = np.random.default_rng(20260102)
    starts: Array = rng.standard_normal((4, W.shape[0]))
    b, w = _unit(starts[0] + 1j * starts[1])[0], _unit(starts[2] + 1j * starts[3])[0]
    size = 0.0
    for _ in range(sweeps):
        a, right = _unit(_times(W, b))
        w, left = _unit(_times(W.T, np.abs(w) * _phase(a)))
        size = min(right, left)
        if size == 0.0:
            break
        b, _ = _unit(np.abs(a) * _phase(w))
    return size


def _times(W: Array, v: Array) -> Array:
    """W·v for real W and complex v, without a complex copy of W."""
    parts = W @ np.stack([v.real, v.imag], axis=1)
    return np.asarray(parts[:, 0] + 1j * parts[:, 1])


def _unit(v: Array) -> tuple[Array, float]:
    """v/‖v‖ and ‖v‖; zero stays zero."""
    length = float(np.linalg.norm(v))
    return (v / length if length > 0.0 else v), length


def _phase(v: Array) -> Array:
    """v/|v|, 1 where v is 0."""
    sizes = np.abs(v)
    return np.asarray(np.where(sizes > 0, v / np.where(sizes > 0, sizes, 1.0), 1.0))


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
        ρ(W); the scaled norm never falls below it, so it is sought only where it can decide something. Large W are
        asked :func:`structured_radius` too: where it is above 1/γ no S can certify, and the search is left out.
    """
    lags = np.arange(n_steps + 1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = [Bound("(γσ₁)^k", np.where(lags > 0, lags * np.log10(slope * sigma), 0.0))]
        certificate = float(slope * sigma)
        nilpotent = nilpotency_by_pattern(W) is not None
        if nilpotent or absolute_radius_is_below(W, sigma):
            powers = log10_absolute_power_norms(W, n_steps)
            bounds.append(Bound("γ^k ‖|W|^k‖₂", powers + lags * np.log10(slope) + ROUNDING_OF_POWERS))
    if nilpotent:
        # inf_S ‖SWS⁻¹‖ = 0, though no S attains it; ‖|W|^k‖ above is exactly 0 from k = n on.
        certificate = 0.0
    elif slope * radius < 1.0 and (W.shape[0] <= SEVERAL_S_UP_TO or slope * structured_radius(W) < 1.05):
        envelope, best = scaled_bound(W, slope, lags)
        certificate = min(certificate, float(slope * best.value))
        bounds.append(Bound("min_S κ(S)(γ‖SWS⁻¹‖₂)^k", envelope))
    return bounds, certificate


def scaled_bound(W: Array, slope: float, lags: Array) -> tuple[Array, ScaledNorm]:
    """log10 min_S κ(S)(γ‖SWS⁻¹‖₂)^k, the minimum at every lag taken over a family of S; and the S of least ‖SWS⁻¹‖₂.

    The family: optima under several limits on κ(S), and S^θ, 0 < θ ≤ 1, on the way to each. ln ‖S^θ W S^−θ‖₂ is
    convex in θ, so the way is never worse than what its ends give (Sezginer and Overton 1990).

    Parameters
    ----------
    lags : ndarray, shape (T + 1,)
    """
    n = W.shape[0]
    effort = 60 if n <= 64 else 20 if n <= 256 else 10
    limits = CONDITION_LIMITS if n <= SEVERAL_S_UP_TO else CONDITION_LIMITS[-1:]
    optima: list[ScaledNorm] = []
    for limit in sorted(limits, reverse=True):
        # An optimum far inside a tighter limit is what the search within it would find, step by step; one merely
        # inside may not be the only one, and another with a smaller κ(S) may be worth more at short lags.
        if not optima or 2.0 * optima[-1].log10_condition > math.log10(limit):
            optima.append(scaled_norm(W, max_condition=limit, max_steps=effort))
    envelope = np.min([found.log10_power_bound(lags, slope) for found in optima], axis=0)
    for found in optima:
        if found.log10_condition > 0:
            for between in _on_the_way(W, found):
                envelope = np.minimum(envelope, between.log10_power_bound(lags, slope))
    envelope[lags == 0] = 0.0
    return np.asarray(envelope), min(optima, key=lambda found: found.value)


def _on_the_way(W: Array, found: ScaledNorm) -> list[ScaledNorm]:
    """S^θ for some θ between 0 and 1, with ‖S^θ W S^−θ‖₂ rounded up as scaled_norm does."""
    n = W.shape[0]
    scales = found.scales ** (np.arange(1, SCALINGS_ON_THE_WAY)[:, None] / SCALINGS_ON_THE_WAY)
    norms = np.linalg.svd(scales[:, :, None] * W / scales[:, None, :], compute_uv=False)[:, 0]
    # Two roundings per entry, and the SVD's own n·eps.
    norms = norms * (1.0 + (n + 4.0 * n**0.5) * EPS)
    conditions = np.log10(scales.max(axis=1) / scales.min(axis=1)) * (1.0 + 4.0 * EPS)
    return [ScaledNorm(float(v), s, float(c)) for v, s, c in zip(norms, scales, conditions, strict=True)]


def tightest(bounds: list[Bound]) -> tuple[Array, str]:
    """The smallest of several true bounds at every lag, and the name of the one that wins at the longest."""
    table = np.array([bound.log10 for bound in bounds])
    return np.asarray(table.min(axis=0)), bounds[int(np.argmin(table[:, -1]))].name
