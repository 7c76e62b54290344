"""‖W^k‖₂ for every k, at any magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.errors import ShapeError
from gradscope.jacobians.base import Array
from gradscope.linalg.binary_powers import BinaryPowers, first_power_norms
from gradscope.linalg.binary_scale import normalise
from gradscope.linalg.product_history import ProductHistory
from gradscope.linalg.running_product import Advance, run_product

#: From this size on the first 2^7 powers are not formed; up to it a stack of formed ones costs no more.
BINARY_FROM, BINARY_DIGITS = 72, 7


@dataclass(frozen=True)
class PowerNorms:
    """log10 ‖W^k‖₂, k = 0 … K.

    Attributes
    ----------
    log10_norm : ndarray, shape (K + 1, ...)
        NaN where the power is zero or not finite.
    zero : ndarray of bool, shape (K + 1, ...)
        W^k is exactly zero.
    """

    log10_norm: Array
    zero: Array


def power_norms(W: Array, n_powers: int) -> PowerNorms:
    """Spectral norms of W⁰ … W^K, exact powers of two taken out so that neither overflow nor underflow occurs.

    Parameters
    ----------
    W : ndarray, shape (..., n, n)
    n_powers : int
        K.

    >>> power_norms(np.array([[0.0, 2.0], [0.0, 0.0]]), 2).zero.tolist()
    [False, False, True]
    """
    W = np.asarray(W, dtype=np.float64)
    if W.ndim < 2 or W.shape[-1] != W.shape[-2]:
        raise ShapeError(f"powers need a square matrix (..., n, n); got shape {W.shape}")
    n, leading = W.shape[-1], W.shape[:-2]
    shape = (n_powers + 1, *leading)
    if W.ndim == 2 and n >= BINARY_FROM and n_powers > 0:
        log10_norm = _norms_of_one(W, n_powers)
        if log10_norm is not None:
            return PowerNorms(log10_norm, np.zeros(shape, dtype=bool))
    scaled, exponent = normalise(W.reshape(-1, n, n))
    history = _norms_of_many(scaled, n_powers)
    history.exponent += np.arange(n_powers + 1)[:, None] * exponent
    return PowerNorms(history.log10_norm().reshape(shape), history.zero.reshape(shape))


def _times(W: Array) -> Advance:
    """X·W, X·W², … for W of shape (B, n, n)."""

    def advance(X: Array, _: int, count: int) -> Array:
        out = np.empty((count, *X.shape))
        for i in range(count):
            X = np.matmul(X, W, out=out[i])
        return out

    return advance


def _norms_of_many(W: Array, n_powers: int) -> ProductHistory:
    """All powers of W (B, n, n) as running products; those whose doubt speaks up are taken again by themselves."""
    B, n, _ = W.shape
    doubted = np.zeros(B, dtype=bool)
    history = run_product(_times(W), n, B, n_powers, ranks=False, doubted=doubted if B > 1 else None)
    if doubted.any():
        again = run_product(_times(W[doubted]), n, int(doubted.sum()), n_powers, ranks=False)
        history.replace(doubted, again)
    return history


def _norms_of_one(W: Array, n_powers: int) -> Array | None:
    """log10 ‖W^k‖₂, k = 0 … K: the first powers digit by digit, those after them as a running product of fewer rows."""
    rng = np.random.default_rng(20260103)
    n_digits = min(BINARY_DIGITS, n_powers.bit_length())
    powers = BinaryPowers(W, n_digits)
    n_first = min(n_powers, 2**n_digits)
    first = first_power_norms(powers, n_first, rng)
    if first is None:
        return None
    first = np.concatenate([[0.0], first])
    if n_first == n_powers:
        return first
    start = (powers.squares[-1][None], n_first)
    history = run_product(powers.advance, len(W), 1, n_powers - n_first, ranks=False, start=start)
    history.exponent += powers.exponents[-1] + np.arange(n_powers - n_first + 1)[:, None] * powers.exponents[0]
    return None if history.zero.any() else np.concatenate([first, history.log10_norm()[1:, 0]])
