"""The slow, obvious reference for `propagate`: dense products and a full SVD at every lag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import log10_scaled, normalise
from gradscope.linalg.singular_values import finite_singular_values, rank_above_rounding
from gradscope.numerics.lag_norms import LagNorms
from gradscope.numerics.tape import Tape


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
    )
    P: Array = np.broadcast_to(np.eye(n), (*batch, n, n))
    exponent = np.zeros(batch, dtype=np.int64)
    for k in range(T + 1):
        if k:
            J, step = normalise(np.asarray(tape.dense(T - k + 1 if anchor == "end" else k), dtype=np.float64))
            # An infinite factor makes NaN out of the products: that is reported below, not warned of.
            with np.errstate(invalid="ignore", over="ignore"):
                P, extra = normalise(P @ J if anchor == "end" else J @ P)
            exponent = exponent + step + extra
        sigma, finite = finite_singular_values(P)
        top = sigma[..., 0]
        norms.log10_norm[k] = log10_scaled(top, exponent)
        norms.zero[k] = finite & (top == 0)
        norms.nonfinite[k] = ~finite
        norms.rank[k] = rank_above_rounding(sigma, n)
        safe_top = np.where(top > 0, top, np.nan)
        norms.stable_rank[k] = np.sum((sigma / safe_top[..., None]) ** 2, axis=-1)
        if h is not None:
            # The corner may be smaller than the whole by more than float64 squares hold: scale it by itself.
            corner, extra = normalise(P[..., h[:, None], h])
            top_h = finite_singular_values(corner)[0][..., 0]
            norms.log10_norm_h[k] = np.where(finite, log10_scaled(top_h, exponent + extra), np.nan)
            norms.zero_h[k] = finite & (top_h == 0)
        if progress is not None and k:
            progress(k, T)
    return norms
