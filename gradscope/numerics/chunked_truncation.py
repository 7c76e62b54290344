"""Truncated backpropagation in chunks, with a loss at every step: what detaching the state every K steps leaves out.

The state is detached at s_{T−K}, s_{T−2K}, …, counted from the end. The loss at a detached state still teaches the
steps before it; what comes later does not. All K are carried back side by side, as rows of one sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.backprop import DirectTerm, add_direct, rescaled
from gradscope.numerics.tape import Tape, chunks

#: Steps whose weight gradients are taken together.
STEPS_AT_ONCE = 64


def chunked_biases(tape: Tape, direct_term: DirectTerm, lengths: Sequence[int]) -> Array | None:
    """Relative bias ‖G_K − G‖_F / ‖G‖_F of the summed loss's ∂L/∂W_hh, batch mean, for each chunk length K.

    Parameters
    ----------
    tape : Tape
        One network, ``batch_shape`` (batch,).
    lengths : sequence of int
        K ≥ 1 each.

    Returns
    -------
    ndarray, shape (len(lengths),)
        NaN where the whole gradient is exactly zero. None where the weights are unknown (ready Jacobians).
    """
    T, every = tape.n_steps, [*lengths, tape.n_steps + 1]  # the last one never detaches: the whole gradient
    batch, n = tape.batch_shape, tape.state_size
    vector = np.zeros((*batch, len(every), n))
    exponent = np.zeros((*batch, len(every)), dtype=np.int64)
    totals: list[Array] = []
    scale = 0
    for first, last in reversed(list(chunks(T, STEPS_AT_ONCE))):
        vectors = np.empty((last - first + 1, *vector.shape))
        exponents = np.empty((last - first + 1, *exponent.shape), dtype=np.int64)
        for t in range(last, first - 1, -1):
            detached = [index for index, K in enumerate(every) if t < T and (T - t) % K == 0]
            vector[..., detached, :] = 0.0
            direct = direct_term(t)
            if direct is not None:
                vector, exponent = add_direct(vector, exponent, np.asarray(direct)[..., None, :])
            vector, exponent = rescaled(vector, exponent)
            vectors[t - first], exponents[t - first] = vector, exponent
            vector = tape.pull(t, vector)
        top = max(scale, int(exponents.max()))
        totals = [np.ldexp(total, max(scale - top, -2000)) for total in totals]
        scale = top
        vectors = np.ldexp(vectors, np.clip(exponents - top, -2000, 0)[..., None])
        jacobians = tape.jacobians(first, last)
        for index in range(len(every)):
            blocks = [block for layer in jacobians.weight_cotangents(vectors[..., index, :]) for block in layer]
            if not blocks:
                return None
            if not totals:
                sizes = [(len(every), block.rows.shape[-1], block.columns.shape[-1]) for block in blocks]
                totals = [np.zeros(size) for size in sizes]
            for total, (rows, columns) in zip(totals, blocks, strict=True):
                columns = np.broadcast_to(columns, (*rows.shape[:-1], columns.shape[-1]))
                total[index] += rows.reshape(-1, rows.shape[-1]).T @ columns.reshape(-1, columns.shape[-1])
    if not totals:
        return None
    whole = sum(float(np.square(total[-1]).sum()) for total in totals)
    left_out = sum(np.square(total[:-1] - total[-1]).sum(axis=(1, 2)) for total in totals)
    return np.sqrt(left_out / whole) if whole > 0 else np.full(len(lengths), np.nan)


def smallest_chunk(
    tape: Tape,
    direct_term: DirectTerm,
    target: float,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, float] | None:
    """Find K from a grid of about eight lengths per octave pair, refined, whose bias is at most ``target``.

    The bias need not fall monotonically with K: the answer is the first length on the refined grid that is good
    enough, and its bias is measured, not interpolated.

    Returns
    -------
    (K, bias), or None where there is no gradient to be biased. K = T leaves nothing out.
    """
    T = tape.n_steps
    if T < 1:
        return None
    grid = sorted({min(T, max(1, round(2 ** (i / 4)))) for i in range(4 * ceil(np.log2(T)) + 1)} | {T})
    low, rounds = 0, 0
    while True:
        biases = chunked_biases(tape, direct_term, grid)
        rounds += 1
        if progress is not None:
            progress(rounds, rounds + 1)
        if biases is None or np.isnan(biases).any():
            return None
        at = int(np.argmax(biases <= target))
        found = grid[at], float(biases[at])
        low = grid[at - 1] if at else low
        between = np.unique(np.linspace(low, grid[at], 18).round().astype(int))[1:]
        if len(between) < 2 or found[0] - low <= 1:
            return found
        grid = [int(K) for K in between]
