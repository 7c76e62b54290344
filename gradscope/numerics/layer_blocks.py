"""How far gradients travel between the layers of a stack: norms of ∂s^a_T/∂s^b_{T−k}, layer × layer × lag."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.linalg.binary_scale import log10_scaled, normalise
from gradscope.linalg.singular_values import finite_singular_values
from gradscope.numerics.tape import Tape


def _add(P: Array, exponent: Array, Q: Array, other: Array) -> tuple[Array, Array]:
    """P·2^exponent + Q·2^other on the larger scale; a zero block has no scale of its own."""
    empty = ~np.any(P, axis=(-2, -1))
    silent = ~np.any(Q, axis=(-2, -1))
    common = np.where(empty, other, np.where(silent, exponent, np.maximum(exponent, other)))

    def moved(block: Array, scale: Array) -> Array:
        # Below 2^−2000 of the other term nothing is left to add; the clip keeps ldexp in its range.
        return np.asarray(np.ldexp(block, np.clip(scale - common, -2000, 0).astype(np.int32)[..., None, None]))

    total, shift = normalise(moved(P, exponent) + moved(Q, other))
    return total, common + shift


def measure_layer_blocks(tape: Tape, layer_slices: Sequence[slice], lags: Sequence[int] | None = None) -> Array:
    """log10 ‖∂s^a_T/∂s^b_{T−k}‖₂ for layers a (of the end) and b (of the start) at each lag; NaN where exactly zero.

    Every block keeps a power of two of its own: a layer that vanishes beside one that does not keeps its digits.

    Parameters
    ----------
    layer_slices : sequence of slice
        Where each layer's state stands, bottom first.
    lags : sequence of int, optional
        Lags wanted, ascending; all of 0 … T by default.

    Returns
    -------
    ndarray, shape (lags, layers, layers, *batch_shape)
        Entry [k, a, b]; blocks with b above a are zero (NaN).
    """
    wanted = list(range(tape.n_steps + 1)) if lags is None else list(lags)
    batch, layers = tape.batch_shape, len(layer_slices)
    sizes = [part.stop - part.start for part in layer_slices]
    out = np.full((len(wanted), layers, layers, *batch), np.nan)
    for a in range(layers):
        blocks = [np.zeros((*batch, sizes[a], size)) for size in sizes]
        exponents = [np.zeros(batch, dtype=np.int64) for _ in sizes]
        blocks[a] = np.broadcast_to(np.eye(sizes[a]), blocks[a].shape)
        for lag in range(wanted[-1] + 1 if wanted else 0):
            if lag:
                jacobian = tape.jacobian(tape.n_steps - lag + 1)
                pulled = [np.zeros_like(block) for block in blocks], [np.zeros_like(e) for e in exponents]
                for c in range(a + 1):
                    R = np.zeros((*batch, sizes[a], tape.state_size))
                    R[..., layer_slices[c]] = blocks[c]
                    passed = jacobian.pull(R)
                    for b in range(c + 1):
                        block = passed[..., layer_slices[b]]
                        pulled[0][b], pulled[1][b] = _add(pulled[0][b], pulled[1][b], block, exponents[c])
                blocks, exponents = pulled
            if lag in wanted:
                for b in range(a + 1):
                    sigma, _ = finite_singular_values(blocks[b])
                    out[wanted.index(lag), a, b] = log10_scaled(sigma[..., 0], exponents[b])
    return out
