"""Thin QR factorisations A = Q·R with positive diagonal, fast where that is safe and row-wise accurate where it is not.

Cholesky QR works on AᵀA = RᵀR: about two products instead of the dozen a Householder QR costs, with an error
ε κ(A)² in the orthogonality of Q that a second pass removes as long as κ(A) stays below 1e7. Panel by panel, with
Gram–Schmidt between the panels, it costs less still, and each κ² is that of one panel. Beyond that, and for
stacks of small matrices, Householder: rows sorted by size, so that a block whose rows differ by hundreds of
decades (saturated units) keeps the small rows' digits.

References
----------
Y. Yamamoto et al., ETNA 44 (2015), CholeskyQR2, for the first; W. Jalby and B. Philippe, SIAM J. Sci. Stat. Comput. 12
(1991) 1058, block Gram–Schmidt, for the panels; A. J. Cox and N. J. Higham, "Stability of Householder QR factorization
for weighted least squares problems" (1998), for the sorted rows.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from gradscope.jacobians.step_jacobian import Array

EPS = float(np.finfo(np.float64).eps)
# Below this many columns a Householder QR costs less than the calls into LAPACK from Python, of two passes and of one.
CHOLESKY_FROM = 48
ONE_PASS_FROM = 16
# ‖Q₁ᵀQ₁ − I‖ up to which R₂ = I + upper(E) holds to E² < 1e-16, and up to which a second Cholesky is safe.
FIRST_ORDER = 1e-8
SECOND_PASS = 1e-2
# Rows whose largest entries differ by less lose no more than two digits when left in place.
LEVEL_ROWS = 1e-2
# Columns factored together in one pass: LAPACK and dtrsm are quick on so few, and products do the rest.
PANEL = 64
# Rows copied at a time into column order: a whole column, at a stride of 2^k bytes, falls into one set of the cache.
BAND = 32
# Smallest R_jj / largest (just below e^−16.5), and estimated ‖QᵀQ − I‖, beyond which panels are not enough.
ROUGH = 6e-8
TILT = 1e-2
# What a panel may lack after its first Cholesky pass.
NEARLY = 1e-3


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
    if A.shape[-1] < CHOLESKY_FROM:
        return _householder(A)
    return _stacked([_cholesky(matrix) or _householder(matrix) for matrix in _matrices(A)], A.shape)


def roughly_orthonormalise(A: Array) -> tuple[Array, Array]:
    """Factor A = Q·R to rounding, with QᵀQ = I only roughly: one pass over the panels where that is safe.

    Enough wherever Q is multiplied and factored again: A_1 = Q_1 R_1, J Q_1 = Q_2 R_2 make J A_1 = Q_2 (R_2 R_1) hold
    whatever Q_1 is, so what R_1 lacks the next R_2 supplies, and only the last Q needs an exact factorisation.
    Shapes as in `orthonormalise`; matrices that one pass will not do get Householder.
    """
    if A.shape[-1] < ONE_PASS_FROM:
        return orthonormalise(A)
    return _stacked([_one_pass(matrix) or _householder(matrix) for matrix in _matrices(A)], A.shape)


def try_one_pass(A: Array) -> tuple[Array, Array] | None:
    """Do as `roughly_orthonormalise`, or None where that would turn to Householder because A is ill-conditioned."""
    if A.shape[-1] < ONE_PASS_FROM:
        return orthonormalise(A)
    pairs = []
    for matrix in _matrices(A):
        pair = _one_pass(matrix)
        if pair is None:
            return None
        pairs.append(pair)
    return _stacked(pairs, A.shape)


def _one_pass(A: Array) -> tuple[Array, Array] | None:
    """Block Gram–Schmidt with a Cholesky QR of each panel, or None if Q may come out far from orthonormal.

    Every step is a triangular solve or a projection that keeps A = Q·R to n ε |Q||R| whatever Q is. What Q lacks:
    a panel with R_ii from r to μ adds ε (μ/r)² of its own; and where the panels i before it lack F_i, projecting them
    out leaves Σ F_i |R_ij| ≤ Σ F_i μ_i behind, of which the division by R_jj makes F_j = Σ F_i μ_i / r. This recurrence
    is watched instead of QᵀQ, which would cost a product. (Kahan's matrices, whose R_jj hide their condition, deceive
    it: the next R supplies what their Q lacks.)

    Parameters
    ----------
    A : ndarray, shape (n, k)
    """
    k = A.shape[1]
    Q = _in_column_order(A)
    R = np.zeros((k, k), order="F")
    largest, left_behind = 0.0, 0.0
    for j in range(0, k, PANEL):
        # A range of columns is contiguous in column order, so that BLAS works in place.
        panel, rest = Q[:, j : j + PANEL], Q[:, j + PANEL :]
        corner, tilt = _panel(panel)
        if corner is None:
            return None
        big, small = _extremes(corner)
        largest = max(largest, big)
        tilt += left_behind / small
        left_behind += tilt * big
        if not (tilt <= TILT and small >= ROUGH * largest):
            return None
        R[j : j + PANEL, j : j + PANEL] = corner
        if rest.size:
            projection = blas.dgemm(1.0, panel, rest, trans_a=1)
            blas.dgemm(-1.0, panel, projection, beta=1.0, c=rest, overwrite_c=1)
            R[j : j + PANEL, j + PANEL :] = projection
    return Q, R


def _panel(A: Array) -> tuple[Array | None, float]:
    """Replace A by Q in place; R, or None if A is not of full rank to rounding, and about ‖QᵀQ − I‖.

    Where R_jj² is little else than the rounding of AᵀA, R_jj looks larger than it is and column j of Q comes out
    short. So the trace of QᵀQ is looked at, and what is not nearly orthonormal goes through once more.

    Parameters
    ----------
    A : ndarray, shape (n, k), in column order
    """
    R, tilt = _cholesky_pass(A)
    if R is None or tilt < NEARLY:
        return R, tilt
    second, tilt = _cholesky_pass(A)
    return None if second is None else blas.dtrmm(1.0, second, R), tilt


def _cholesky_pass(A: Array) -> tuple[Array | None, float]:
    """Replace A by A·R⁻¹ with RᵀR = AᵀA; R, or None where rounding leaves none, and about ‖QᵀQ − I‖."""
    R, failed = lapack.dpotrf(blas.dsyrk(1.0, A, trans=1), lower=0, clean=1)
    if failed:
        return None, np.inf
    blas.dtrsm(1.0, R, A, side=1, overwrite_b=1)
    largest, smallest = _extremes(R)
    ratio, entries = largest / smallest, A.ravel(order="F")
    # Not ratio**2, which raises where it overflows.
    return R, EPS * ratio * ratio + abs(float(entries @ entries) - A.shape[1])


def _extremes(R: Array) -> tuple[float, float]:
    """Largest and smallest R_jj of a matrix in column order."""
    diagonal = R.ravel(order="F")[:: R.shape[0] + 1].tolist()
    return max(diagonal), min(diagonal)


def _in_column_order(A: Array) -> Array:
    """Copy a matrix into Fortran order, band by band if it is not there already."""
    if A.flags.f_contiguous:
        return A.copy(order="F")
    out = np.empty(A.shape, order="F")
    for i in range(0, A.shape[0], BAND):
        out[i : i + BAND] = A[i : i + BAND]
    return out


def _matrices(A: Array) -> Array:
    """(..., n, k) as a stack of matrices."""
    return A.reshape(-1, *A.shape[-2:])


def _stacked(pairs: list[tuple[Array, Array]], shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Q and R of every matrix of a stack of shape (..., n, k), with its leading axes."""
    # One matrix alone is not copied.
    Q, R = pairs[0] if len(pairs) == 1 else (np.stack([pair[i] for pair in pairs]) for i in (0, 1))
    return Q.reshape(shape), R.reshape(*shape[:-2], shape[-1], shape[-1])


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
