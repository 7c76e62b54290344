"""Thin QR factorisations A = Q·R with positive diagonal, fast where that is safe and row-wise accurate where it is not.

Cholesky QR works on AᵀA = RᵀR: about two products instead of the dozen a Householder QR costs, with an error
ε κ(A)² in the orthogonality of Q that a second pass removes as long as κ(A) stays below 1e7. Beyond that, and for
stacks of small matrices, Householder: rows sorted by size, so that a block whose rows differ by hundreds of
decades (saturated units) keeps the small rows' digits.

References
----------
Y. Yamamoto et al., ETNA 44 (2015), CholeskyQR2, for the first; A. J. Cox and N. J. Higham, "Stability of Householder
QR factorization for weighted least squares problems" (1998), for the sorted rows.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from gradscope.jacobians.base import Array

EPS = float(np.finfo(np.float64).eps)
# Below this many columns a Householder QR costs less than the calls into LAPACK from Python, of two passes and of one.
CHOLESKY_FROM = 48
ONE_PASS_FROM = 16
# ‖Q₁ᵀQ₁ − I‖ up to which R₂ = I + upper(E) holds to E² < 1e-16, and up to which a second Cholesky is safe.
FIRST_ORDER = 1e-8
SECOND_PASS = 1e-2
# Rows whose largest entries differ by less lose no more than two digits when left in place.
LEVEL_ROWS = 1e-2
# Smallest R_jj / largest, below which ε κ² nears 1 and one pass is not enough.
ROUGH = 1e-7


def orthonormalise(A: Array) -> tuple[Array, Array]:
    """Factor A = Q·R with QᵀQ = I and R upper triangular, diag(R) ≥ 0.

    Parameters
    ----------
    A : ndarray, shape (..., n, k), n ≥ k
        Entries of moderate size: squares must neither overflow nor underflow.

    Returns
    -------
    Q : ndarray, shape (..., n, k)
    R : ndarray, shape (..., k, k)
        R_jj = 0 where column j depends on those before it exactly; Q_j is then some direction orthogonal to the rest.
    """
    matrices = A.reshape(-1, *A.shape[-2:])
    if A.shape[-1] < CHOLESKY_FROM:
        return _householder(A)
    pairs = [_cholesky(matrix) or _householder(matrix) for matrix in matrices]
    Q = np.stack([pair[0] for pair in pairs]) if len(pairs) > 1 else pairs[0][0]
    R = np.stack([pair[1] for pair in pairs]) if len(pairs) > 1 else pairs[0][1]
    return Q.reshape(A.shape), R.reshape(*A.shape[:-2], A.shape[-1], A.shape[-1])


def roughly_orthonormalise(A: Array) -> tuple[Array, Array]:
    """Factor A = Q·R to rounding, with QᵀQ = I only to about ε κ(A)²: one Cholesky pass where that is safe.

    Enough wherever Q is multiplied and factored again: A_1 = Q_1 R_1, J Q_1 = Q_2 R_2 make J A_1 = Q_2 (R_2 R_1) hold
    whatever Q_1 is, so what R_1 lacks the next R_2 supplies, and only the last Q needs an exact factorisation.
    Shapes as in `orthonormalise`; falls back to it beyond κ(A) of about 1e7.
    """
    if A.shape[-1] < ONE_PASS_FROM:
        return orthonormalise(A)
    k = A.shape[-1]
    pairs = [_one_pass(matrix) for matrix in A.reshape(-1, *A.shape[-2:])]
    if len(pairs) == 1:
        return pairs[0][0].reshape(A.shape), pairs[0][1].reshape(*A.shape[:-2], k, k)
    Q, R = (np.stack([pair[i] for pair in pairs]) for i in (0, 1))
    return Q.reshape(A.shape), R.reshape(*A.shape[:-2], k, k)


def _one_pass(A: Array) -> tuple[Array, Array]:
    """One Cholesky pass over one matrix, or Householder if that would not do."""
    A = np.asfortranarray(A)
    R, failed = lapack.dpotrf(blas.dsyrk(1.0, A, trans=1), lower=0, clean=1)
    diagonal = R.ravel(order="F")[:: R.shape[0] + 1]
    if failed or not float(diagonal.min()) > ROUGH * float(diagonal.max()):
        return _householder(A)
    return blas.dtrsm(1.0, R, A, side=1), R


def rounding_floor(A: Array, terms: Array) -> Array:
    """What R_jj may be by rounding alone: 8 n ε times the j-th largest entry of column j, shape (..., k).

    Householder QR with sorted rows is backward stable row by row, so a block with rows of very different sizes
    (saturated units) has full rank although its condition number exceeds 1/ε; hence entries by rank, not norms.

    Parameters
    ----------
    A : ndarray, shape (..., n, k)
        The block, itself computed as J·Q.
    terms : ndarray, shape (..., n, k)
        Size of the terms whose sums are A, |J|·|Q| or an estimate: rounding is relative to them, not to A.
    """
    sizes = -np.sort(-np.maximum(np.abs(A), np.abs(terms)), axis=-2)
    return np.asarray(8.0 * A.shape[-2] * EPS * np.diagonal(sizes, axis1=-2, axis2=-1))


def _cholesky(A: Array) -> tuple[Array, Array] | None:
    """CholeskyQR2 of one matrix, or None if its condition number is beyond 1e7."""
    A = np.asfortranarray(A)
    R, failed = lapack.dpotrf(blas.dsyrk(1.0, A, trans=1), lower=0, clean=1)
    if failed:
        return None
    Q = blas.dtrsm(1.0, R, A, side=1)
    E = blas.dsyrk(1.0, Q, trans=1)
    E.ravel(order="F")[:: E.shape[0] + 1] -= 1.0
    size = max(float(E.max()), -float(E.min())) * E.shape[0]
    if not size < SECOND_PASS:
        return None
    if size < FIRST_ORDER:
        # dsyrk fills the upper triangle only. RᵀR = I + E to first order for R = I + upper(E), half its diagonal.
        E.ravel(order="F")[:: E.shape[0] + 1] *= 0.5
        return Q - blas.dtrmm(1.0, E, Q, side=1), R + blas.dtrmm(1.0, E, R)
    E.ravel(order="F")[:: E.shape[0] + 1] += 1.0
    second, failed = lapack.dpotrf(E, lower=0, clean=1)
    if failed:
        return None
    return blas.dtrsm(1.0, second, Q, side=1, overwrite_b=1), blas.dtrmm(1.0, second, R)


def _householder(A: Array) -> tuple[Array, Array]:
    """Householder QR, with the rows sorted by size, largest first, where they differ enough to matter."""
    rows = np.abs(A).max(axis=-1)
    if float(rows.min(initial=np.inf)) > LEVEL_ROWS * float(rows.max(initial=0.0)):
        Q, R = np.linalg.qr(A)
    else:
        order = np.argsort(-rows, axis=-1)[..., None]
        Q_sorted, R = np.linalg.qr(np.take_along_axis(A, order, axis=-2))
        Q = np.empty_like(Q_sorted)
        np.put_along_axis(Q, order, Q_sorted, axis=-2)
    signs = np.where(np.diagonal(R, axis1=-2, axis2=-1) < 0.0, -1.0, 1.0)
    return Q * signs[..., None, :], R * signs[..., :, None]
