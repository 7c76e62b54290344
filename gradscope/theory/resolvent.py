"""Smallest singular values of zI − W at many points z: the resolvent norm 1/σ_min, from one Schur form.

(zI − W) and (zI − T) share singular values, so a whole grid costs triangular solves only. They are done for all points
at once, row by row of T: inverse Lanczos on (zI − T)ᴴ(zI − T) (Trefethen 1999; EigTool).
"""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.schur import EPS

#: Up to this size a stacked dense SVD is faster than triangular solves driven from Python.
DENSE_LIMIT = 24
#: Up to this size one dense SVD is faster than inverse Lanczos at one point.
DENSE_TRIPLET_LIMIT = 48


def complex_triangle(A: Array) -> Array:
    """T of the complex Schur form A = Q T Qᴴ."""
    import scipy.linalg

    T, _ = scipy.linalg.schur(A.astype(np.complex128), output="complex")
    return np.asarray(np.triu(T))


def smallest_singular_values(T: Array, z: Array, *, steps: int = 12) -> Array:
    """Estimate σ_min(zI − T) for upper triangular T at every point of z, from above, to a few digits or better.

    For n ≤ 24 the values are exact to rounding. Otherwise ``steps`` inverse Lanczos steps: the estimate is never below
    the true value (beyond rounding), which makes resolvent norms lower bounds.

    Parameters
    ----------
    T : ndarray, shape (n, n)
    z : ndarray of complex, any shape

    Returns
    -------
    ndarray, shape of z
    """
    points: Array = np.asarray(z, dtype=np.complex128).ravel()
    n = T.shape[0]
    if n <= DENSE_LIMIT:
        sigma = np.linalg.svd(points[:, None, None] * np.eye(n) - T, compute_uv=False)[:, -1]
        return np.asarray(sigma.reshape(np.shape(z)))
    chunk = max(1, 1_000_000 // n)  # 16 MB per vector
    parts = [_inverse_lanczos(T, points[i : i + chunk], steps) for i in range(0, points.size, chunk)]
    return np.concatenate(parts).reshape(np.shape(z))


def smallest_singular_triplet(T: Array, z: complex, start: Array | None = None) -> tuple[float, Array, Array]:
    """σ_min(zI − T) with unit left and right vectors u, v: (zI − T)v = σu, to rounding.

    Inverse Lanczos with full reorthogonalisation until the Ritz residual is below 1e-13 of 1/σ²; a dense SVD for n ≤ 48
    and wherever that does not settle in 60 steps.

    Parameters
    ----------
    start : ndarray, shape (n,), optional
        A guess at v, such as v of a nearby point.
    """
    from scipy.linalg import lapack

    n = T.shape[0]
    M = z * np.eye(n) - T
    if n > DENSE_TRIPLET_LIMIT and np.diag(M).all():
        v = np.random.default_rng(1).standard_normal(n) if start is None else start
        basis = np.zeros((60, n), dtype=np.complex128)
        basis[0] = v / np.linalg.norm(v)
        ritz = np.zeros((60, 60))
        for j in range(59):
            half, _ = lapack.ztrtrs(M, basis[j], trans=2)
            w, _ = lapack.ztrtrs(M, half)
            if not np.isfinite(w).all():
                break
            ritz[j, j] = np.vdot(basis[j], w).real
            for _ in range(2):  # twice is enough
                w -= (basis[: j + 1].conj() @ w) @ basis[: j + 1]
            beta = float(_lengths(w[:, None])[0])
            if j % 3 == 2 or beta == 0:
                values, vectors = np.linalg.eigh(ritz[: j + 1, : j + 1])
                if beta * abs(vectors[-1, -1]) <= 1e-13 * values[-1]:
                    v = vectors[:, -1] @ basis[: j + 1]
                    u = M @ v
                    sigma = float(np.linalg.norm(u))
                    return sigma, u / sigma, v
            ritz[j, j + 1] = ritz[j + 1, j] = beta
            basis[j + 1] = w / beta
    U, sigmas, Vh = np.linalg.svd(M)
    return float(sigmas[-1]), U[:, -1], Vh[-1].conj()


def _inverse_lanczos(T: Array, z: Array, steps: int) -> Array:
    """1/√(largest Ritz value) of ((zI − T)ᴴ(zI − T))⁻¹ for all points in step; vectors are columns of (n, m) arrays.

    Only the largest Ritz value is wanted, and it stays right when orthogonality fades, so three terms suffice.
    """
    n, m = T.shape[0], z.size
    seed = np.random.default_rng(0).standard_normal((2, n))
    v = np.repeat(((seed[0] + 1j * seed[1]) / np.linalg.norm(seed))[:, None], m, axis=1)
    before, beta = np.zeros_like(v), np.zeros(m)
    ritz = np.zeros((m, steps, steps))
    TH = np.ascontiguousarray(T.conj().T)
    upper, lower = _shifted_diagonal(T, z), _shifted_diagonal(TH, z.conj())
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(steps):
            w = _solve_upper(T, upper, _solve_lower(TH, lower, v)) - beta * before
            alpha = np.einsum("nm,nm->m", v.conj(), w).real
            w -= alpha * v
            ritz[:, j, j] = alpha
            beta = _lengths(w)
            if j + 1 < steps:
                ritz[:, j, j + 1] = ritz[:, j + 1, j] = beta
            before, v = v, w / np.where(beta > 0, beta, 1.0)
    # Where the square of the resolvent leaves float64 nothing more is known than that it does.
    lost = ~np.isfinite(ritz).all(axis=(1, 2))
    ritz[lost] = np.eye(steps) * np.finfo(float).max
    top = np.linalg.eigvalsh(ritz)[:, -1]
    return np.asarray(1 / np.sqrt(np.maximum(top, np.finfo(float).tiny)))


def _lengths(w: Array) -> Array:
    """Length of every column, whose square may be beyond float64."""
    largest = np.abs(w).max(axis=0)
    largest = np.where(largest > 0, largest, 1.0)
    return np.asarray(largest * np.linalg.norm(w / largest, axis=0))


def _solve_upper(T: Array, diagonal: Array, right: Array, block: int = 32) -> Array:
    """(zI − T)⁻¹ right for every z, T upper triangular; diagonal = z − diag(T), right and result (n, m)."""
    n = T.shape[0]
    X = right.copy()
    for end in range(n, 0, -block):
        start = max(0, end - block)
        if end < n:
            X[start:end] += T[start:end, end:] @ X[end:]
        for i in range(end - 1, start - 1, -1):
            X[i] += T[i, i + 1 : end] @ X[i + 1 : end]
            X[i] /= diagonal[i]
    return X


def _solve_lower(L: Array, diagonal: Array, right: Array, block: int = 32) -> Array:
    """(zI − L)⁻¹ right for every z, L lower triangular."""
    n = L.shape[0]
    X = right.copy()
    for start in range(0, n, block):
        end = min(n, start + block)
        if start:
            X[start:end] += L[start:end, :start] @ X[:start]
        for i in range(start, end):
            X[i] += L[i, start:i] @ X[start:i]
            X[i] /= diagonal[i]
    return X


def _shifted_diagonal(T: Array, z: Array) -> Array:
    """Z − diag(T), shape (n, m); a point on an eigenvalue is moved off by rounding, so that solves stay finite."""
    difference = z[None, :] - np.diag(T)[:, None]
    smallest = np.broadcast_to(EPS * np.maximum(np.abs(z), 1e-290), difference.shape)
    return np.where(np.abs(difference) < smallest, smallest, difference)
