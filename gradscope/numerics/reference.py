"""The slow, obvious reference for `propagate`: dense products and a full SVD at every lag.

Each row of J_T ⋯ J_{T−k+1} (end anchor), each column of J_k ⋯ J_1 (start anchor) evolves by itself and has a power of
two of its own: a direction 10^-400 below the largest is kept, and may be the largest later (theory.md N13).

Rounding is followed beside the product: E_k = E_{k−1} J + (eps·|P_{k−1}||J|, times Gaussian numbers), in the same
scales. Where ‖E_k‖ passes `DOUBTFUL`·‖P_k‖ the norm is doubtful: most of its digits have cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.linalg.binary_scale import exponent_of, log10_scaled, scale_by_power_of_two
from gradscope.linalg.singular_values import EPS, finite_singular_values, rank_above_rounding
from gradscope.numerics.lag_norms import LagNorms
from gradscope.numerics.tape import Tape

#: Relative size of the rounding error from which on a norm is doubtful.
DOUBTFUL = 1e-6


def _row_exponents(P: Array) -> Array:
    """Binary exponent of the largest entry of every row; 0 for rows that are zero or not finite."""
    largest = np.max(np.abs(P), axis=-1)
    return np.frexp(np.where(np.isfinite(largest), largest, 0.0))[1].astype(np.int64)


def _by_rows(P: Array, exponents: Array) -> Array:
    """P with row i times 2^exponents[i]."""
    return np.asarray(np.ldexp(P, np.clip(exponents, -4000, 4000).astype(np.int32)[..., None]))


def _on_one_scale(P: Array, exponents: Array) -> tuple[Array, Array]:
    """Rows with an exponent each, on the scale of the largest: what falls below 2^−1074 of it changes no norm."""
    alive = np.any(P != 0, axis=-1)
    common = np.where(alive, exponents, np.iinfo(np.int64).min).max(axis=-1)
    common = np.where(alive.any(axis=-1), common, 0)
    return _by_rows(P, np.where(alive, exponents - common[..., None], 0)), common


def measure_norms_densely(
    tape: Tape, *, anchor: Literal["end", "start"] = "end", progress: Callable[[int, int], None] | None = None
) -> LagNorms:
    """Norms of every Jacobian product by dense multiplication, exact power-of-two scaling and `numpy.linalg.svd`."""
    T, n, batch = tape.n_steps, tape.state_size, tape.batch_shape
    h = tape.h_components
    shape = (T + 1, *batch)
    norms = LagNorms(
        log10_norm=np.full(shape, np.nan),
        zero=np.zeros(shape, dtype=bool),
        log10_norm_h=np.full(shape, np.nan),
        zero_h=np.zeros(shape, dtype=bool),
        stable_rank=np.full(shape, np.nan),
        rank=np.zeros(shape, dtype=np.int64),
        nonfinite=np.zeros(shape, dtype=bool),
        doubtful=np.zeros(shape, dtype=bool),
        flushed=np.broadcast_to(False, shape),
    )
    # Rows of P (end anchor) or of its transpose (start anchor), true size rows·2^exponents.
    rows: Array = np.broadcast_to(np.eye(n), (*batch, n, n))
    error: Array = np.zeros((*batch, n, n))
    exponents = np.zeros((*batch, n), dtype=np.int64)
    rng = np.random.default_rng(20260101)
    for k in range(T + 1):
        if k:
            J = np.asarray(tape.dense(T - k + 1 if anchor == "end" else k), dtype=np.float64)
            # Small factors are scaled up, large ones no further down than overflow asks for: their own small entries
            # may be as far below as float64 reaches.
            step = exponent_of(J)
            step = np.where(step < 0, step, np.maximum(step - 1000, 0))
            J = scale_by_power_of_two(J, -step)
            factor = J if anchor == "end" else np.swapaxes(J, -1, -2)
            # An infinite factor makes NaN out of the products: that is reported below, not warned of.
            with np.errstate(invalid="ignore", over="ignore"):
                rounding = EPS * (np.abs(rows) @ np.abs(factor))
                error = error @ factor + rounding * rng.standard_normal((n, n))
                rows = rows @ factor
                shift = _row_exponents(rows)
                rows, error = _by_rows(rows, -shift), _by_rows(error, -shift)
            exponents = exponents + step[..., None] + shift
        P, exponent = _on_one_scale(rows, exponents)
        sigma, finite = finite_singular_values(P)
        top = sigma[..., 0]
        norms.log10_norm[k] = log10_scaled(top, exponent)
        norms.zero[k] = finite & (top == 0)
        norms.nonfinite[k] = ~finite
        with np.errstate(invalid="ignore", over="ignore"):
            length = np.sqrt(np.square(_by_rows(error, exponents - exponent[..., None])).sum(axis=(-2, -1)))
            norms.doubtful[k] = finite & (top > 0) & ~(length <= DOUBTFUL * top)
        norms.rank[k] = rank_above_rounding(sigma, n)
        safe_top = np.where(top > 0, top, np.nan)
        norms.stable_rank[k] = np.sum((sigma / safe_top[..., None]) ** 2, axis=-1)
        if h is not None:
            # The corner may be smaller than the whole by more than float64 squares hold: scale it by itself.
            block = rows[..., h[:, None], h]
            shift = _row_exponents(block)
            corner, exponent_h = _on_one_scale(_by_rows(block, -shift), exponents[..., h] + shift)
            top_h = finite_singular_values(corner)[0][..., 0]
            norms.log10_norm_h[k] = np.where(finite, log10_scaled(top_h, exponent_h), np.nan)
            norms.zero_h[k] = finite & (top_h == 0)
        if progress is not None and k:
            progress(k, T)
    return norms
