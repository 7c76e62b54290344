"""Fewer rows for the same product: P = L·R with orthonormal L, small rows of R dropped and accounted for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.singular_values import EPS

#: Gaussian combinations by which the size of an error is estimated.
DOUBT_ROWS = 4
#: Rows together below this share of the norm change it by 5e-17.
SMALL = 1e-6


class Compression(NamedTuple):
    """R = Q·rows + (what was dropped) + (rounding).

    Attributes
    ----------
    rows : ndarray, shape (B, r', n)
        QᵀR, the rows kept.
    n_top : int
        How many of them are not small: the others together are below 1e-8 of the smallest norm wanted.
    Q : ndarray, shape (B, r, r')
        Orthonormal columns.
    dropped : ndarray, shape (B, 4, n)
        Gaussian combinations of the dropped rows.
    rounding : ndarray, shape (B, 4, n)
        Gaussian combinations of (a model of) the rounding errors of QᵀR.
    lengths : ndarray, shape (B, r)
        Of all rotated rows, dropped ones included.
    """

    rows: Array
    n_top: int
    Q: Array
    dropped: Array
    rounding: Array
    lengths: Array


def compress(R: Array, smallest: Array, cut: Array, rng: np.random.Generator) -> Compression:
    """Rotate the rows of R (B, r, n) so that the small ones come last, and drop those below ``cut``.

    ``smallest``, shape (B,), is the smallest norm that will be asked for.

    Q comes from the QR factorisation of R·Ω with Gaussian Ω (Halko, Martinsson and Tropp 2011, algorithm 4.1, run to
    full width). How well it reveals the rank decides only how many rows stay: what is dropped is measured on the
    rotated rows themselves. The factor Q is orthogonal whatever R is, so that singular values change only by the
    dropped tail E, PᵀP = RᵀR + EᵀE, and by rounding, columnwise a small multiple of eps times the column's norm.
    """
    B, r, n = R.shape
    Q = np.linalg.qr(R @ rng.standard_normal((n, r)))[0]
    rotated = np.swapaxes(Q, -1, -2) @ R
    squares = np.einsum("bij,bij->bi", rotated, rotated)
    # Frobenius norm of rows j, j + 1, …: the error if they go.
    tail = np.sqrt(np.cumsum(squares[:, ::-1], axis=-1)[:, ::-1])
    kept = max(1, int(np.sum(tail > cut[:, None], axis=-1).max()))
    dropped = rng.standard_normal((B, DOUBT_ROWS, r - kept)) @ rotated[:, kept:]
    columns = np.sqrt(np.einsum("bij,bij->bj", R, R))
    rounding = 4.0 * EPS * columns[:, None, :] * rng.standard_normal((B, DOUBT_ROWS, n))
    n_top = min(kept, max(1, int(np.sum(tail > SMALL * smallest[:, None], axis=-1).max())))
    return Compression(rotated[:, :kept], n_top, Q[:, :, :kept], dropped, rounding, np.sqrt(squares))


def l_values(rows: Array) -> Array:
    """Singular values of `Compression.rows` (B, r, n), about: the diagonal of L in R = L·Vᵀ, descending, shape (B, r).

    Rows sorted by a rank-revealing rotation and then made orthogonal to one another are G. W. Stewart's QLP
    decomposition (SIAM J. Sci. Comput. 20 (1999) 1336): |L_ii| follows σ_i to some ten per cent over all
    magnitudes, for a third of what the singular values cost.
    """
    diagonals = [np.diagonal(_packed_qr(matrix.T)) for matrix in rows]
    return -np.sort(-np.abs(diagonals), axis=-1)


def l_values_of_unsorted(rows: Array, rng: np.random.Generator) -> Array:
    """The same for rows (B, r, n) in no order: columns mixed (signs and a cosine transform), QR, QLP."""
    from scipy.fft import dct

    signs = rng.choice([-1.0, 1.0], size=rows.shape[-1])
    mixed = dct(rows * signs, norm="ortho", axis=-1)
    return l_values(np.stack([np.triu(_packed_qr(matrix)) for matrix in mixed]))


def _packed_qr(A: Array) -> Array:
    """R of A = Q·R in the upper triangle, reflectors below: without the copies that numpy.linalg.qr makes."""
    from scipy.linalg import lapack

    return np.asarray(lapack.dgeqrf(np.asfortranarray(A), lwork=64 * A.shape[1])[0])
