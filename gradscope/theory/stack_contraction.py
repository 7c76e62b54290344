"""A certified contraction of stacked gated layers: a cascade of layers that contract contracts.

No layer is heard by those below it, so for every input in the box that the layer below can reach each obeys a
certificate of its own (:mod:`gradscope.theory.contraction`), in a norm of its own. With N_ll that norm of its block of
J_t and K_l what ∂s^l_t/∂h^{l−1}_t can be from one norm to the next,

    N_lj = K_l N_{l−1,j}  (j < l)   bounds block (l, j) of every J_t, and N^k that of every product of k.

N is block lower triangular, so its spectral radius is the largest over the layers; what couples them costs a polynomial
in k, not a rate. A norm is either a weighted ∞-norm or the spectral norms of the parts (h, c), per layer; a few choices
are made and the least bound counts at every lag, beside ‖M^k‖₂ itself where |J_t| ≤ M is at hand.

References
----------
W. Lohmiller and J.-J. E. Slotine, On contraction analysis for non-linear systems, Automatica 34 (1998) 683, §3.8
(hierarchies of contracting systems contract). F. Bonassi, M. Farina and R. Scattolini, Systems & Control Letters 157
(2021) 105049, §4 (deep GRUs: layer by layer, each for what the layer below puts out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.cells.domination import Domination
from gradscope.cells.intervals import Interval, affine
from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.contraction import POWERS_UP_TO, ROUNDING, Contraction, contraction
from gradscope.theory.powers import log10_power_norms


@dataclass(frozen=True)
class LayerNorms:
    """One layer's blocks of a state vector, measured in norms of its own.

    Attributes
    ----------
    found : Contraction
    weighted : bool
        Whether it is the weighted ∞-norm (one block), or the spectral norms of the state's parts.
    """

    found: Contraction
    weighted: bool

    @property
    def matrix(self) -> Array:
        """N_ll."""
        return np.array([[self.found.weighted_factor]]) if self.weighted else self.found.block_norms

    @property
    def radius(self) -> float:
        """Its spectral radius, rounded up."""
        return self.found.weighted_factor if self.weighted else self.found.block_factor

    @property
    def to_spectral(self) -> Array:
        """‖x‖₂ of each block is at most this times its own norm."""
        return np.array([np.linalg.norm(self.found.weights)]) if self.weighted else np.ones(len(self.matrix))

    @property
    def from_spectral(self) -> Array:
        """The own norm of each block is at most this times ‖x‖₂."""
        return np.array([(1.0 / self.found.weights).max()]) if self.weighted else np.ones(len(self.matrix))

    def hears(self, below: LayerNorms, gain: float) -> Array:
        """K: from the norms of the layer below, of which h is the first block, to these; rounded up."""
        d, H = self.found.domination, below.found.domination.h_size
        K = np.zeros((len(self.matrix), len(below.matrix)))
        if not self.weighted and not below.weighted:
            K[:, 0] = d.input_norms
            return gain * K * (1.0 + ROUNDING)
        # |J_x| v for the weights of h, or the length of each row for its spectral norm.
        into = d.input_entries @ below.found.weights[:H] if below.weighted else np.linalg.norm(d.input_entries, axis=-1)
        if self.weighted:
            K[0, 0] = np.max(into / self.found.weights)
        else:
            K[:, 0] = [np.linalg.norm(part) for part in np.split(into, len(self.matrix))]
        return gain * K * (1.0 + ROUNDING)


@dataclass(frozen=True)
class StackContraction:
    """Proof that every product of a stack's step Jacobians falls.

    Attributes
    ----------
    layers : tuple of Contraction
        Bottom first, each for what the layer below can put out. Those that do not contract in one kind of norm do so in
        the other.
    mask_gain : float
        The largest entry of dropout masks.
    """

    layers: tuple[Contraction, ...]
    mask_gain: float = 1.0

    @property
    def factor(self) -> float:
        """The largest factor per step over the layers; the whole falls by no more than any number above it."""
        return max(layer.factor for layer in self.layers)

    def choices(self) -> list[list[LayerNorms]]:
        """Norms for every layer: what proves most of each, and one kind for all."""
        n = len(self.layers)
        best = tuple(layer.weighted_factor <= layer.block_factor for layer in self.layers)
        return [
            [LayerNorms(layer, weighted) for layer, weighted in zip(self.layers, kinds, strict=True)]
            for kinds in dict.fromkeys((best, (True,) * n, (False,) * n))
        ]

    def matrix(self, choice: Sequence[LayerNorms]) -> Array:
        """N, bottom layer first."""
        return compose([norms.matrix for norms in choice], self.couplings(choice))

    def couplings(self, choice: Sequence[LayerNorms]) -> list[Array]:
        """K_l of every layer above the first."""
        return [above.hears(below, self.mask_gain) for below, above in pairwise(choice)]

    def entries(self) -> Array | None:
        """M with |J_t| ≤ M entry by entry; None where no one matrix is at hand, or it is large."""
        dominations = [layer.domination for layer in self.layers]
        n = sum(len(d.fixed) for d in dominations)
        if n > POWERS_UP_TO or any(d.keep is not None for d in dominations):
            return None
        couplings = []
        for below, above in pairwise(dominations):
            K = np.zeros((len(above.fixed), len(below.fixed)))
            K[:, : below.h_size] = self.mask_gain * above.input_entries
            couplings.append(K)
        return compose([d.fixed for d in dominations], couplings)

    def log10_bound(self, n_steps: int) -> Array:
        """log10 of the bound on ‖J_T ⋯ J_{T−k+1}‖₂ for k = 0 … n_steps."""
        rounding = ROUNDING * (1.0 + np.arange(n_steps + 1, dtype=np.float64))
        bounds = [self._log10_bound_in(choice, n_steps) + rounding for choice in self.choices()]
        M = self.entries()
        if M is not None:
            bounds.append(log10_power_norms(M, n_steps) + rounding)
        bound = np.asarray(np.min(bounds, axis=0))
        bound[0] = 0.0
        return bound

    def _log10_bound_in(self, choice: Sequence[LayerNorms], n_steps: int) -> Array:
        """‖diag(u) N^k diag(w)‖₂ ≤ ‖(diag(u) N diag(u)⁻¹)^k‖₂ max(u w), u and w from and to spectral norms."""
        up = np.concatenate([norms.to_spectral for norms in choice])
        down = np.concatenate([norms.from_spectral for norms in choice])
        return np.asarray(log10_power_norms(up[:, None] * self.matrix(choice) / up, n_steps) + np.log10(max(up * down)))


def compose(diagonal: Sequence[Array], couplings: Sequence[Array]) -> Array:
    """The block lower triangular matrix with N_lj = K_l N_{l−1,j}."""
    rows: list[list[Array]] = []
    for layer, own in enumerate(diagonal):
        rows.append([*(couplings[layer - 1] @ below for below in rows[-1]), own] if layer else [own])
    sizes = [len(own) for own in diagonal]
    blank = [[np.zeros((a, b)) for b in sizes] for a in sizes]
    return np.block([[*row, *blank[layer][len(row) :]] for layer, row in enumerate(rows)])


def stack_contraction(
    cells: Sequence[Cell], drive: Interval, starts: Sequence[Interval], *, masks: Interval | None = None
) -> StackContraction | None:
    """The contraction of stacked cells while the bottom one's drives stay within ``drive``; None where none is proven.

    Parameters
    ----------
    cells : sequence of Cell
        Bottom first.
    drive : Interval
        Of the bottom layer.
    starts : sequence of Interval
        Each layer's s_0.
    masks : Interval, optional
        What dropout can multiply the h by that goes up; 1 without.
    """
    layers: list[Contraction] = []
    for cell, start in zip(cells, starts, strict=True):
        if layers:
            drive = drive_from(cell, layers[-1].domination, masks)
        domination = cell.domination(drive, start)
        found = None if domination is None else contraction(domination)
        if found is None:
            return None
        layers.append(found)
    return StackContraction(tuple(layers), 1.0 if masks is None else float(masks.magnitude.max()))


def drive_from(cell: Cell, below: Domination, masks: Interval | None) -> Interval:
    """U h + b for every h that the layer below can put out, masked or not."""
    h, relative = below.states[: below.h_size], cell.outward_rounding
    if masks is not None:
        h = (h * masks).outward(relative)
    heard = affine(cell.weight_ih, h, relative=relative)
    bias = np.asarray(cell.bias, dtype=np.float64)
    return (heard + Interval(bias, bias)).outward(relative)
