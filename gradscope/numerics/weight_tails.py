"""What truncated backpropagation leaves out: running sums of the copies' gradients, from the oldest copy on.

With the loss at step T, backpropagation through K steps adds the copies of W_hh at lags 0 … K − 1. What it leaves
out is exactly tail_K = Σ_{lag ≥ K} ∂L/∂W_hh^(T−lag) (docs/theory.md, "Truncation"). The sum starts at the oldest copy:
gradients that vanish come first, so that no large term hides them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from gradscope.jacobians.step_jacobian import Array, WeightCotangent
from gradscope.log_domain import LOG10_2
from gradscope.numerics.backprop import DirectTerm, rescaled, state_gradients
from gradscope.numerics.tape import Tape

#: States' gradients held at a time, in numbers; a longer run is gone through backward twice.
HELD_NUMBERS = 2**25
#: Steps whose weight gradients are taken together.
STEPS_AT_ONCE = 128
#: Steps added by products of matrices; their exponents within so many powers of two, so that squares are numbers.
BLOCK, ONE_SCALE = 16, 400
#: Share of the terms' size below which a sum of squares has lost digits: an error of 1e-13 in the norm.
CANCELLED = 1e-3
#: The exponent of a sum that holds nothing yet, and of a term that is exactly zero.
NO_SCALE = -(2**40)


@dataclass(frozen=True)
class WeightTails:
    """Norms of the tails at every lag k = 0 … T; −inf where a tail is exactly zero (always at k = T).

    Attributes
    ----------
    log10_tail : ndarray, shape (T + 1, *batch_shape)
        log10 ‖Σ_{lag ≥ k} ∂L/∂W_hh^(T−lag)‖_F of each sample; k = 0 is the whole gradient.
    log10_mean_tail : ndarray, shape (T + 1, *batch_shape[:-1])
        The same of the mean loss over the batch (the last axis).
    """

    log10_tail: Array
    log10_mean_tail: Array


class _RunningSums:
    """Σ rows columnsᵀ over the blocks of every layer, one power of two for each sample, and their means beside them.

    Samples stand in the axes (networks, batch); a mean is taken over the batch of each network.
    """

    def __init__(self, networks: int, batch: int) -> None:
        self._totals: list[Array] = []
        self._means: list[Array] = []
        self._exponent = np.full((networks, batch), NO_SCALE, dtype=np.int64)
        self._mean_exponent = np.full(networks, NO_SCALE, dtype=np.int64)

    def add(self, blocks: list[WeightCotangent], exponent: Array) -> None:
        """Add one step's copy; ``rows`` (networks, batch, m) count 2^exponent, ``columns`` (…, H) count 1."""
        if not self._totals:
            self._totals = [np.zeros((*rows.shape, columns.shape[-1])) for rows, columns in blocks]
            self._means = [np.zeros((len(total), *total.shape[2:])) for total in self._totals]
        common = np.maximum(self._exponent, exponent)
        down, shift = _powers(self._exponent - common), _powers(exponent - common)
        for total, (rows, columns) in zip(self._totals, blocks, strict=True):
            if np.any(down):
                np.ldexp(total, down[..., None, None], out=total)
            total += np.ldexp(rows, shift[..., None])[..., :, None] * columns[..., None, :]
        self._exponent = common
        batch = exponent.shape[-1]
        if batch == 1:
            return
        top = np.maximum(self._mean_exponent, exponent.max(axis=-1))
        down, shift = _powers(self._mean_exponent - top), _powers(exponent - top[:, None])
        for mean, (rows, columns) in zip(self._means, blocks, strict=True):
            if np.any(down):
                np.ldexp(mean, down[:, None, None], out=mean)
            mean += np.swapaxes(np.ldexp(rows / batch, shift[..., None]), -1, -2) @ columns
        self._mean_exponent = top

    def add_block(self, blocks: list[WeightCotangent], exponent: Array) -> tuple[Array, Array]:
        """Add several steps, oldest first (leading axis), and give the norms after each: of samples, and of means.

        ‖S + Σ_i r_i c_iᵀ‖² = ‖S‖² + 2 Σ_i r_iᵀ S c_i + Σ_il (r_i·r_l)(c_i·c_l): three products of matrices instead of
        a pass over S for every step. Where the terms cancel, or are too far apart for one scale, S is formed each time.
        """
        steps, networks, batch = exponent.shape
        known = [value for value in (exponent, self._exponent[None]) if value.size]
        alive = np.concatenate(known)[np.concatenate(known) > NO_SCALE // 2]
        if batch == 1 and self._totals and alive.size and np.ptp(alive) < ONE_SCALE:
            found = self._in_products(blocks, exponent)
            if found is not None:
                return found, found[..., 0]
        norms, means = np.empty(exponent.shape), np.empty((steps, networks))
        for i in range(steps):
            self.add([WeightCotangent(rows[i], columns[i]) for rows, columns in blocks], exponent[i])
            norms[i], means[i] = self._log10_norms(), self._log10_mean_norms()
        return norms, means

    def _in_products(self, blocks: list[WeightCotangent], exponent: Array) -> Array | None:
        """The same by three products; None, with nothing added, where the terms cancel."""
        common = np.maximum(self._exponent, exponent.max(axis=0))
        down, shift = _powers(self._exponent - common), _powers(exponent - common)
        squares, sizes, added = 0.0, 0.0, []
        for total, (rows, columns) in zip(self._totals, blocks, strict=True):
            S = np.ldexp(total, down[..., None, None]) if np.any(down) else total
            R = np.moveaxis(np.ldexp(rows, shift[..., None]), 0, -2)
            C = np.moveaxis(columns, 0, -2)
            crossed = np.cumsum(np.sum(R * (C @ np.swapaxes(S, -1, -2)), axis=-1), axis=-1)
            pairs = np.cumsum(np.cumsum((R @ np.swapaxes(R, -1, -2)) * (C @ np.swapaxes(C, -1, -2)), axis=-1), axis=-2)
            before = np.einsum("...ij,...ij->...", S, S)[..., None]
            squares = squares + before + 2.0 * crossed + np.einsum("...ii->...i", pairs)
            lengths = np.cumsum(np.linalg.norm(R, axis=-1) * np.linalg.norm(C, axis=-1), axis=-1)
            sizes = sizes + np.square(np.sqrt(before) + lengths)
            added.append((S, R, C))
        if np.any(squares < CANCELLED * sizes):
            return None
        self._totals = [S + np.swapaxes(R, -1, -2) @ C for S, R, C in added]
        self._exponent = common
        with np.errstate(divide="ignore"):
            return np.asarray(np.moveaxis(0.5 * np.log10(squares) + common[..., None] * LOG10_2, -1, 0))

    def _log10_norms(self) -> Array:
        """log10 of each sample's Frobenius norm, shape (networks, batch); −inf for a zero sum."""
        return _log10_norm(self._totals, self._exponent)

    def _log10_mean_norms(self) -> Array:
        """log10 of the norm of each network's mean over its batch, shape (networks,)."""
        if self._exponent.shape[-1] == 1:
            return self._log10_norms()[:, 0]
        return _log10_norm(self._means, self._mean_exponent)


def _log10_norm(totals: list[Array], exponent: Array) -> Array:
    squares = sum(np.einsum("...ij,...ij->...", total, total) for total in totals)
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * np.log10(squares) + exponent * LOG10_2)


def _powers(exponent: Array) -> Array:
    """Exponents for ldexp: below 2^−2000 of the larger scale nothing is left to add."""
    return np.clip(exponent, -2000, 0).astype(np.int32)


def measure_weight_tails(
    tape: Tape, direct_term: DirectTerm, *, progress: Callable[[int, int], None] | None = None
) -> WeightTails | None:
    """Measure ‖tail_k‖ at every lag, for each sample and for the batch's mean loss.

    Parameters
    ----------
    direct_term : callable
        The loss's own gradient; it should be at the last step alone, for early losses stay in truncated training.

    Returns
    -------
    WeightTails, or None where the weights are unknown (ready Jacobians) or where there are none.
    """
    T, shape = tape.n_steps, tape.batch_shape
    batch = shape[-1] if shape else 1
    networks = prod(shape) // max(batch, 1)
    tails, means = np.full((T + 1, networks, batch), -np.inf), np.full((T + 1, networks), -np.inf)
    if not _knows_weights(tape):
        return None
    held = max(1, min(T, HELD_NUMBERS // max(tape.state_size * prod(shape), 1)))
    sums = _RunningSums(networks, batch)
    for first in range(1, T + 1, held):
        last = min(first + held - 1, T)
        vectors, exponents = _held_gradients(tape, direct_term, first, last)
        for start in range(first, last + 1, STEPS_AT_ONCE):
            end = min(start + STEPS_AT_ONCE - 1, last)
            part = slice(start - first, end - first + 1)
            layers = tape.jacobians(start, end).weight_cotangents(vectors[part])
            blocks = [_scaled(block, networks, batch) for layer in layers for block in layer]
            own = exponents[part].reshape(-1, networks, batch)
            for i in range(0, end - start + 1, BLOCK):
                here = slice(i, min(i + BLOCK, end - start + 1))
                found = sums.add_block(*_some_steps(blocks, here, own[here]))
                lags = T - start - np.arange(here.start, here.stop)
                tails[lags], means[lags] = found
            if progress is not None:
                progress(end, T)
    return WeightTails(tails.reshape(T + 1, *shape), means.reshape(T + 1, *shape[:-1]))


def _knows_weights(tape: Tape) -> bool:
    if tape.n_steps == 0:
        return True
    return any(tape.jacobian(1).weight_cotangents(np.zeros((*tape.batch_shape, tape.state_size))))


def _held_gradients(tape: Tape, direct_term: DirectTerm, first: int, last: int) -> tuple[Array, Array]:
    """∂L/∂s_t for t = first … last, oldest first: vectors (steps, batch, n) and their exponents (steps, batch)."""
    vectors = np.empty((last - first + 1, *tape.batch_shape, tape.state_size))
    exponents = np.empty((last - first + 1, *tape.batch_shape), dtype=np.int64)
    for t, vector, exponent in state_gradients(tape, direct_term):
        if t < first:
            break
        if t <= last:
            vectors[t - first], exponents[t - first] = vector, exponent
    return vectors, exponents


def _scaled(block: WeightCotangent, networks: int, batch: int) -> tuple[Array, Array, Array]:
    """Rows and columns with their largest entries in [½, 1), and the exponents that this took.

    An outer product of two small factors must not leave float64's range. Shapes (steps, networks, batch, ...).
    """
    zeros = np.zeros(block.rows.shape[:-1], dtype=np.int64)
    rows, row_exponent = rescaled(np.asarray(block.rows, dtype=np.float64), zeros)
    columns, column_exponent = rescaled(np.asarray(block.columns, dtype=np.float64), zeros)
    columns = np.broadcast_to(columns, (*rows.shape[:-1], columns.shape[-1]))
    silent = ~(np.any(rows, axis=-1) & np.any(columns, axis=-1))
    exponent = np.where(silent, NO_SCALE, row_exponent + column_exponent)
    lead = (len(rows), networks, batch)
    return rows.reshape(*lead, -1), columns.reshape(*lead, -1), exponent.reshape(lead)


def _some_steps(
    blocks: list[tuple[Array, Array, Array]], steps: slice, exponent: Array
) -> tuple[list[WeightCotangent], Array]:
    """Some steps of a stretch, all blocks of a step on the largest block's scale."""
    own = np.stack([block[2][steps] for block in blocks])
    top = own.max(axis=0)
    found = [
        WeightCotangent(np.ldexp(rows[steps], _powers(e[steps] - top)[..., None]), columns[steps])
        for rows, columns, e in blocks
    ]
    return found, np.where(top > NO_SCALE // 2, exponent + top, NO_SCALE)
