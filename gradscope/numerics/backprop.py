"""Backpropagated loss gradients at every lag, with exact power-of-two rescaling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import NamedTuple

import numpy as np

from gradscope.jacobians.step_jacobian import Array, WeightCotangent
from gradscope.log_domain import LOG10_2
from gradscope.numerics.tape import Tape

#: Steps whose weight gradients are taken together, fewer where they would pass 2^17 numbers.
STEPS_AT_ONCE, NUMBERS_AT_ONCE = 128, 2**17

#: The exponent of a component that is exactly zero.
NOTHING = -(2**62)
#: Components within this many powers of two of one another are pulled as one row, with as many left before a factor of
#: J takes one out of float64's range; beyond so many bands the smallest are let go.
BAND, MOST_BANDS = 400, 64

#: ∂L_t/∂s_t, the loss's own term at step t, shape (*batch_shape, n); None where the loss has none.
DirectTerm = Callable[[int], "Array | None"]


class ScaledGradient(NamedTuple):
    """∂L/∂s_t = vector · 2^exponent, so that 10^−5000 is as exact as 1.

    Attributes
    ----------
    step : int
        t.
    vector : ndarray, shape (*batch_shape, n)
    exponent : ndarray of int, shape (*batch_shape,)
    weights : tuple of tuple of WeightCotangent
        Per layer, the copy of the recurrent blocks used at step t (same scale); empty for t = 0.
    """

    step: int
    vector: Array
    exponent: Array
    weights: tuple[tuple[WeightCotangent, ...], ...]


@dataclass(frozen=True)
class LossGradients:
    """Norms at every lag k = T − t; NaN stands for an exact zero (or for no such gradient).

    Attributes
    ----------
    log10_dstate : ndarray, shape (T + 1, *batch_shape)
        log10 ‖∂L/∂s_{T−k}‖₂.
    log10_dweight : ndarray, shape (T + 1, *batch_shape)
        log10 ‖∂L/∂W_hh‖_F of the copies used at step T−k, all layers together; NaN at k = T.
    log10_dweight_layers : ndarray, shape (T + 1, layers, *batch_shape)
        The same layer by layer; no layers where there is one only.
    """

    log10_dstate: Array
    log10_dweight: Array
    log10_dweight_layers: Array


def rescaled(vector: Array, exponent: Array) -> tuple[Array, Array]:
    """Bring each sample's largest entry into [½, 1) by an exact power of two; a zero vector keeps its exponent."""
    _, shift = np.frexp(np.max(np.abs(vector), axis=-1))
    return np.ldexp(vector, -shift[..., None]), exponent + shift


def add_direct(vector: Array, exponent: Array, direct: Array) -> tuple[Array, Array]:
    """vector·2^exponent + direct, on the larger of the two scales (the smaller one loses only what it must)."""
    _, shift = np.frexp(np.max(np.abs(direct), axis=-1))
    empty = ~np.any(vector, axis=-1)
    silent = ~np.any(direct, axis=-1)
    common = np.where(empty, shift, np.where(silent, exponent, np.maximum(exponent, shift)))
    # Below 2^−2000 of the other term nothing is left to add; the clip keeps ldexp in its range.
    down = np.clip(exponent - common, -2000, 0)[..., None]
    return np.ldexp(vector, down) + np.ldexp(direct, -common[..., None]), common


def backpropagate(tape: Tape, direct_term: DirectTerm) -> Iterator[ScaledGradient]:
    """Yield ∂L/∂s_t for t = T, T − 1, …, 0 (theory.md C03): g_{t−1} = J_tᵀ g_t + ∂L_{t−1}/∂s_{t−1}.

    Parameters
    ----------
    direct_term : callable
        ``direct_term(t)`` is the loss's own gradient at s_t, or None. Step 0 is asked too.
    """
    for step, vector, exponent in state_gradients(tape, direct_term):
        weights = tape.jacobian(step).weight_cotangents(vector) if step else ()
        yield ScaledGradient(step, vector, exponent, weights)


def state_gradients(tape: Tape, direct_term: DirectTerm) -> Iterator[tuple[int, Array, Array]]:
    """(t, vector, exponent) of ∂L/∂s_t alone, t = T … 0, the vector on the scale of its largest component.

    Every component keeps a power of two of its own on the way: one 10^-400 below the largest may be the largest later
    (docs/theory.md, "Graded products").
    """
    shape = (*tape.batch_shape, tape.state_size)
    mantissa, exponents = np.zeros(shape), np.full(shape, NOTHING)
    for t in range(tape.n_steps, -1, -1):
        direct = direct_term(t)
        if direct is not None:
            mantissa, exponents = _added(np.stack([mantissa, direct]), np.stack([exponents, np.zeros_like(exponents)]))
        top = exponents.max(axis=-1)
        exponent = np.where(top == NOTHING, 0, top)
        yield t, _times(mantissa, exponents - exponent[..., None]), exponent
        if t:
            mantissa, exponents = _pulled(tape, t, mantissa, exponents, exponent)


def _pulled(tape: Tape, t: int, mantissa: Array, exponents: Array, top: Array) -> tuple[Array, Array]:
    """gᵀJ_t, with what factors below float64's range carry."""
    J = tape.jacobian(t)
    found = _pulled_in_range(J.pull, mantissa, exponents, top)
    for missed in J.pulled_below_range(mantissa, exponents):
        rest, powers = _normalised(missed.mantissa, missed.exponents)
        highest = powers.max(axis=-1)
        more = _pulled_in_range(missed.pull, rest, powers, np.where(highest == NOTHING, 0, highest))
        found = _added(np.stack([found[0], more[0]]), np.stack([found[1], more[1]]))
    return found


def _pulled_in_range(
    pull: Callable[[Array], Array], mantissa: Array, exponents: Array, top: Array
) -> tuple[Array, Array]:
    """gᵀJ: components of about one size are pulled together, a row for each band of `BAND` powers of two."""
    below = np.where(exponents == NOTHING, 0, (top[..., None] - exponents) // BAND)
    n_bands = int(below.max(initial=0)) + 1
    if n_bands == 1:
        row = _times(mantissa, exponents - top[..., None])
        return _normalised(pull(row[..., None, :])[..., 0, :], top[..., None])
    bands = range(min(n_bands, MOST_BANDS))
    rows = [np.where(below == b, _times(mantissa, exponents - (top[..., None] - BAND * b)), 0.0) for b in bands]
    pulled = pull(np.stack(rows, axis=-2))
    scales = np.stack([np.broadcast_to(top[..., None] - BAND * b, exponents.shape) for b in bands])
    return _added(np.moveaxis(pulled, -2, 0), scales)


def _normalised(values: Array, exponents: Array) -> tuple[Array, Array]:
    """values·2^exponents with each value in [½, 1); `NOTHING` where it is zero."""
    mantissa, shift = np.frexp(values)
    return mantissa, np.where(mantissa == 0, NOTHING, exponents + shift)


def _added(values: Array, exponents: Array) -> tuple[Array, Array]:
    """Σ over the first axis of values·2^exponents, component by component, on the largest scale that occurs."""
    mantissa, own = _normalised(values, exponents)
    common = own.max(axis=0)
    total = _times(mantissa, own - np.where(common == NOTHING, 0, common)).sum(axis=0)
    return _normalised(total, common)


def _times(values: Array, bits: Array) -> Array:
    """values·2^bits; below 2^−2000 nothing is left."""
    return np.ldexp(values, np.clip(bits, -2000, 0).astype(np.int32))


def _log10(value: Array, exponent: Array) -> Array:
    with np.errstate(divide="ignore"):
        log = np.log10(value) + exponent * LOG10_2
    return np.where(value > 0, log, np.nan)


def _on_scale(log10: Array, exponent: Array) -> Array:
    """log10 of value·2^exponent; NaN for an exact zero."""
    return np.where(np.isfinite(log10), log10 + exponent * LOG10_2, np.nan)


def _log10_norm(blocks: tuple[WeightCotangent, ...]) -> Array:
    """log10 ‖·‖_F over blocks of rows columnsᵀ, each ‖rows‖ ‖columns‖; −inf where all are exactly zero."""
    logs = [2.0 * (_log10_length(rows) + _log10_length(columns)) for rows, columns in blocks]
    return 0.5 * _log10_of_sum(np.stack(logs))


def log10_weight_norm(layers: tuple[tuple[WeightCotangent, ...], ...], exponent: Array) -> Array:
    """log10 ‖∂L/∂W_hh‖_F of one step's copies, all layers together, on the scale of its gradient; NaN for zero."""
    logs = np.stack([_log10_norm(blocks) for blocks in layers if blocks])
    return _on_scale(0.5 * _log10_of_sum(2.0 * logs), exponent)


def _log10_length(vectors: Array) -> Array:
    """log10 of each vector's length, scaled first: entries below 10^-154 would square to nothing."""
    vectors = np.asarray(vectors, dtype=np.float64)
    _, shift = np.frexp(np.max(np.abs(vectors), axis=-1))
    squares = np.square(np.ldexp(vectors, -shift[..., None])).sum(axis=-1)
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * np.log10(squares) + shift * LOG10_2)


def _log10_of_sum(logs: Array) -> Array:
    """log10 Σ 10^x over the first axis."""
    if len(logs) == 1:
        return np.asarray(logs[0])
    top = logs.max(axis=0)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log10((10.0 ** (logs - safe)).sum(axis=0)) + safe)


def measure_loss_gradients(
    tape: Tape,
    direct_term: DirectTerm,
    *,
    n_layers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> LossGradients:
    """Norms of ∂L/∂s_{T−k} and of ∂L/∂(copy of W_hh used at step T−k), for every lag k = 0 … T.

    Only the state's gradient goes step by step; norms and weight gradients are taken many steps at once.
    """
    T, batch, n = tape.n_steps, tape.batch_shape, tape.state_size
    dstate = np.full((T + 1, *batch), np.nan)
    dweight = np.full((T + 1, *batch), np.nan)
    # One layer's gradients are the total: no second column for them.
    layers = np.full((T + 1, n_layers if n_layers > 1 else 0, *batch), np.nan)
    gradients = state_gradients(tape, direct_term)
    size = min(STEPS_AT_ONCE, max(1, NUMBERS_AT_ONCE // max(n * prod(batch), 1)))
    # Steps last … first + 1 of the tape lie one after another in memory, and so do their lags.
    for last in range(T, -1, -size):
        first = max(last - size, -1)
        steps, vectors, exponents = zip(*islice(gradients, last - first), strict=True)
        vector, exponent = np.stack(vectors[::-1]), np.stack(exponents[::-1])
        lags = slice(T - last, T - first)
        dstate[lags] = _log10(np.sqrt(np.square(vector).sum(axis=-1)), exponent)[::-1]
        # Step 0 has no Jacobian, and no weights.
        start = max(first + 1, 1)
        skipped = start - first - 1
        weights = tape.jacobians(start, last).weight_cotangents(vector[skipped:]) if last >= start else ()
        if any(weights):
            lags, exponent = slice(T - last, T - start + 1), exponent[skipped:]
            logs = np.stack([_log10_norm(blocks) for blocks in weights])
            for index, log in enumerate(logs if n_layers > 1 else ()):
                layers[lags, index] = _on_scale(log, exponent)[::-1]
            dweight[lags] = _on_scale(0.5 * _log10_of_sum(2.0 * logs), exponent)[::-1]
        if progress is not None:
            progress(T - steps[-1], T)
    return LossGradients(dstate, dweight, layers)
