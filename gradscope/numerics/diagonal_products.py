"""Products of diagonal steps: every lag's norm, and every channel's sum of logarithms, from vectors alone.

Where J_t = diag(d_t), or turns pairs of components and shrinks each (a complex λ), the singular values of a product are
Π|d_t| of each channel. A channel far below the largest has a power of two of its own, so that 10^±10000 is as exact as
1 and no logarithm is rounded on the way. A block of steps costs one product per channel; step by step are followed only
the channels that could be the largest in it, or carry a digit of the sums over channels: after a while, few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Literal

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.linalg.singular_values import EPS
from gradscope.log_domain import LOG10_2
from gradscope.numerics.lag_norms import LagNorms
from gradscope.numerics.tape import Tape

#: Numbers of a block: it stays in a core's cache while it is looked at three times.
NUMBERS_AT_ONCE = 2**18
#: Powers of two below the largest from which a channel has a scale of its own.
DEEP = 500
#: Powers of two below what is needed at the moment up to which channels are followed step by step: fewer while those
#: followed stay the largest for many steps, more where it has to be looked again within a hundred.
LEAST_SIGHT, MOST_SIGHT, SOON = 1.0, 64.0, 100
#: Powers of two below the largest channel beyond which one carries no digit of a Frobenius norm or a rank.
NO_DIGIT = 60


def measure_diagonal_norms(
    tape: Tape, *, anchor: Literal["end", "start"], progress: Callable[[int, int], None] | None = None
) -> LagNorms | None:
    """Norms at every lag of a tape whose steps are all diagonal; None where one is not."""
    T, n, batch = tape.n_steps, tape.state_size, tape.batch_shape
    if T == 0 or tape.h_components is not None or tape.jacobians(1, 1).magnitudes is None:
        return None
    size = max(1, NUMBERS_AT_ONCE // max(1, n * prod(batch)))

    def stretches() -> Iterator[Array]:
        for done in range(0, T, size):
            last = min(done + size, T)
            steps = tape.jacobians(done + 1, last) if anchor == "start" else tape.jacobians(T - last + 1, T - done)
            magnitudes = steps.magnitudes
            if magnitudes is None:
                raise _NotDiagonal
            yield magnitudes if anchor == "start" else magnitudes[::-1]
            if progress is not None:
                progress(last, T)

    try:
        return products_of(stretches(), T, (*batch, n))
    except _NotDiagonal:
        return None


class _NotDiagonal(Exception):
    """A later step is of another kind."""


def products_of(stretches: Iterable[Array], n_steps: int, shape: tuple[int, ...], *, ranks: bool = True) -> LagNorms:
    """Multiply factors as they come, first lag first.

    Parameters
    ----------
    stretches : iterable of ndarray, shape (s, *batch_shape, n)
        |d_t| of s steps each, n_steps in all; nothing of them is kept.
    shape : tuple of int
        (*batch_shape, n).
    ranks : bool
        Whether rank and stable rank are wanted too; else they are 0 and NaN, and fewer channels are followed.

    >>> products_of([np.array([[0.5, 2.0]])] * 3000, 3000, (2,)).log10_norm[-1].round(9)
    np.float64(903.089986992)
    """
    run = _Running(n_steps, prod(shape[:-1]), shape[-1], ranks)
    for stretch in stretches:
        run.add(np.asarray(stretch, dtype=np.float64).reshape(len(stretch), -1, shape[-1]))
    return run.result(shape)


def _running_products(start: Array, factors: Array) -> Array:
    """start·d_1, start·d_1·d_2, …; row by row, since numpy's accumulate along the first axis strides through memory."""
    out = np.empty(factors.shape)
    for i, step in enumerate(factors):
        start = np.multiply(start, step, out=out[i])
    return out


class _Running:
    """Channels (B, n) as values·2^(offset + base), and what was found of every product so far.

    Channels near the largest share one scale (offset 0), so that they can be compared; deep ones have their own. Where
    float64 ends, the processor's own flags say so, and the block is taken again after rescaling.
    """

    def __init__(self, n_steps: int, batch: int, n: int, ranks: bool) -> None:
        self.values, self.offset = np.ones((batch, n)), np.zeros((batch, n), dtype=np.int64)
        self.base, self.deep = np.zeros(batch, dtype=np.int64), np.zeros((batch, n), dtype=bool)
        self.no_digit = NO_DIGIT + float(np.log2(n)) if ranks else 0.0
        # Those followed step by step (None: all), their values, and a bound on log2 of all others.
        self.near: Array | None = None
        self.near_values, self.others = self.values, np.full(batch, -np.inf)
        self.sight, self.looked = 4.0, 0
        self.ranks = ranks
        self.log10_norm = np.zeros((n_steps + 1, batch))
        self.stable_rank = np.full((n_steps + 1, batch), float(n) if ranks else np.nan)
        self.rank = np.full((n_steps + 1, batch), n if ranks else 0, dtype=np.int64)
        self.zero, self.nonfinite = (np.zeros((n_steps + 1, batch), dtype=bool) for _ in range(2))
        self.lag = 0

    def add(self, factors: Array) -> None:
        """Take s more steps, in blocks."""
        rows = max(1, NUMBERS_AT_ONCE // max(1, self.values.size))
        for first in range(0, len(factors), rows):
            self._block(factors[first : first + rows])

    def _block(self, factors: Array) -> None:
        """Several steps at once; after rescaling, in halves, or one by one, where their range asks for it."""
        high = float(factors.max(initial=0.0))
        if not np.isfinite(high):
            factors = self._without_infinities(factors)
            high = float(factors.max(initial=0.0))
        if self._taken(factors, high):
            return
        self._rescale()
        if self._taken(factors, high):
            return
        if len(factors) == 1:
            self._one(factors[0])
            return
        half = len(factors) // 2
        self._block(factors[:half])
        self._block(factors[half:])

    def _taken(self, factors: Array, high: float) -> bool:
        """Multiply and note, unless a product leaves float64 or a channel that is not followed may matter."""
        try:
            with np.errstate(over="raise", under="raise", invalid="raise"):
                if self.near is None:
                    products = _running_products(self.near_values, factors)
                    values = products[-1]
                else:
                    products = _running_products(self.near_values, factors.take(self.near, axis=-1))
                    values = self.values * np.multiply.reduce(factors, axis=0)
        except FloatingPointError:
            return False
        largest = products.max(axis=-1, initial=0.0)
        if self.near is not None:
            others = self.others + len(factors) * np.log2(max(high, 1.0))
            with np.errstate(divide="ignore"):
                if np.any(others > np.log2(largest.min(axis=0)) - self.no_digit):
                    return False
            self.others = others
        self.values, self.near_values = values, products[-1]
        self._note(products, largest, self.base)
        return True

    def _without_infinities(self, factors: Array) -> Array:
        """The factors with 1 in the place of what is no number, whose products are marked from there on."""
        bad = ~np.isfinite(factors)
        lags = self.lag + 1 + np.arange(len(factors))
        self.nonfinite[lags] |= np.logical_or.accumulate(bad.any(axis=-1), axis=0)
        self.nonfinite[lags[-1] :] |= self.nonfinite[lags[-1]]
        return np.where(bad, 1.0, factors)

    def _rescale(self) -> None:
        """Bring the largest channel of each product near 1, give deep ones their own scale, choose whom to follow."""
        mantissa, exponent = np.frexp(self.values)
        exponent = exponent + self.offset
        top = np.where(mantissa > 0, exponent, np.iinfo(np.int64).min // 2).max(axis=-1)
        top = np.where(np.any(mantissa, axis=-1), top, 0)
        depth = exponent - top[:, None]
        self.deep = (depth < -DEEP) | (mantissa == 0)
        common = np.ldexp(mantissa, np.clip(depth, -DEEP, 0).astype(np.int32))
        self.values, self.offset = np.where(self.deep, mantissa, common), np.where(self.deep, depth, 0)
        self.base = self.base + top
        comparable = np.where(self.deep, 0.0, common)
        soon, self.looked = self.lag - self.looked < SOON, self.lag
        self.sight = min(2 * self.sight, MOST_SIGHT) if soon else max(0.5 * self.sight, LEAST_SIGHT)
        least = comparable.max(axis=-1) * 2.0 ** -(self.no_digit + self.sight)
        near = ((comparable >= least[:, None]) & (comparable > 0)).any(axis=0)
        self.near = None if near.all() and not self.deep.any() else np.flatnonzero(near)
        self.near_values = self.values if self.near is None else comparable[:, self.near]
        with np.errstate(divide="ignore"):
            self.others = np.log2(least)

    def _one(self, factors: Array) -> None:
        """A step with factors near the ends of float64: they are taken apart first."""
        mantissa, exponent = np.frexp(factors)
        self.values, self.offset = self.values * mantissa, self.offset + exponent
        self._rescale()
        products = np.where(self.deep, 0.0, self.values)[None]
        self._note(products, products.max(axis=-1, initial=0.0), self.base)

    def _note(self, values: Array, largest: Array, base: Array) -> None:
        """Norm, stable rank and rank of products whose channels are values·2^base, shape (s, B, channels)."""
        lags = slice(self.lag + 1, self.lag + 1 + len(values))
        self.lag += len(values)
        alive = largest > 0
        safe = np.where(alive, largest, 1.0)
        self.zero[lags] = ~alive
        self.log10_norm[lags] = np.where(alive, np.log10(safe) + base * LOG10_2, np.nan)
        if not self.ranks:
            return
        shares = values / safe[..., None]
        self.stable_rank[lags] = np.where(alive, np.einsum("sbn,sbn->sb", shares, shares), np.nan)
        self.rank[lags] = np.count_nonzero(values > (self.values.shape[-1] * EPS) * largest[..., None], axis=-1)

    def result(self, shape: tuple[int, ...]) -> LagNorms:
        """As a record, in the tape's own axes."""
        axes = (self.lag + 1, *shape[:-1])
        nothing = np.broadcast_to(False, axes)
        void = self.nonfinite
        return LagNorms(
            log10_norm=np.where(void, np.nan, self.log10_norm).reshape(axes),
            zero=(self.zero & ~void).reshape(axes),
            log10_norm_h=np.broadcast_to(np.nan, axes),
            zero_h=nothing,
            stable_rank=np.where(void, np.nan, self.stable_rank).reshape(axes),
            rank=self.rank.reshape(axes),
            nonfinite=void.reshape(axes),
            doubtful=nothing,
            flushed=nothing,
        )
