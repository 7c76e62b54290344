"""Directions that a product on one power of two has lost for good, and whether they came back.

A direction more than 2^1074 below the largest is exactly zero in a product that is held on one scale, rounding estimate
and all. Later factors may let it grow past everything else (diag(2, ½) … diag(¼, 4) …). One random row follows the
factors beside the product, on a scale of its own; at every step as much is added to it as the product may have flushed.
Where it comes within `SHARE` of the product, the product's norm cannot be believed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.log_domain import LN10
from gradscope.numerics.tape import Tape, chunks

LOG2_10 = float(LN10 / np.log(2.0))
#: Bits below the largest entry at which a float64 is flushed.
FLUSHED_BITS = 1074
#: log2 of the share of the norm that what was flushed may reach: 1e-12, of which a random row misses a factor of n.
SHARE = -40.0
#: Steps taken in one call; fewer lose nothing, more save calls.
STEPS_AT_ONCE = 8


def flushed_lags(tape: Tape, log10_norm: Array, *, anchor: Literal["end", "start"]) -> Array:
    """Tell the lags whose norm may belong to a direction that the product has lost.

    Parameters
    ----------
    tape : Tape
    log10_norm : ndarray, shape (T + 1, *batch_shape)
        As measured; NaN where the product is zero or not finite.

    Returns
    -------
    ndarray of bool, shape (T + 1, *batch_shape)
    """
    T, n, batch = tape.n_steps, tape.state_size, tape.batch_shape
    flagged = np.zeros((T + 1, *batch), dtype=bool)
    measured = np.where(np.isnan(log10_norm), -np.inf, log10_norm * LOG2_10)
    rng = np.random.default_rng(20261126)
    row = np.zeros((*batch, n))
    exponent = np.full(batch, -np.inf)  # of a row that is zero
    for first, last in chunks(T, STEPS_AT_ONCE):
        # What this stretch may flush, against the largest the product was in it; a zero product flushes nothing more.
        lost = measured[first - 1 : last + 1].max(axis=0) - FLUSHED_BITS
        row, exponent = _added(row, exponent, rng.standard_normal((*batch, n)), lost)
        products = _through(tape, row, first, last, anchor)
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = np.log2(np.abs(products).max(axis=-1)) + exponent
            flagged[first : last + 1] = sizes > measured[first : last + 1] + SHARE
        row, exponent = _scaled(products[-1], exponent)
    return flagged


def _through(tape: Tape, row: Array, first: int, last: int, anchor: Literal["end", "start"]) -> Array:
    """row·J_T ⋯ (end anchor) or ⋯ J_1·column (start anchor) after lags first … last, shape (lags, *batch, n)."""
    T = tape.n_steps
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if anchor == "end":
            steps = tape.jacobians(T - last + 1, T - first + 1)
            return np.asarray(steps.pull_through(row[..., None, :])[..., 0, :])
        return np.asarray(tape.jacobians(first, last).push_through(row[..., :, None])[..., 0])


def _added(row: Array, exponent: Array, noise: Array, lost: Array) -> tuple[Array, Array]:
    """row·2^exponent + noise·2^lost."""
    common = np.maximum(exponent, lost)
    safe = np.where(np.isfinite(common), common, 0.0)
    return _times(row, exponent - safe) + _times(noise, lost - safe), safe


def _times(row: Array, bits: Array) -> Array:
    bits = np.where(np.isfinite(bits), np.maximum(bits, -2000.0), -2000.0)
    return np.asarray(row * np.exp2(bits)[..., None])


def _scaled(row: Array, exponent: Array) -> tuple[Array, Array]:
    """The row with its largest entry in [½, 1); a row that is zero or not finite starts again from nothing."""
    largest = np.abs(row).max(axis=-1)
    usable = np.isfinite(largest) & (largest > 0)
    shift = np.frexp(np.where(usable, largest, 1.0))[1]
    scaled = np.where(usable[..., None], np.ldexp(np.where(usable[..., None], row, 0.0), -shift[..., None]), 0.0)
    return scaled, np.where(usable, exponent + shift, -np.inf)
