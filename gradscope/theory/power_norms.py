"""‖W^k‖₂ for every k, at any magnitude, of one matrix or of a stack: computed apart from the measured products.

Nothing here is shared with the measured product above numpy and scipy, so that an error in one of them stands between
two columns and is not in both (`tests/architecture`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from gradscope.errors import ShapeError
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LOG10_2
from gradscope.theory.binary_powers import GAUSSIAN_ROWS, MOST_APART, BinaryPowers, first_power_norms
from gradscope.theory.lanczos import largest_singular_values
from gradscope.theory.schur import EPS

#: From this size on the first 2^7 powers of a single matrix are not formed; below it forming them costs no more.
BINARY_FROM, BINARY_DIGITS = 72, 7
#: Powers formed between two looks at how many rows are left, and numbers they may hold.
AT_ONCE, MOST_NUMBERS = 32, 2**20
#: Up to this many rows all singular values cost no more than Lanczos for one.
DECOMPOSE_UP_TO = 8


@dataclass(frozen=True)
class PowerNorms:
    """log10 ‖W^k‖₂, k = 0 … K.

    Attributes
    ----------
    log10_norm : ndarray, shape (K + 1, ...)
        NaN where the power is zero.
    zero : ndarray of bool, shape (K + 1, ...)
        W^k is exactly zero.
    """

    log10_norm: Array
    zero: Array


def power_norms(W: Array, n_powers: int) -> PowerNorms:
    """Spectral norms of W⁰ … W^K to 1e-10, exact powers of two taken out so that nothing over- or underflows.

    Parameters
    ----------
    W : ndarray, shape (..., n, n)
    n_powers : int
        K.

    Raises
    ------
    ShapeError
        W is not square.

    >>> power_norms(np.array([[0.0, 2.0], [0.0, 0.0]]), 2).zero.tolist()
    [False, False, True]
    """
    W = np.asarray(W, dtype=np.float64)
    if W.ndim < 2 or W.shape[-1] != W.shape[-2]:
        raise ShapeError(f"powers need a square matrix (..., n, n); got shape {W.shape}")
    n, leading = W.shape[-1], W.shape[:-2]
    logs = np.zeros((n_powers + 1, W.size // n**2))
    stack = W.reshape(-1, n, n)
    if len(stack) == 1 and n >= BINARY_FROM and n_powers > 0:
        logs[:, 0] = _norms_of_one(stack[0], n_powers)
    elif n_powers > 0:
        logs[1:] = _norms_of_products(stack, stack, np.zeros(len(stack), dtype=np.int64), n_powers)
    zero = np.isneginf(logs)
    logs[zero] = np.nan
    return PowerNorms(logs.reshape(-1, *leading), zero.reshape(-1, *leading))


def _norms_of_one(W: Array, n_powers: int) -> Array:
    """log10 ‖W^k‖₂, k = 0 … K, of a large W: the first powers digit by digit, the rest as a product of fewer rows."""
    n_digits = min(BINARY_DIGITS, n_powers.bit_length())
    powers = BinaryPowers(W, n_digits)
    n_first = min(n_powers, 2**n_digits)
    first = first_power_norms(powers, n_first, np.random.default_rng(20260103))
    if first is None:
        return np.concatenate([[0.0], _norms_of_products(W[None], W[None], np.zeros(1, np.int64), n_powers)[:, 0]])
    logs = np.concatenate([[0.0], first])
    if n_first < n_powers:
        exponents = np.array(powers.exponents[-1:])
        rest = _norms_of_products(W[None], powers.squares[-1][None] @ W, exponents, n_powers - n_first)
        logs = np.concatenate([logs, rest[:, 0]])
    return logs


def _norms_of_products(W: Array, X: Array, exponents: Array, count: int) -> Array:
    """log10 of 2^exponent·‖X·W^j‖₂, j = 0 … count − 1, shape (count, B); −inf where the product is zero.

    Directions below rounding are dropped on the way. What was dropped may come back to the top later (a transient of
    one part of W hides another part that decays more slowly): a few Gaussian rows are multiplied in full beside the
    product, and where the two disagree by more than the norms may, that matrix is taken again with all its rows.
    """
    W, steps = _scaled(W)
    X, own = _scaled(X)
    logs, apart = _running_norms(W, X, count, drop=True)
    again = np.flatnonzero(apart)
    if again.size:
        logs[:, again] = _running_norms(W[again], X[again], count, drop=False)[0]
    return np.asarray(logs + (exponents + own + np.arange(count)[:, None] * steps) * LOG10_2)


def _running_norms(W: Array, X: Array, count: int, *, drop: bool) -> tuple[Array, Array]:
    """log10 ‖X·W^j‖₂, j < count, for stacks (B, n, n), and which matrices lost more to dropped rows than they may."""
    rng = np.random.default_rng(20260104)
    B, n, _ = W.shape
    logs, apart = np.full((count, B), -np.inf), np.zeros(B, dtype=bool)
    exponents = np.zeros(B, dtype=np.int64)
    # Gaussian combinations of rows: as coordinates of what is kept, and in full.
    along = rng.standard_normal((B, GAUSSIAN_ROWS, n))
    full = along @ X
    done = 0
    while True:
        r = X.shape[1]
        size = min(count - done, max(1, min(AT_ONCE, MOST_NUMBERS // (B * r * n))))
        products, shifts = np.empty((size, B, r, n)), np.empty((size, B), dtype=np.int64)
        products[0], shifts[0] = X, exponents
        off = np.empty((size, B))
        for j in range(size):
            if j:
                products[j], extra = _scaled(products[j - 1] @ W)
                shifts[j] = shifts[j - 1] + extra
                full = _times_power_of_two(full @ W, -extra)
            off[j] = np.linalg.norm(along @ products[j] - full, axis=(1, 2))
        sigma = _norms(products.reshape(-1, r, n), rng).reshape(size, B)
        apart |= (off > MOST_APART * np.sqrt(GAUSSIAN_ROWS) * sigma).any(axis=0)
        # What is to be taken again needs no comparison any more, and would outgrow float64.
        along[apart], full[apart] = 0.0, 0.0
        with np.errstate(divide="ignore"):
            logs[done : done + size] = np.log10(sigma) + shifts * LOG10_2
        done += size
        if done == count or not products[-1].any():
            return logs, apart
        kept = products[-1]
        if drop:
            along, kept = _without_rounding(along, kept)
        X, extra = _scaled(kept @ W)
        exponents = shifts[-1] + extra
        full = _times_power_of_two(full @ W, -extra)


def _without_rounding(along: Array, X: Array) -> tuple[Array, Array]:
    """ΣVᵀ of X (B, r, n) without what is rounding in every matrix, and the Gaussian rows' coordinates in it."""
    U, sigma, Vt = np.linalg.svd(X, full_matrices=False)
    rank = int(np.sum(sigma > EPS * X.shape[-1] * sigma[:, :1], axis=1).max())
    if rank > 0.9 * X.shape[1]:
        return along, X
    return along @ U[..., :rank], sigma[:, :rank, None] * Vt[:, :rank]


def _norms(X: Array, rng: np.random.Generator) -> Array:
    """‖X‖₂ of every matrix of a stack (N, r, n) whose entries are about 1, or all zero."""
    if X.shape[1] <= DECOMPOSE_UP_TO:
        return np.asarray(np.linalg.svd(X, compute_uv=False)[:, 0])
    sigma = np.zeros(len(X))
    some = np.flatnonzero(X.any(axis=(1, 2)))
    if some.size:
        living = X if some.size == len(X) else X[some]
        sigma[some] = largest_singular_values(partial(_square, living), rng.standard_normal(living.shape[:2]))
    for i in np.flatnonzero(np.isnan(sigma)):
        sigma[i] = np.linalg.svd(X[i], compute_uv=False)[0]
    return sigma


def _square(X: Array, rows: Array) -> Callable[[Array], Array]:
    """V to V·X·Xᵀ, each row by its own X."""
    chosen = X if len(rows) == len(X) else X[rows]
    return lambda V: np.asarray((chosen @ (V[:, None] @ chosen).swapaxes(1, 2))[..., 0])


def _scaled(X: Array) -> tuple[Array, Array]:
    """X·2^−e with the largest entry of each matrix of a stack in [½, 1), or zero, and e, shape (B,): exact."""
    _, exponent = np.frexp(np.maximum(X.max(axis=(-2, -1)), -X.min(axis=(-2, -1))))
    return _times_power_of_two(X, -exponent), np.asarray(exponent, dtype=np.int64)


def _times_power_of_two(X: Array, exponent: Array) -> Array:
    """X·2^exponent, one exponent for every matrix of a stack."""
    # Two factors, since 2^±1074 alone is not a normal number.
    half = exponent // 2
    first, second = np.ldexp(1.0, half)[..., None, None], np.ldexp(1.0, exponent - half)[..., None, None]
    return np.asarray(X * (first * second) if np.abs(exponent).max(initial=0) < 1000 else X * first * second)
