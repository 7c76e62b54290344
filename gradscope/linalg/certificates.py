"""When a Ritz value may be called the largest eigenvalue.

Two questions. *Is θ an eigenvalue?* The residual ρ = ‖Gy − θy‖ answers: some eigenvalue lies within ρ, and within
ρ²/gap where the other eigenvalues are known to stay away by the gap (Temple, Kato). *Is it the largest?* A residual
cannot tell (a start may be orthogonal to the top vector, or two eigenvalues may have crossed since the last lag), so an
upper bound on the others must: by the trace of a power of G, by what is left of its Frobenius norm, or by a Cholesky
factorisation of θ(1 + δ)I − G, which exists only if every eigenvalue is below θ(1 + δ).
"""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.base import Array

#: Relative error allowed in an eigenvalue of G = RRᵀ; the singular value of R gets half of it.
TOLERANCE = 2e-11


def eigenvalue_error(residual: Array, gap: Array) -> Array:
    """How far from θ an eigenvalue can be: ρ, or ρ²/gap where that is less."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gap > residual, residual**2 / gap, residual)


def everything_else(squares: Array, alpha: Array, beta: Array) -> Array:
    """‖C‖_F of the part of G orthogonal to a Krylov basis, shape (N,): ‖G‖_F² = ‖T‖_F² + 2β_m² + ‖C‖_F².

    In a basis that begins with the m Lanczos vectors G = [[T, B], [Bᵀ, C]], and B holds nothing but β_m.

    Parameters
    ----------
    squares : ndarray, shape (N,)
        ‖G‖_F².
    alpha, beta : ndarray, shape (N, m)
        The diagonal of T, and what stands beside it with β_m last.
    """
    rest = squares - np.einsum("nm,nm->n", alpha, alpha) - 2.0 * np.einsum("nm,nm->n", beta, beta)
    # The difference is right to a small multiple of eps of what it is taken from.
    return np.asarray(np.sqrt(np.maximum(rest, 0.0) + 1e-13 * squares))


def nothing_above(G: Array, bound: float) -> bool:
    """Certify that every eigenvalue of G, an upper triangle or full, is below ``bound``."""
    from scipy.linalg import lapack  # 0.1 s of start-up that small problems never pay

    shifted = np.negative(G)
    np.einsum("ii->i", shifted)[:] += bound
    _, info = lapack.dpotrf(shifted.T, lower=1, clean=0, overwrite_a=1)
    return bool(info == 0)
