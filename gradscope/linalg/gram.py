"""Gram matrices: full up to a size, one triangle beyond."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.base import Array

#: Matrices up to this size are full, larger ones are upper triangles with zeros below.
FULL_UP_TO = 256
#: Up to this size a plain product of a stack is faster than BLAS syrk one by one.
PLAIN_UP_TO = 64
#: Transposed together: whole columns, at a stride of 2^k bytes, fall into one set of the cache.
TILE = 32


def gram(X: Array, out: Array | None = None) -> Array:
    """X·Xᵀ for X of shape (s, B, r, n): shape (s, B, r, r), the upper triangle alone beyond r = 256.

    BLAS syrk makes one triangle for half the work of a product; what needs the other one copies it while it is small.
    """
    s, B, r, _ = X.shape
    if r <= PLAIN_UP_TO:
        transposed = np.swapaxes(X, -1, -2)
        # A single product goes to syrk; stacks of small ones are faster as plain products.
        return np.matmul(X, np.ascontiguousarray(transposed) if s * B > 1 else transposed, out=out)
    from scipy.linalg import blas  # 0.1 s of start-up that small problems never pay

    out = np.empty((s, B, r, r)) if out is None else out
    if r > FULL_UP_TO:
        out[...] = 0.0
    for i, b in np.ndindex(s, B):
        # Row-major upper is BLAS's column-major lower; written in place.
        blas.dsyrk(1.0, X[i, b].T, trans=1, lower=1, beta=0.0, c=out[i, b].T, overwrite_c=1)
    if r <= FULL_UP_TO:
        _fill_lower(out)
    return out


def _fill_lower(U: Array) -> None:
    """Copy upper triangles (..., r, r) to the lower ones, in place."""
    r = U.shape[-1]
    below = np.tri(TILE, k=-1, dtype=bool)
    for i in range(0, r, TILE):
        j = min(i + TILE, r)
        U[..., j:, i:j] = np.swapaxes(U[..., i:j, j:], -1, -2)
        corner = U[..., i:j, i:j]
        np.copyto(corner, np.swapaxes(corner, -1, -2).copy(), where=below[: j - i, : j - i])


def frobenius_squares(X: Array) -> Array:
    """‖X‖_F² of every matrix of a stack (..., r, n), shape (...)."""
    flat = X.reshape(*X.shape[:-2], 1, -1)
    # A product of rows goes to BLAS, which takes a fifth of einsum's time.
    return np.asarray((flat @ np.swapaxes(flat, -1, -2))[..., 0, 0])


def gram_squares(G: Array) -> Array:
    """‖G‖_F² of every Gram matrix of a stack (N, r, r), as `gram` leaves them."""
    squares = frobenius_squares(G)
    if G.shape[-1] <= FULL_UP_TO:
        return squares
    return np.asarray(2.0 * squares - np.einsum("bii,bii->b", G, G))
