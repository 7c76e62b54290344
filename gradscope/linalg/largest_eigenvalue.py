"""Largest eigenvalues of Gram matrices, warm-started, each one certified.

Every road ends in the same two questions. *Is θ an eigenvalue?* The residual ρ = ‖Gv − θv‖ answers: some eigenvalue
lies within ρ, and within ρ²/gap where the other eigenvalues are known to stay below θ − gap (Temple, Kato).
*Is it the largest?* A residual cannot tell (a start may be orthogonal to the top vector, or two eigenvalues may have
crossed since the last lag), so an upper bound on the others must: by the trace of a power of G, or by a Cholesky
factorisation of θ(1 + δ)I − G, which exists only if every eigenvalue is below θ(1 + δ). Where neither certifies, the
full decomposition decides.
"""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.gram import FULL_UP_TO, squared_frobenius

#: Relative error allowed in an eigenvalue of G = RRᵀ; the singular value of R gets half of it.
TOLERANCE = 2e-11
#: Matrices of at most this size are cheaper to decompose than to iterate on, a few of them up to a larger one.
DECOMPOSE_UP_TO, DECOMPOSE_FEW_UP_TO = 12, 64
#: Stacks of matrices of at most this size are squared together; larger ones are worth a Lanczos run each.
SQUARE_UP_TO = FULL_UP_TO
FEW = 4
LANCZOS_STEPS = 72
POWERS = (16, 64, 256)


def largest_eigenvalues(G: Array, start: Array) -> tuple[Array, Array]:
    """Largest eigenvalue of every symmetric positive semidefinite matrix in a stack of sequences.

    Parameters
    ----------
    G : ndarray, shape (s, B, r, r)
        B sequences of s neighbouring matrices as :func:`gradscope.linalg.gram.gram` makes them (upper triangles if
        r > 64), scaled so that no trace overflows or underflows; an exactly zero matrix gives 0.
    start : ndarray, shape (B, r)
        Guesses, of any length (the vectors of the problems before).

    Returns
    -------
    theta : ndarray, shape (s, B)
        Relative error at most 2e-11.
    vectors : ndarray, shape (B, r)
        Guesses for the next, neighbouring problems.
    """
    s, B, r, _ = G.shape
    if r == 1:
        return G[..., 0, 0].copy(), np.ones((B, 1))
    if r <= DECOMPOSE_UP_TO or (s * B <= FEW and r <= DECOMPOSE_FEW_UP_TO):
        return np.maximum(np.linalg.eigvalsh(G)[..., -1], 0.0), start
    if s * B > FEW and r <= SQUARE_UP_TO:
        theta, vectors = _by_squaring(G.reshape(s * B, r, r), np.tile(start, (s, 1)))
        return theta.reshape(s, B), vectors.reshape(s, B, r)[-1]
    theta, vectors = np.empty((s, B)), np.array(start)
    for i, b in np.ndindex(s, B):
        theta[i, b], vectors[b] = _by_lanczos(G[i, b], vectors[b])
    return theta, vectors


def _decompose(G: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(G, UPLO="U")
    return np.maximum(values[:, -1], 0.0), vectors[:, :, -1]


def _by_squaring(G: Array, start: Array) -> tuple[Array, Array]:
    """Power steps with G^p, p = 16, then 64 and 256 for those that need it, then the full decomposition.

    The trace of G^p also bounds every other eigenvalue: μ^p ≤ tr G^p − θ^p.
    """
    r = G.shape[-1]
    trace = np.trace(G, axis1=-2, axis2=-1)
    # With trace 1 the largest eigenvalue is at least 1/r, so that its 16th power (r ≤ 64: 1e-29) is far from underflow.
    unit = G / np.where(trace > 0, trace, 1.0)[:, None, None]
    # A share in every direction: no start is orthogonal to the top vector by construction.
    v = start + (0.1 / np.sqrt(r)) * np.linalg.norm(start, axis=-1, keepdims=True) + 1e-30
    theta = np.zeros(len(G))
    open_ = np.flatnonzero(trace > 0)
    M = _square(unit, 4)
    M, A, x = (M, unit, v) if len(open_) == len(G) else (M[open_], unit[open_], v[open_])
    for power in POWERS:
        value, x, good = _power_steps(A, M, x, power)
        theta[open_], v[open_] = value, x
        if good.all() or not len(good):
            break
        open_, A, x, value = open_[~good], A[~good], x[~good], value[~good]
        if power == POWERS[-1]:
            theta[open_], v[open_] = _decompose(A)
        else:
            # Scaled so that the power of the largest eigenvalue stays near 1.
            M = _square(M[~good] / (value**power)[:, None, None], 2)
            A = A / value[:, None, None]
            trace[open_] *= value
            theta[open_] = 1.0
    return theta * trace, v


def _square(M: Array, times: int) -> Array:
    for _ in range(times):
        M = M @ M
    return M


def _power_steps(A: Array, M: Array, x: Array, power: int) -> tuple[Array, Array, Array]:
    """Rayleigh quotients of A after up to six steps with M = A^power, the vectors, and which quotients are certain."""
    r = A.shape[-1]
    mass = np.trace(M, axis1=-2, axis2=-1)
    theta, good = np.zeros(len(A)), np.zeros(len(A), dtype=bool)
    for step in range(6):
        x = (M @ x[..., None])[..., 0]
        x /= np.maximum(np.sqrt(np.einsum("bi,bi->b", x, x)), 1e-300)[:, None]
        Ax = (A @ x[..., None])[..., 0]
        theta = np.einsum("bi,bi->b", x, Ax)
        Ax -= theta[:, None] * x
        square = np.einsum("bi,bi->b", Ax, Ax)
        top = theta**power
        # Below r·eps of the total the difference is rounding.
        others = np.maximum(mass - top, r * 1e-15 * top) ** (1.0 / power)
        gap = theta - others - np.sqrt(square)
        good = (gap > 0) & (square <= 0.5 * TOLERANCE * theta * gap)
        if (good | (gap <= 0)).all() and step >= 2:
            # Where the trace leaves no gap, more steps do not open one.
            break
    return theta, x, good


def _by_lanczos(G: Array, start: Array) -> tuple[float, Array]:
    """Lanczos with full reorthogonalisation from the guess, until residual and certificate both pass.

    G is an upper triangle with zeros below.
    """
    from scipy.linalg import blas, lapack

    r, lower = len(G), G.T
    trace = float(np.trace(G))
    if trace == 0.0:
        return 0.0, start
    mean = trace / r
    if np.abs(G[0, 1:]).max() < 1e-10 * G[0, 0]:
        # Perhaps a multiple of I (orthogonal factors): every eigenvalue is within ‖G − mean·I‖_F of the mean.
        deviation = G.copy()
        np.einsum("ii->i", deviation)[:] -= mean
        if squared_frobenius(deviation) <= (0.5 * TOLERANCE * mean) ** 2:
            return mean, start
    squares = squared_frobenius(G)
    Q = np.empty((LANCZOS_STEPS + 1, r))
    alpha, beta = np.empty(LANCZOS_STEPS), np.empty(LANCZOS_STEPS)
    length = float(np.linalg.norm(start))
    Q[0] = start / length if length > 0 else 1.0 / np.sqrt(r)
    # A pseudo-random share (the same on every run) keeps the top vector within reach after a crossing.
    Q[0] += 0.02 / np.sqrt(r) * np.cos(np.arange(r) * 2.399963)
    Q[0] /= np.linalg.norm(Q[0])
    for j in range(LANCZOS_STEPS):
        w = blas.dsymv(1.0, lower, Q[j], lower=1)
        alpha[j] = Q[j] @ w
        basis = Q[: j + 1]
        # Twice is enough (Kahan, Parlett 1980, section 6-9), once is not: Ritz values of a basis that is not
        # orthogonal come out too large, and no certificate objects to that.
        w -= basis.T @ (basis @ w)
        w -= basis.T @ (basis @ w)
        beta[j] = np.sqrt(w @ w)
        broke_down = beta[j] <= 1e-14 * trace / r
        if not broke_down:
            Q[j + 1] = w / beta[j]
        if broke_down or j == LANCZOS_STEPS - 1 or (j >= 3 and j % 3 == 0):
            ritz, S, _ = lapack.dstev(alpha[: j + 1], beta[: max(j, 1)])
            theta, s = float(ritz[-1]), S[:, -1]
            above = _everything_else(squares, alpha[: j + 1], beta[: j + 1])
            if above < theta:
                # The other block, at its largest, as one more row of the tridiagonal: an upper bound on λ_max.
                error = float(lapack.dsterf(np.append(alpha[: j + 1], above), beta[: j + 1])[0][-1]) - theta
            else:
                residual = float(beta[j] * abs(s[-1]))
                gap = theta - float(ritz[-2]) - residual if j else 0.0
                error = min(residual, residual**2 / gap if gap > 0 else np.inf)
            if error <= 0.2 * TOLERANCE * theta:
                y = np.asarray(s @ basis)
                # The Rayleigh quotient itself, never above the largest eigenvalue.
                rayleigh = float(y @ blas.dsymv(1.0, lower, y, lower=1) / (y @ y))
                right = abs(rayleigh - theta) <= 0.5 * TOLERANCE * theta
                if right and (above < theta or _nothing_above(G, rayleigh * (1.0 + TOLERANCE))):
                    return rayleigh, y
                break
            if broke_down:
                break
    values, vectors = _decompose(G[None])
    return float(values[0]), vectors[0]


def _everything_else(squares: float, alpha: Array, beta: Array) -> float:
    """Bound on the part of G orthogonal to a Krylov basis: ‖C‖_F from ‖G‖_F² = ‖T‖_F² + 2β_m² + ‖C‖_F².

    In a basis that begins with the m Lanczos vectors G = [[T, B], [Bᵀ, C]], and B holds nothing but β_m. With C ≤ cI,
    λ_max(G) ≤ λ_max([[T, β_m e_m], [β_m e_mᵀ, c]]): the residual bounds the error after all, if c < θ.
    """
    rest = squares - float(alpha @ alpha) - 2.0 * float(beta @ beta)
    # The difference is right to a small multiple of eps of what it is taken from.
    return float(np.sqrt(max(rest, 0.0) + 1e-13 * squares))


def _nothing_above(G: Array, bound: float) -> bool:
    """Certify that every eigenvalue of G is below ``bound``: a Cholesky factor of bound·I − G exists only then."""
    shifted = np.negative(G)
    np.einsum("ii->i", shifted)[:] += bound
    from scipy.linalg import lapack  # 0.1 s of start-up that small problems never pay

    _, info = lapack.dpotrf(shifted.T, lower=1, clean=0, overwrite_a=1)
    return bool(info == 0)
