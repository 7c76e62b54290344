"""A bound along this trajectory, sharper than Π ‖J_t‖: products of blocks of b steps."""

from __future__ import annotations

from typing import Literal

import numpy as np

from gradscope.jacobians.base import Array, StepJacobian
from gradscope.numerics.tape import Tape

#: Floating-point operations that the block bound may cost before it is left out.
BUDGET = 4e9
BLOCK_STEPS = 10


def log10_block_bound(
    tape: Tape, log10_steps: Array, *, anchor: Literal["end", "start"], block: int = BLOCK_STEPS
) -> Array | None:
    """Σ over whole blocks of log10 ‖J_{t+b} ⋯ J_{t+1}‖₂, then Σ log10 ‖J_t‖₂ over what is left of each lag.

    Parameters
    ----------
    tape : Tape
    log10_steps : ndarray, shape (T, *batch_shape)
        log10 ‖J_t‖₂, −inf for a zero step.
    block : int
        b. One gives the path bound, T the norm itself.

    Returns
    -------
    ndarray, shape (T + 1, *batch_shape), or None
        None when the block products would cost more than :data:`BUDGET`, or there is no whole block.
    """
    T, n = tape.n_steps, tape.state_size
    n_blocks = T // block
    if n_blocks == 0 or 2.0 * T * n**3 * float(np.prod(tape.batch_shape)) > BUDGET:
        return None
    first = T - n_blocks * block + 1 if anchor == "end" else 1
    product, exponent = _block_products(tape, first, n_blocks, block)
    if not np.isfinite(product).all():
        return None
    with np.errstate(divide="ignore"):
        norms = np.log10(np.linalg.norm(product, 2, axis=(-2, -1))) + exponent * np.log10(2.0)
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


def _block_products(tape: Tape, first: int, n_blocks: int, block: int) -> tuple[Array, Array]:
    """J_{t+b} ⋯ J_{t+1} of every block, shape (n_blocks, *batch_shape, n, n), and powers of two to multiply them by."""
    jacobians = tape.jacobians(first, first + n_blocks * block - 1)
    if jacobians.takes_strides:
        # All blocks at once: step j of every block is one slice of the time axis.
        return _multiplied([jacobians[j : n_blocks * block : block] for j in range(block)])
    made = [
        _multiplied([tape.jacobian(start + j) for j in range(block)])
        for start in range(first, first + n_blocks * block, block)
    ]
    return np.array([product for product, _ in made]), np.array([exponent for _, exponent in made])


def _multiplied(steps: list[StepJacobian]) -> tuple[Array, Array]:
    """The product of steps, first one rightmost, kept near one by exact powers of two."""
    product = steps[0].dense()
    exponent = np.zeros(product.shape[:-2], dtype=np.int64)
    for step in steps[1:]:
        product = step.push(product)
        _, shift = np.frexp(np.abs(product).max(axis=(-2, -1)))
        product, exponent = np.ldexp(product, -shift[..., None, None]), exponent + shift
    return product, exponent
