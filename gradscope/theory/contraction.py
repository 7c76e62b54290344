"""A certified contraction of gated cells: incremental stability in a weighted norm, from gate bounds.

Where every step Jacobian a cell can have is dominated, |J_t| ≤ M entry by entry, any weights v > 0 prove

    ‖D⁻¹ J_t D‖_∞ ≤ ρ = max_i (M v)_i / v_i,  D = diag(v),   so   ‖J_T ⋯ J_{T−k+1}‖₂ ≤ ‖v‖₂ ‖1/v‖₂ ρ^k,

and ρ < 1 is incremental stability (δISS) with that rate, for every input and state that M speaks of. The best v is
the Perron vector. Beside it the matrix of block norms proves the same with spectral norms, sharper where a large dense
W has no structure; the smaller bound counts at every lag.

References
----------
F. Bonassi, E. Terzi, M. Farina and R. Scattolini, LSTM neural networks: input to state stability and probabilistic
safety verification, L4DC 2020 (gate bounds over the invariant set; a 2 × 2 matrix of norms); E. Terzi, F. Bonassi,
M. Farina and R. Scattolini, Int. J. Robust Nonlinear Control 31 (2021) 8988 (δISS of the LSTM); F. Bonassi, M. Farina
and R. Scattolini, Systems & Control Letters 157 (2021) 105049 (ISS and δISS of the GRU, in ‖·‖_∞); J. Miller and
M. Hardt, Stable recurrent models, ICLR 2019 (λ-contractive LSTMs). Their conditions bound all units of a gate by the
worst one; here each has its own. V. D. Blondel and Y. Nesterov, SIAM J. Matrix Anal. Appl. 31 (2009) 865 for products
of non-negative matrices with independent rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.cells.domination import Block, Domination
from gradscope.cells.intervals import Interval
from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.powers import log10_power_norms

#: Up to this size ‖M^k‖₂ itself is followed, the sharpest of all at short lags.
POWERS_UP_TO = 256
#: Rounding of sums of up to a few thousand non-negative terms, and of the weights' quotient.
ROUNDING = 1e-11


@dataclass(frozen=True)
class Contraction:
    """Proof that every product of step Jacobians falls.

    Attributes
    ----------
    factor : float
        ρ < 1 per step, rounded up.
    weights : ndarray, shape (n,)
        v of the weighted ∞-norm.
    weighted_factor : float
        max_i sup (|J| v)_i / v_i; may be 1 or more where the block norms prove it alone.
    block_norms : ndarray, shape (m, m)
        Bounds on the norms of J_t's blocks.
    block_factor : float
        Their spectral radius.
    """

    factor: float
    weights: Array
    weighted_factor: float
    block_norms: Array
    block_factor: float
    domination: Domination

    def log10_bound(self, n_steps: int) -> Array:
        """log10 of the bound on ‖J_T ⋯ J_{T−k+1}‖₂ for k = 0 … n_steps."""
        lags = np.arange(n_steps + 1, dtype=np.float64)
        v = self.weights
        with np.errstate(divide="ignore"):
            weighted = np.log10(np.linalg.norm(v) * np.linalg.norm(1.0 / v)) + lags * np.log10(self.weighted_factor)
        bounds = [weighted + ROUNDING, log10_power_norms(self.block_norms, n_steps) + ROUNDING * (1.0 + lags)]
        if self.domination.keep is None and len(v) <= POWERS_UP_TO:
            bounds.append(log10_power_norms(self.domination.fixed, n_steps) + ROUNDING * (1.0 + lags))
        bound = np.asarray(np.min(bounds, axis=0))
        bound[0] = 0.0
        return bound


def contraction(domination: Domination) -> Contraction | None:
    """The least factor that is proven, or None where none below 1 is."""
    v = perron_weights(domination)
    weighted = float(np.max(domination.worst(v) / v)) * (1.0 + ROUNDING)
    # Norms are decomposed only where they could prove anything that the weights do not.
    hopeless = weighted >= 1.0 and _radius(domination.norms_by(Block.least_norm)) >= 1.0
    blocks = float("inf") if hopeless else _radius(domination.block_norms)
    factor = min(weighted, blocks)
    if not factor < 1.0:
        return None
    return Contraction(factor, v, weighted, domination.block_norms, blocks, domination)


def perron_weights(domination: Domination, *, steps: int = 200) -> Array:
    """Weights for which the worst row is nearly as good as it gets; any v > 0 is a proof, this one a good one."""
    n = len(domination.fixed)
    v = np.ones(n)
    for _ in range(steps):
        # A share of v itself keeps a periodic pattern from oscillating, a share of 1 every weight above 0.
        following = domination.worst(v) + 0.1 * v
        following = np.maximum(following / following.max(), 1e-9)
        if float(np.abs(following - v).max()) < 1e-10:
            break
        v = following
    return v


def _radius(B: Array) -> float:
    """ρ of a small non-negative matrix, rounded up: max_i (B x)_i/x_i for a positive x (Collatz–Wielandt)."""
    x = np.ones(len(B))
    for _ in range(500):
        x = np.maximum(B @ x + 0.1 * x, 1e-12)
        x /= x.max()
    return float(np.max(B @ x / x)) * (1.0 + ROUNDING)


def contraction_of(cell: Cell, drive: Interval, start: Interval) -> Contraction | None:
    """The contraction of a cell while its drives stay within ``drive``; None where none is proven."""
    domination = cell.domination(drive, start)
    return None if domination is None else contraction(domination)


def every_drive(cell: Cell) -> Interval:
    """U x + b for every input whatever: a row of U that is zero leaves b, any other leaves nothing out."""
    bias = np.asarray(cell.bias, dtype=np.float64)
    heard = np.any(np.asarray(cell.weight_ih) != 0, axis=-1)
    return Interval(np.where(heard, -np.inf, bias), np.where(heard, np.inf, bias))


def drives_within(cell: Cell, bound: float) -> Interval:
    """U x + b for every input of which no component is beyond ``bound`` in size."""
    reach = np.abs(np.asarray(cell.weight_ih, dtype=np.float64)).sum(axis=-1) * bound
    return Interval.around(np.asarray(cell.bias, dtype=np.float64), reach).outward()


def input_bound(cell: Cell, start: Interval) -> float | None:
    """The largest b (to 1 %) such that the cell provably contracts for all inputs with |x_j| ≤ b; None if for none."""
    return largest_bound(lambda b: contraction_of(cell, drives_within(cell, b), start) is not None)


def largest_bound(contracts: Callable[[float], bool], *, least: float = 1e-3, most: float = 1e3) -> float | None:
    """The largest b (to 1 %) up to ``most`` for which it contracts; 0 below ``least``, None if not even for 0."""
    if not contracts(0.0):
        return None
    if contracts(most):
        return most
    if not contracts(least):
        return 0.0
    low, high = least, most
    while high > 1.01 * low:
        middle = float(np.sqrt(low * high))
        if contracts(middle):
            low = middle
        else:
            high = middle
    return low
