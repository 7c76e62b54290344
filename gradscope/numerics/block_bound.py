"""A bound along this trajectory, sharper than Π ‖J_t‖: products of blocks of b steps."""

from __future__ import annotations

from math import prod
from typing import Literal

import numpy as np

from gradscope.jacobians.step_jacobian import Array, StepJacobian
from gradscope.linalg.binary_scale import normalise
from gradscope.linalg.formed_norms import log10_formed_norms
from gradscope.log_domain import LOG10_2
from gradscope.numerics.tape import Tape, chunks

#: Floating-point operations that the block bound may cost before it is left out.
BUDGET = 4e9
BLOCK_STEPS = 10
#: Blocks are multiplied side by side up to so many numbers.
NUMBERS_AT_ONCE = 2**17
#: Decades that the steps of a block may span together without rescaling: partial products stay within 10^±100.
TAME = 100.0


def log10_block_bound(
    tape: Tape,
    log10_steps: Array,
    *,
    anchor: Literal["end", "start"],
    block: int = BLOCK_STEPS,
    n_networks: int = 1,
) -> Array | None:
    """Σ over whole blocks of log10 ‖J_{t+b} ⋯ J_{t+1}‖₂, then Σ log10 ‖J_t‖₂ over what is left of each lag.

    Parameters
    ----------
    log10_steps : ndarray, shape (T, *batch_shape)
        log10 ‖J_t‖₂, −inf for a zero step.
    block : int
        b. One gives the path bound, T the norm itself.
    n_networks : int
        How many networks the tape holds side by side; each has a budget of its own.

    Returns
    -------
    ndarray, shape (T + 1, *batch_shape), or None
        None when the block products would cost more than :data:`BUDGET`, or there is no whole block.
    """
    T, n = tape.n_steps, tape.state_size
    n_blocks = T // block
    if n_blocks == 0 or 2.0 * T * n**3 * prod(tape.batch_shape) > BUDGET * n_networks:
        return None
    first = T - n_blocks * block + 1 if anchor == "end" else 1
    # Where no product of ten steps can come near the ends of float64's range, none is rescaled on the way.
    tame = bool(block * np.abs(log10_steps).max() < TAME)
    norms = _block_norms(tape, first, n_blocks, block, tame)
    if np.isnan(norms).any():
        return None
    ordered = log10_steps[::-1] if anchor == "end" else log10_steps
    norms = norms[::-1] if anchor == "end" else norms
    bound = np.zeros((T + 1, *tape.batch_shape))
    for lag in range(1, T + 1):
        whole, rest = divmod(lag, block)
        if rest:
            bound[lag] = bound[lag - 1] + ordered[lag - 1]
        else:
            # The block's norm is never above the product of its steps' norms, up to rounding.
            bound[lag] = bound[lag - block] + norms[whole - 1]
    return bound


def _block_norms(tape: Tape, first: int, n_blocks: int, block: int, tame: bool) -> Array:
    """log10 ‖J_{t+b} ⋯ J_{t+1}‖₂ of every block, shape (n_blocks, *batch_shape); −inf if zero, NaN if not finite."""
    jacobians = tape.jacobians(first, first + n_blocks * block - 1)
    norms = np.empty((n_blocks, *tape.batch_shape))
    # As many blocks at once as fit into cache; one by one where steps of different kinds follow one another.
    size = max(1, NUMBERS_AT_ONCE // (prod(tape.batch_shape) * tape.state_size**2)) if jacobians.takes_strides else 1
    for start, last in ((first - 1, last) for first, last in chunks(n_blocks, size)):
        if jacobians.takes_strides:
            # Step j of every block is one slice of the time axis.
            steps = [jacobians[start * block + j : last * block : block] for j in range(block)]
        else:
            steps = [tape.jacobian(first + start * block + j) for j in range(block)]
        with np.errstate(over="ignore", invalid="ignore"):
            product, exponent = _multiplied(steps, tame)
        log10_norm, zero = log10_formed_norms(product)
        norms[start:last] = np.where(zero, -np.inf, log10_norm + exponent * LOG10_2)
    return norms


def _multiplied(steps: list[StepJacobian], tame: bool) -> tuple[Array, Array]:
    """The product of steps, first one rightmost, kept near one by exact powers of two unless it is tame."""
    product = np.asarray(steps[0].dense(), dtype=np.float64)
    exponent = np.zeros(product.shape[:-2], dtype=np.int64)
    for step in steps[1:]:
        product = step.push(product)
        if not tame:
            product, shift = normalise(product)
            exponent = exponent + shift
    return product, exponent
