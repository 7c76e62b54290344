"""Spectral norms of Jacobian products at every lag, and of every single step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array, StepJacobian
from gradscope.linalg.binary_scale import log10_scaled
from gradscope.linalg.formed_norms import log10_decomposed_norms, log10_formed_norms
from gradscope.linalg.operator_norm import squared_norms
from gradscope.numerics.diagonal_products import measure_diagonal_norms
from gradscope.numerics.lag_norms import LagNorms
from gradscope.numerics.lost_digits import lost_digits
from gradscope.numerics.reference import measure_norms_densely
from gradscope.numerics.tape import Tape, chunks
from gradscope.numerics.thin_product import measure_history

Method = Literal["auto", "thin", "dense"]

__all__ = ["LagNorms", "Method", "StepNorms", "measure_norms", "step_norms"]

#: Estimated seconds of full decompositions below which every lag gets one: the ranks are then exact at every lag.
DECOMPOSE_BELOW = 0.05
#: Estimated seconds up to which a run that has lost a direction is multiplied again with a scale for every row.
MULTIPLY_BELOW = 60.0
#: Steps whose Jacobians are handled by one operator, fewer when they (or their vectors) would pass 2^18 numbers.
STEPS_AT_ONCE, NUMBERS_AT_ONCE = 256, 2**18
#: States up to this size have their Jacobians formed by `step_norms`.
FORM_UP_TO = 24


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


def seconds_to_decompose(n: int) -> float:
    """Rough time of all singular values of one n × n matrix on one core; only decides which method runs."""
    return 3e-6 + 45e-9 * n**2


def seconds_to_multiply(n: int) -> float:
    """Rough time of a dense product with its decomposition and rounding estimate; only decides whether to take it."""
    return 1.5e-4 + 2.8e-7 * n**2 + 1e-9 * n**3


def measure_norms(
    tape: Tape,
    *,
    anchor: Literal["end", "start"] = "end",
    method: Method = "auto",
    doubted: Array | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LagNorms:
    """Measure ‖P_k‖₂, its ∂h/∂h corner, stable rank and rank at every lag k = 0 … T.

    Parameters
    ----------
    anchor : {"end", "start"}
        ``end``: P_k = J_T ⋯ J_{T−k+1}; ``start``: P_k = J_k ⋯ J_1, in one forward pass.
    method : {"auto", "thin", "dense"}
        ``thin`` is the algorithm on one page (:mod:`gradscope.numerics.thin_product`), ``dense`` the slow reference
        with a full decomposition at every lag; ``auto`` is ``thin``, ``dense`` where that is cheap, and where every
        step is diagonal products of vectors (:mod:`gradscope.numerics.diagonal_products`).
    doubted : ndarray of bool, shape batch_shape, optional
        Products that cannot be measured side by side are marked here, their norms void, instead of all being multiplied
        again for their sake.
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
    if method == "auto":
        diagonal = measure_diagonal_norms(tape, anchor=anchor, progress=progress)
        if diagonal is not None:
            return diagonal
    cheap = T * n_products * seconds_to_multiply(n) < DECOMPOSE_BELOW
    if method == "dense" or (method == "auto" and cheap):
        return measure_norms_densely(tape, anchor=anchor, progress=progress)
    marked = None if doubted is None else doubted.reshape(-1)
    history = measure_history(tape, anchor, doubted=marked, progress=progress)
    shape, corner = (T + 1, *batch), tape.h_components is not None
    log10_norm = history.log10_norm().reshape(shape)
    flushed, doubtful = lost_digits(tape, log10_norm, anchor=anchor)
    if flushed.any() and marked is not None:
        marked |= flushed.any(axis=0).reshape(-1)
    elif flushed.any() and T * n_products * seconds_to_multiply(n) < MULTIPLY_BELOW:
        return measure_norms_densely(tape, anchor=anchor, progress=progress)
    return LagNorms(
        log10_norm=log10_norm,
        zero=history.zero.reshape(shape),
        # Without a corner, columns that take no memory.
        log10_norm_h=history.log10_norm_h().reshape(shape) if corner else np.broadcast_to(np.nan, shape),
        zero_h=history.zero_h.reshape(shape) if corner else np.broadcast_to(False, shape),
        stable_rank=history.stable_rank().reshape(shape),
        rank=history.rank().reshape(shape),
        nonfinite=history.nonfinite.reshape(shape),
        doubtful=doubtful,
        flushed=flushed,
    )


def step_norms(tape: Tape) -> StepNorms:
    """Measure log10 ‖J_t‖₂ for every step, many steps at once.

    Relative accuracy 1e-10. Large states are never formed as matrices: Lanczos on J_tᵀJ_t runs for many steps in one
    product with the shared weights, and its error estimate is added (a factor of a bound must not come out too small).
    """
    T, n, batch = tape.n_steps, tape.state_size, tape.batch_shape
    n_products = prod(batch)
    log10_norm = np.full((T, n_products), np.nan)
    zero = np.zeros((T, n_products), dtype=bool)
    decompose = T * n_products * seconds_to_decompose(n) < DECOMPOSE_BELOW
    first_check = 0
    numbers = n_products * (n * n if decompose or n <= FORM_UP_TO else n)
    for first, last in chunks(T, min(STEPS_AT_ONCE, max(1, NUMBERS_AT_ONCE // max(numbers, 1)))):
        steps = tape.jacobians(first, last)
        if steps.magnitudes is not None:
            largest = steps.magnitudes.max(axis=-1).reshape(last - first + 1, n_products)
            zero[first - 1 : last] = largest == 0
            log10_norm[first - 1 : last] = log10_scaled(largest, 0)
            continue
        here = slice(first - 1, last)
        shape = (last - first + 1, n_products)
        if decompose or n <= FORM_UP_TO:
            J = np.asarray(steps.dense(), dtype=np.float64).reshape(*shape, n, n)
            log10_norm[here], zero[here] = log10_decomposed_norms(J) if decompose else log10_formed_norms(J)
            continue
        found, first_check = _lanczos_step_norms(steps, first_check)
        log10_norm[here] = found.reshape(shape)
        missing = np.isnan(log10_norm[here])
        if missing.any():
            # Crowded at the top: each matrix for itself, with a certificate.
            log10_norm[here][missing], zero[here][missing] = log10_formed_norms(_formed(steps, missing))
    return StepNorms(log10_norm.reshape(T, *batch), zero.reshape(T, *batch))


def _formed(steps: StepJacobian, wanted: Array) -> Array:
    """Those J_t that are wanted, (some, n, n); the others are not formed where one product is followed."""
    n, (n_steps, n_products) = steps.state_size, wanted.shape
    if n_products == 1 and steps.takes_strides:
        return np.asarray(steps[np.flatnonzero(wanted[:, 0])].dense(), dtype=np.float64).reshape(-1, n, n)
    return np.asarray(steps.dense(), dtype=np.float64).reshape(n_steps, n_products, n, n)[wanted]


def _lanczos_step_norms(steps: StepJacobian, first_check: int) -> tuple[Array, int]:
    """‖J_t‖₂ of many steps, and after how many Lanczos steps most of them were known."""
    n, shape = steps.state_size, steps.shape
    n_steps = shape[0]

    def choose(rows: Array) -> Callable[[Array], Array]:
        if len(rows) < prod(shape) and n_steps == prod(shape) and steps.takes_strides:
            chosen = steps[rows]
            return lambda V: chosen.square(V.reshape(*chosen.shape, 1, n)).reshape(-1, n)

        def square(V: Array) -> Array:
            whole = V if len(V) == prod(shape) else np.zeros((prod(shape), n))
            if whole is not V:
                whole[rows] = V
            squared = steps.square(whole.reshape(*shape, 1, n)).reshape(-1, n)
            return squared if whole is V else squared[rows]

        return square

    start = np.random.default_rng(20260101).standard_normal((prod(shape), n))
    theta, residual, taken = squared_norms(choose, start, first_check)
    # Rounded up, as a factor of a bound should be. The next steps will need about as many; looking a little early
    # costs less than going too far.
    return log10_scaled(np.sqrt(theta + residual), 0), taken - 2
