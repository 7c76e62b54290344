"""Spectral norms of Jacobian products at every lag, and of every single step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from gradscope.errors import UsageError
from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import log10_scaled, normalise
from gradscope.linalg.running_product import run_product
from gradscope.linalg.singular_values import finite_singular_values
from gradscope.numerics.lag_norms import LagNorms
from gradscope.numerics.reference import measure_norms_densely
from gradscope.numerics.tape import Tape, chunks

__all__ = ["LagNorms", "StepNorms", "measure_norms", "step_norms"]

#: Estimated seconds of full decompositions below which every lag gets one: the ranks are then exact at every lag.
DECOMPOSE_BELOW = 0.05
#: Steps whose Jacobians are handled by one operator.
STEPS_AT_ONCE = 64


@dataclass(frozen=True)
class StepNorms:
    """log10 ‖J_t‖₂ of every step t = 1 … T; arrays of shape (T, *batch_shape), entry t − 1 is step t.

    Attributes
    ----------
    log10_norm : ndarray
        NaN where J_t is zero or not finite.
    zero : ndarray of bool
        J_t is exactly zero.
    """

    log10_norm: Array
    zero: Array


def measure_norms(
    tape: Tape, *, anchor: Literal["end", "start"] = "end", progress: Callable[[int, int], None] | None = None
) -> LagNorms:
    """Measure ‖P_k‖₂, its ∂h/∂h corner, stable rank and rank at every lag k = 0 … T.

    Parameters
    ----------
    tape : Tape
    anchor : {"end", "start"}
        ``end``: P_k = J_T ⋯ J_{T−k+1}; ``start``: P_k = J_k ⋯ J_1, in one forward pass.
    progress : callable, optional
        Called as ``progress(lag, T)`` after each lag.

    >>> from gradscope.numerics.tape import tape_of_matrices
    >>> measure_norms(tape_of_matrices(np.full((2, 1, 1), 0.1))).log10_norm[:, 0].round(12).tolist()
    [0.0, -1.0, -2.0]
    """
    if anchor not in ("end", "start"):
        raise UsageError(f"anchor is 'end' or 'start'; got {anchor!r}")
    T, n, batch = tape.n_steps, tape.state_size, tape.batch_shape
    n_products = prod(batch)
    if T * n_products * (3e-6 + 45e-9 * n**2) < DECOMPOSE_BELOW:
        return measure_norms_densely(tape, anchor=anchor, progress=progress)

    def pull(X: Array, lag: int) -> Array:
        return tape.pull(T - lag + 1, X.reshape(*batch, -1, n)).reshape(n_products, -1, n)

    def push(X: Array, lag: int) -> Array:
        columns = np.swapaxes(X, -1, -2).reshape(*batch, n, -1)
        return np.swapaxes(tape.push(lag, columns).reshape(n_products, n, -1), -1, -2)

    advance = pull if anchor == "end" else push
    history = run_product(advance, n, n_products, T, h=tape.h_components, progress=progress)
    shape = (T + 1, *batch)
    return LagNorms(
        log10_norm=history.log10_norm().reshape(shape),
        zero=history.zero.reshape(shape),
        log10_norm_h=(history.log10_norm_h() if tape.h_components is not None else np.full(shape, np.nan)).reshape(
            shape
        ),
        zero_h=(history.zero_h if tape.h_components is not None else np.zeros(shape, dtype=bool)).reshape(shape),
        stable_rank=history.stable_rank().reshape(shape),
        rank=history.rank().reshape(shape),
        nonfinite=history.nonfinite.reshape(shape),
    )


def step_norms(tape: Tape) -> StepNorms:
    """Measure log10 ‖J_t‖₂ for every step, many steps at once."""
    shape = (tape.n_steps, *tape.batch_shape)
    log10_norm = np.full(shape, np.nan)
    zero = np.zeros(shape, dtype=bool)
    for first, last in chunks(tape.n_steps, STEPS_AT_ONCE):
        J, exponent = normalise(np.asarray(tape.jacobians(first, last).dense(), dtype=np.float64))
        sigma, finite = finite_singular_values(J)
        log10_norm[first - 1 : last] = log10_scaled(sigma[..., 0], exponent)
        zero[first - 1 : last] = finite & (sigma[..., 0] == 0)
    return StepNorms(log10_norm, zero)
