"""What every step Jacobian of a gated cell is at most, entry by entry, over the states it can reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from math import prod
from typing import TypeAlias

import numpy as np

from gradscope.cells.intervals import Interval
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class Block:
    """Σ_g diag(d_g) W_g with d_g at most ``coefficients``: one block of a Jacobian, or a part of one."""

    coefficients: tuple[Array, ...]
    weights: tuple[Array, ...]

    def entrywise(self) -> Array:
        """Σ_g diag(d_g)|W_g|."""
        terms = zip(self.coefficients, self.weights, strict=True)
        return np.asarray(sum(d[:, None] * np.abs(np.asarray(W, dtype=np.float64)) for d, W in terms))

    def norm(self) -> float:
        """Σ_g ‖diag(d_g) W_g‖₂, rounded up: |d| below its supremum only shrinks the rows."""
        total = 0.0
        for d, W in zip(self.coefficients, self.weights, strict=True):
            scaled = d[:, None] * np.asarray(W, dtype=np.float64)
            total += float(np.linalg.norm(scaled, 2)) * (1.0 + 4.0 * max(scaled.shape) * np.finfo(np.float64).eps)
        return total + SMALLEST

    def least_norm(self) -> float:
        """What :meth:`norm` is at least, from the longest row of each term: no decomposition."""
        terms = zip(self.coefficients, self.weights, strict=True)
        return sum(float((d * np.linalg.norm(np.asarray(W, dtype=np.float64), axis=-1)).max()) for d, W in terms)


#: Added to every entry and norm: what underflowed on the way to it was smaller, and nothing is claimed to be zero.
SMALLEST = 2.0**-1000

#: Blocks whose product, last first, is one way from the input to a part of the state.
Chain: TypeAlias = tuple[Block, ...]


@dataclass(frozen=True)
class Domination:
    """|J_t| ≤ fixed + diag(z) + diag(1 − z) mixed, entry by entry, with some z in ``keep`` of its own at every step.

    Attributes
    ----------
    fixed : ndarray, shape (n, n)
    keep : Interval or None
        z of each row; None where nothing is coupled so (then ``mixed`` is None as well).
    mixed : ndarray, shape (n, n), or None
    norms_by : callable
        From a norm of a :class:`Block` to the matrix (m, m) of such norms of J_t's blocks, one per pair of state parts.
    states : Interval
        Every state the bound speaks of.
    heard : tuple of tuple of Chain
        The same of ∂s_t/∂x_t, for each part of the state (h first): a sum of chains.
    """

    fixed: Array
    keep: Interval | None
    mixed: Array | None
    norms_by: Callable[[Callable[[Block], float]], Array]
    states: Interval
    heard: tuple[tuple[Chain, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "fixed", self.fixed + SMALLEST)

    @property
    def h_size(self) -> int:
        """Components of h, the first part of the state."""
        return len(self.fixed) // len(self.heard)

    @cached_property
    def input_entries(self) -> Array:
        """|∂s_t/∂x_t| at most, entry by entry, shape (n, I)."""
        parts = [
            sum(reduce(np.matmul, [block.entrywise() for block in chain]) for chain in part) for part in self.heard
        ]
        return np.concatenate(parts) + SMALLEST

    @cached_property
    def input_norms(self) -> Array:
        """Bounds on the spectral norms of ∂s_t/∂x_t, one for each part of the state."""
        return (
            np.array([sum(prod(block.norm() for block in chain) for chain in part) for part in self.heard]) + SMALLEST
        )

    @cached_property
    def block_norms(self) -> Array:
        """Bounds on the spectral norms of J_t's blocks."""
        return self.norms_by(Block.norm)

    def worst(self, v: Array) -> Array:
        """sup |J_t| v, row by row, for v ≥ 0: each row is linear in its z, so an end of the interval is worst."""
        fixed = self.fixed @ v
        if self.keep is None or self.mixed is None:
            return np.asarray(fixed)
        mixed = self.mixed @ v
        ends = [z * v + (1.0 - z) * mixed for z in (self.keep.low, self.keep.high)]
        return np.asarray(fixed + np.maximum(*ends))
