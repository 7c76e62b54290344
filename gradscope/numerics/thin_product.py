"""The algorithm on one page: ‖J_T ⋯ J_{T−k+1}‖ at every lag from ever fewer rows.

Singular values of a product spread exponentially, so that beyond a few dozen lags most of them lie below rounding and
carry no digit. The product is held as L·X·2^e with orthonormal columns in L: X (r × n) has the product's singular
values, and only X is multiplied on. Every so often an SVD turns X into Σ Vᵀ and drops the rows below rounding. What was
dropped and rounded does not leave the account: a few random combinations of it, E, follow every later factor. Where E
could reach 1e-10 of the norm, the product is multiplied again without any rotation. That also settles exact zeros: a
rotated nilpotent product leaves rounding noise, the unrotated one is zero where it is zero.

The norm at each lag is the largest eigenvalue of XXᵀ. Start anchor: the product's transpose is multiplied on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.linalg.binary_scale import exponent_of, scale_by_power_of_two
from gradscope.linalg.largest_eigenvalue import largest_eigenvalues
from gradscope.linalg.product_history import ProductHistory
from gradscope.linalg.singular_values import EPS
from gradscope.numerics.tape import Tape

#: Rows X (B, r, n), a lag k ≥ 1 and a number s to X·F_k, X·F_k·F_{k+1}, …, the next s products: shape (s, B, r, n).
Advance = Callable[[Array, int, int], Array]
Progress = Callable[[int, int], None]

#: Gaussian rows of E; that all of them miss a lost direction by a factor 30 has probability 3e-6.
ERROR_ROWS, LARGEST_ERROR = 4, 3e-12
#: Lags multiplied in one call, fewer where their rows would pass so many numbers.
MOST_AT_ONCE, NUMBERS_AT_ONCE = 16, 2**20
#: A stretch whose entries leave this range is gone through lag by lag: squares must be numbers.
SMALL, LARGE = 2.0**-300, 2.0**300


def measure_history(
    tape: Tape, anchor: Literal["end", "start"], *, doubted: Array | None = None, progress: Progress | None = None
) -> ProductHistory:
    """Norms, corners, Frobenius norms and ranks of every product; B = all batch axes side by side.

    Parameters
    ----------
    doubted : ndarray of bool, shape (B,), optional
        Products that have to be multiplied again are marked here instead, what was measured of them void.
    """
    T, n, batch = tape.n_steps, tape.state_size, tape.batch_shape
    B = prod(batch)

    def pull(X: Array, lag: int, count: int) -> Array:
        steps = tape.jacobians(T - lag - count + 2, T - lag + 1)
        return steps.pull_through(X.reshape(*batch, -1, n)).reshape(count, B, -1, n)

    def push(X: Array, lag: int, count: int) -> Array:
        columns = np.swapaxes(X, -1, -2).reshape(*batch, n, -1)
        products = tape.jacobians(lag, lag + count - 1).push_through(columns)
        return np.ascontiguousarray(np.swapaxes(products.reshape(count, B, n, -1), -1, -2))

    product = ThinProduct(pull if anchor == "end" else push, n, B, tape.h_components)
    history = ProductHistory.empty(T, B)
    lost = product.follow(history, T, compress=True, progress=progress)
    if lost.any() and doubted is None:
        history = ProductHistory.empty(T, B)
        product.follow(history, T, compress=False, progress=progress)
    elif doubted is not None:
        doubted |= lost
    return history


@dataclass
class ThinProduct:
    """B products side by side.

    Attributes
    ----------
    advance : callable
    h : ndarray of int or None
        Components of the corner P[h, h] that is measured too.
    """

    advance: Advance
    n: int
    B: int
    h: Array | None

    def follow(self, history: ProductHistory, n_lags: int, *, compress: bool, progress: Progress | None) -> Array:
        """Multiply on to lag K, writing down every lag; the products whose error came near their norm."""
        n, rng = self.n, np.random.default_rng(20260101)
        X: Array = np.broadcast_to(np.eye(n), (self.B, n, n))
        E, left = np.zeros((self.B, ERROR_ROWS, n)), None if self.h is None else np.eye(n)[self.h]
        exponent, lost = np.zeros(self.B, dtype=np.int64), np.zeros(self.B, dtype=bool)
        history.add_spectrum(0, np.ones((self.B, n)), n)
        self._write(history, 0, X[None], left, exponent)
        lag, stop = 0, 1  # dead units take rank away at the first step
        while lag < n_lags:
            rows = np.concatenate([X, E], axis=1) if compress else X
            count = min(MOST_AT_ONCE, min(stop, n_lags) - lag, max(1, NUMBERS_AT_ONCE // rows.size))
            products, exponent = self._multiplied(rows, lag + 1, count, exponent)
            count, r = len(products), X.shape[1]
            norms = self._write(history, lag + 1, products[:, :, :r], left, exponent)
            if compress:
                with np.errstate(invalid="ignore", over="ignore"):
                    errors = np.linalg.norm(products[:, :, r:], axis=(-2, -1))
                lost |= (errors > LARGEST_ERROR * norms).any(axis=0)
                if lost.all():
                    return lost
            lag += count
            X, E = products[-1, :, :r], products[-1, :, r:]
            if lag >= stop or lag == n_lags:
                U, sigma, Vh = _svd(X)
                history.add_spectrum(lag, sigma, n)
                stop = 2 * lag if lag < 4 else lag + max(4, lag // 4)
                # Below rounding of the norm and of the corner, whichever is smaller.
                below = np.sqrt(n) * EPS * norms[-1][:, None]
                kept = int((sigma > below)[~lost].sum(axis=-1).max(initial=1)) if compress else r
                if kept < 0.97 * r:
                    spread = rng.standard_normal((ERROR_ROWS, sigma.shape[-1] - kept))
                    rotated = sigma[..., None] * Vh
                    rounded = EPS * sigma[:, :1, None] * rng.standard_normal((ERROR_ROWS, n))
                    E = E + spread @ rotated[:, kept:] + rounded
                    X = rotated[:, :kept]
                    left = None if left is None else _thinner(left @ U[..., :kept])
            if progress is not None:
                progress(lag, n_lags)
        # What was infinite once is nothing that later factors, or a rotation, could mend.
        np.logical_or.accumulate(history.nonfinite, axis=0, out=history.nonfinite)
        return lost

    def _multiplied(self, rows: Array, lag: int, count: int, exponent: Array) -> tuple[Array, Array]:
        """The next products, as many as stay in range, and their exponents, which are one for all of them."""
        shift = exponent_of(rows)
        rows, exponent = scale_by_power_of_two(rows, -shift), exponent + shift
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            products = self.advance(rows, lag, count)
        if count > 1:
            largest = np.abs(products).max(axis=(-2, -1))
            alive = np.any(rows, axis=(-2, -1))
            if not ((largest > SMALL) & (largest < LARGE) | ~alive).all():
                products = products[:1]
        if len(products) == 1:
            shift = exponent_of(products[0])
            products, exponent = scale_by_power_of_two(products, -shift[None]), exponent + shift
        return products, exponent

    def _write(self, history: ProductHistory, lag: int, X: Array, left: Array | None, exponent: Array) -> Array:
        """Write down lags lag … of X (lags, B, r, n); the norm, or the corner's where that is smaller, (lags, B)."""
        lags = slice(lag, lag + len(X))
        finite = np.asarray(np.isfinite(X).all(axis=(-2, -1)))
        X = X if finite.all() else np.where(finite[..., None, None], X, 0.0)
        top = np.maximum(largest_eigenvalues(_gram(X)), 0.0)
        history.squared_norm[lags], history.exponent[lags] = top, exponent
        history.squared_frobenius[lags] = np.einsum("kbij,kbij->kb", X, X)
        history.nonfinite[lags] = ~finite
        if self.h is None or left is None:
            return np.sqrt(top)
        corner = left @ X[..., self.h]
        # The corner may be smaller than the whole by more than squares hold.
        shift = exponent_of(corner)
        top_h = np.maximum(largest_eigenvalues(_gram(scale_by_power_of_two(corner, -shift))), 0.0)
        history.squared_norm_h[lags], history.exponent_h[lags] = top_h, exponent + shift
        return np.minimum(np.sqrt(top), np.ldexp(np.sqrt(top_h), shift))


def _gram(X: Array) -> Array:
    """XXᵀ or XᵀX, whichever is smaller: their largest eigenvalues are the same."""
    transposed = np.swapaxes(X, -1, -2)
    return X @ transposed if X.shape[-2] <= X.shape[-1] else transposed @ X


def _svd(X: Array) -> tuple[Array, Array, Array]:
    finite = np.asarray(np.isfinite(X).all(axis=(-2, -1)))
    U, sigma, Vh = np.linalg.svd(X if finite.all() else np.where(finite[:, None, None], X, 0.0), full_matrices=False)
    return U, sigma, Vh


def _thinner(left: Array) -> Array:
    """A triangular factor in place of a tall one: an orthogonal factor on the left changes no singular value."""
    return np.asarray(np.linalg.qr(left, mode="r")) if left.shape[-2] > left.shape[-1] else left
