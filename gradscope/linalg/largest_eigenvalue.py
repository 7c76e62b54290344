"""Largest eigenvalues of Gram matrices, warm-started, each one certified.

Every road ends in the same two questions. *Is θ an eigenvalue?* The residual ρ = ‖Gv − θv‖ answers: some eigenvalue
lies within ρ, and within ρ²/gap where the other eigenvalues are known to stay below θ − gap (Temple, Kato).
*Is it the largest?* A residual cannot tell (a start may be orthogonal to the top vector, or two eigenvalues may have
crossed since the last lag), so an upper bound on the others must: by the trace of a power of G, or by a Cholesky
factorisation of θ(1 + δ)I − G, which exists only if every eigenvalue is below θ(1 + δ). Where neither certifies, the
full decomposition decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.gram import squared_frobenius

#: Relative error allowed in an eigenvalue of G = RRᵀ; the singular value of R gets half of it.
TOLERANCE = 2e-11
#: A few matrices of at most this size are cheaper to decompose than to iterate on, small ones up to a handful more.
FEW, DECOMPOSE_FEW_UP_TO = 4, 64
HANDFUL, DECOMPOSE_UP_TO = 10, 12
#: Stacks of matrices of at most this size are squared together, no more numbers at once than fit into cache; larger
#: ones are worth a Lanczos run each.
SQUARE_UP_TO, NUMBERS_AT_ONCE = 64, 2**17
LANCZOS_STEPS = 72
#: Powers G^h that power steps are made with, each with the squarings that lead to it from the one before.
POWERS = ((1, 0), (16, 4), (128, 3))
#: The same from no guess at all.
COLD_POWERS = ((32, 5), (128, 2))
#: Further steps with one power are worth their while for this share of a stack, if so many should settle it.
SHARE_WORTH_A_STEP, STEPS_IN_REACH, MOST_STEPS = 0.1, 3, 6


def largest_eigenvalues(G: Array, start: Array | None = None) -> tuple[Array, Array]:
    """Largest eigenvalue of every symmetric positive semidefinite matrix in a stack of sequences.

    Parameters
    ----------
    G : ndarray, shape (s, B, r, r)
        B sequences of s neighbouring matrices as :func:`gradscope.linalg.gram.gram` makes them (upper triangles if
        r > 64), scaled so that no trace overflows or underflows; an exactly zero matrix gives 0.
    start : ndarray, shape (B, r), optional
        Guesses, of any length (the vectors of the problems before); without them no step is wasted on looking.

    Returns
    -------
    theta : ndarray, shape (s, B)
        Relative error at most 2e-11.
    vectors : ndarray, shape (B, r)
        Guesses for the next, neighbouring problems.
    """
    s, B, r, _ = G.shape
    powers = POWERS if start is not None else COLD_POWERS
    start = start if start is not None else np.ones((B, r))
    if r == 1:
        return G[..., 0, 0].copy(), np.ones((B, 1))
    if (s * B <= FEW and r <= DECOMPOSE_FEW_UP_TO) or (s * B <= HANDFUL and r <= DECOMPOSE_UP_TO):
        return np.maximum(np.linalg.eigvalsh(G)[..., -1], 0.0), start
    if s * B > FEW and r <= SQUARE_UP_TO:
        A, x = G.reshape(s * B, r, r), np.tile(start, (s, 1))
        size = NUMBERS_AT_ONCE // r**2
        parts = [_by_squaring(A[i : i + size], x[i : i + size], powers) for i in range(0, s * B, size)]
        theta, vectors = (np.concatenate(part) for part in zip(*parts, strict=True))
        return theta.reshape(s, B), vectors.reshape(s, B, r)[-1]
    theta, vectors = np.empty((s, B)), np.array(start)
    for i, b in np.ndindex(s, B):
        theta[i, b], vectors[b] = _by_lanczos(G[i, b], vectors[b])
    return theta, vectors


def _decompose(G: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(G, UPLO="U")
    return np.maximum(values[:, -1], 0.0), vectors[:, :, -1]


def _by_squaring(A: Array, x: Array, powers: tuple[tuple[int, int], ...]) -> tuple[Array, Array]:
    """Power steps with A from the guess, then with A¹⁶ and A¹²⁸ for those that need it, then the full decomposition.

    Shapes (B, r, r) and (B, r); each matrix goes only as far up the powers as its own spectrum makes it.
    """
    r = A.shape[-1]
    theta, vectors = np.empty(len(A)), np.array(x)
    open_, M, scale = np.arange(len(A)), A, np.ones(len(A))
    squares = np.einsum("bij,bij->b", A, A)
    for held, times in powers:
        if times:
            # ‖M‖_F = 1 before it is squared, hence ‖M‖₂ ≥ r^−½ and at least r^−16 (r ≤ 64: 1e-29) afterwards.
            norm = np.sqrt(np.where(squares > 0, squares, 1.0))
            M = (M.reshape(len(M), -1) * (1.0 / norm)[:, None]).reshape(M.shape)
            scale = scale * norm ** (2.0**times / held)
            for _ in range(times):
                M = M @ M
            squares = np.einsum("bij,bij->b", M, M)
            # A share in every direction: no guess is orthogonal to the top vector by construction.
            x = x / np.sqrt(np.maximum(_dot(x, x), 1e-300))[:, None] + 0.01 / np.sqrt(r)
        value, x, good = _power_steps(A, M, x, _Others(held, scale, squares))
        theta[open_], vectors[open_] = value, x
        bad = np.flatnonzero(~good)
        if not len(bad):
            return theta, vectors
        open_, x, scale, squares = open_[bad], x[bad], scale[bad], squares[bad]
        A, M = A[bad], A[bad] if M is A else M[bad]
        if len(A) <= HANDFUL and r <= DECOMPOSE_UP_TO:
            break
    theta[open_], vectors[open_] = _decompose(A)
    return theta, vectors


class _Others(NamedTuple):
    """What is known of A^h = scale^h·M: an upper bound on all its eigenvalues but the largest.

    Attributes
    ----------
    held : int
        h.
    scale, squares : ndarray, shape (B,)
        squares = ‖M‖_F², hence Σ λ_i^2h = scale^2h·squares.
    """

    held: int
    scale: Array
    squares: Array

    def share(self, theta: Array) -> Array:
        """(μ/θ)^2h of every other eigenvalue μ is at most tr A^2h/θ^2h − 1, where θ ≤ λ₁."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            share = self.squares / (theta / self.scale) ** (2 * self.held) - 1.0
        # Powers are right to a small multiple of 2h·r·eps. Where θ is no guess at all, nothing is known.
        return np.fmin(np.maximum(share, 1e-12), 1e90)


def _power_steps(A: Array, M: Array, x: Array, others: _Others) -> tuple[Array, Array, Array]:
    """Rayleigh quotients of A after steps with M = A^h/scale^h, the vectors, and which quotients are certain."""
    last = others.held == POWERS[-1][0]
    for step in range(MOST_STEPS):
        if M is not A:
            x = _times(M, x)
        Ax = _times(A, x)
        length, along, image = _dot(x, x), _dot(x, Ax), _dot(Ax, Ax)
        one = np.maximum(length, 1e-300)
        theta = along / one
        # ρ² = ‖Ax‖² − θ² for ‖x‖ = 1, rounded up by what three sums of r terms lose.
        rho_squared = image / one - (1.0 - 1e-14) * theta**2
        share = others.share(theta)
        gap = theta * (1.0 - share ** (0.5 / others.held))
        # Temple: λ₁ ≤ θ + ρ²/gap.
        allowed = 0.5 * TOLERANCE * theta * gap
        good = ((gap > 0) & (rho_squared <= allowed)) | (others.squares == 0)
        # Where the trace leaves no gap, more steps do not open one; elsewhere each multiplies ρ² by the share.
        in_reach = (gap > 0) & ~good & (last | (rho_squared * share**STEPS_IN_REACH <= allowed))
        if np.count_nonzero(in_reach) <= (0 if last and step else SHARE_WORTH_A_STEP * len(A)):
            break
        if M is A:
            x = Ax / np.sqrt(np.maximum(image, 1e-300))[:, None]
    return theta, x, good


def _times(M: Array, x: Array) -> Array:
    return np.asarray((M @ x[..., None])[..., 0])


def _dot(x: Array, y: Array) -> Array:
    return np.asarray(np.einsum("bi,bi->b", x, y))


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
