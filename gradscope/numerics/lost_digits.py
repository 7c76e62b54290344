"""What a product on one power of two has lost, and whether it came back: flushed directions, and rounding.

A direction more than 2^1074 below the largest is exactly zero in a product that is held on one scale. Later factors may
let it grow past everything else (diag(2, ½) … diag(¼, 4) …). Rounding errors are 2^-53 of the largest direction, and
may outlive it in the same way. Two random rows follow the factors beside the product, each on a scale of its own: to
one is added what may have been flushed, to the other what may have been rounded. Where they come near the product, its
norm cannot be believed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LN10
from gradscope.numerics.tape import Tape, chunks

LOG2_10 = float(LN10 / np.log(2.0))
#: Bits below the largest entry at which a float64 is flushed, and at which it is rounded.
BITS = np.array([1074.0, 52.0])
#: log2 of the share of the norm that may be lost: 1e-12 of flushed directions, which were not seen at all, and 1e-6 of
#: rounding, as in the dense reference (:data:`gradscope.numerics.reference.DOUBTFUL`).
SHARES = np.array([-40.0, -20.0])
#: Steps taken in one call; fewer lose nothing, more save calls.
STEPS_AT_ONCE = 8


def lost_digits(tape: Tape, log10_norm: Array, *, anchor: Literal["end", "start"]) -> tuple[Array, Array]:
    """Tell the lags whose norm may belong to a direction that was flushed, and those that may be rounding.

    Parameters
    ----------
    log10_norm : ndarray, shape (T + 1, *batch_shape)
        As measured; NaN where the product is zero or not finite.

    Returns
    -------
    flushed, doubtful : ndarray of bool, shape (T + 1, *batch_shape)
    """
    T, n, batch = tape.n_steps, tape.state_size, tape.batch_shape
    flagged = np.zeros((T + 1, *batch, 2), dtype=bool)
    measured = np.where(np.isnan(log10_norm), -np.inf, log10_norm * LOG2_10)[..., None]
    rng = np.random.default_rng(20261126)
    rows = np.zeros((*batch, 2, n))
    exponents = np.full((*batch, 2), -np.inf)  # of rows that are zero
    for first, last in chunks(T, STEPS_AT_ONCE):
        # What this stretch may lose, against the largest the product was in it; a zero product loses nothing more.
        lost = measured[first - 1 : last + 1].max(axis=0) - BITS
        rows, exponents = _added(rows, exponents, rng.standard_normal((*batch, 2, n)), lost)
        products = _through(tape, rows, first, last, anchor)
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = np.log2(np.abs(products).max(axis=-1)) + exponents
            flagged[first : last + 1] = sizes > measured[first : last + 1] + SHARES
        rows, exponents = _scaled(products[-1], exponents)
    return flagged[..., 0], flagged[..., 1] & np.isfinite(measured[..., 0])


def _through(tape: Tape, rows: Array, first: int, last: int, anchor: Literal["end", "start"]) -> Array:
    """rows·J_T ⋯ (end anchor) or, transposed, ⋯ J_1·rowsᵀ (start anchor) after lags first … last."""
    T = tape.n_steps
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if anchor == "end":
            return np.asarray(tape.jacobians(T - last + 1, T - first + 1).pull_through(rows))
        columns = tape.jacobians(first, last).push_through(np.swapaxes(rows, -1, -2))
        return np.asarray(np.swapaxes(columns, -1, -2))


def _added(rows: Array, exponents: Array, noise: Array, lost: Array) -> tuple[Array, Array]:
    """rows·2^exponents + noise·2^lost."""
    common = np.maximum(exponents, lost)
    safe = np.where(np.isfinite(common), common, 0.0)
    return _times(rows, exponents - safe) + _times(noise, lost - safe), safe


def _times(rows: Array, bits: Array) -> Array:
    bits = np.where(np.isfinite(bits), np.maximum(bits, -2000.0), -2000.0)
    return np.asarray(rows * np.exp2(bits)[..., None])


def _scaled(rows: Array, exponents: Array) -> tuple[Array, Array]:
    """Rows with their largest entries in [½, 1); one that is zero or not finite starts again from nothing."""
    largest = np.abs(rows).max(axis=-1)
    usable = np.isfinite(largest) & (largest > 0)
    shift = np.frexp(np.where(usable, largest, 1.0))[1]
    scaled = np.where(usable[..., None], np.ldexp(np.where(usable[..., None], rows, 0.0), -shift[..., None]), 0.0)
    return scaled, np.where(usable, exponents + shift, -np.inf)
