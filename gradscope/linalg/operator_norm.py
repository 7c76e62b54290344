"""Spectral norms of many operators at once, from products with vectors alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import exponent_of

#: Residual allowed, relative to σ₁²; the singular value is off by at most half of it.
TOLERANCE = 2e-10
FIRST_CHECK, CHECK_EVERY, MOST_STEPS = 9, 3, 160


def operator_norms(
    push: Callable[[Array], Array], pull: Callable[[Array], Array], start: Array, first_check: int = 0
) -> tuple[Array, Array, int]:
    """‖A_b‖₂ of a stack of operators by Lanczos on A_bᵀA_b, all in step.

    The three-term recurrence runs without reorthogonalisation: copies of converged Ritz values appear only after the
    largest has converged (Paige 1980), and that is where it stops: when the residual ρ of the largest Ritz pair is at
    most tol·θ. The sharper ρ²/gap must not be used here: before a cluster at the top is resolved, its Ritz vector is
    a mixture, the gap is that to the next cluster, and the estimate is too small. θ + ρ is returned, an upper
    estimate, as a factor of a bound should be. The starts are random, never special vectors.

    Parameters
    ----------
    push, pull : callable
        V (B, n) to A·V and to Aᵀ·V, row by row.
    start : ndarray, shape (B, n)
        Random vectors.
    first_check : int
        Steps before the first look at the Ritz values (what a neighbouring stack needed).

    Returns
    -------
    sigma, exponent : ndarray, shape (B,)
        ‖A_b‖ = sigma·2^exponent; NaN where it did not converge, is zero, or is not finite: decompose those.
    steps : int
        Steps taken.
    """
    B, n = start.shape
    v = start / np.sqrt(np.einsum("bi,bi->b", start, start))[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        image = push(v)
        exponent = exponent_of(image[:, None, :])
        exponent = np.where(np.abs(exponent) > 100, exponent, 0)
        scale = np.ldexp(1.0, -exponent)[:, None] if exponent.any() else None
        alpha, beta = np.zeros((MOST_STEPS, B)), np.zeros((MOST_STEPS, B))
        sigma = np.full(B, np.nan)
        open_ = np.ones(B, dtype=bool)
        previous = np.zeros_like(v)
        check = min(max(first_check, FIRST_CHECK), n)
        for j in range(MOST_STEPS):
            w = pull(image * scale) * scale if scale is not None else pull(image)
            if j:
                w -= beta[j - 1][:, None] * previous
            alpha[j] = np.einsum("bi,bi->b", v, w)
            w -= alpha[j][:, None] * v
            beta[j] = np.sqrt(np.einsum("bi,bi->b", w, w))
            if j + 1 >= check or j == MOST_STEPS - 1:
                check = j + 1 + CHECK_EVERY
                theta, residual = _largest_ritz_pair(alpha[: j + 1, open_], beta[: j + 1, open_])
                sigma[open_] = np.where((theta > 0) & (residual <= TOLERANCE * theta), theta + residual, np.nan)
                open_ = np.isnan(sigma)
                if not open_.any():
                    break
            previous = v
            # An invariant subspace (β = 0) was found converged above, or is hopeless and ends as NaN.
            v = w / np.where(beta[j] > 0, beta[j], 1.0)[:, None]
            image = push(v)
    return np.sqrt(sigma), exponent, j + 1


def _largest_ritz_pair(alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Largest eigenvalue θ of every tridiagonal (alpha, beta[:-1]), columns side by side, and the residual β_m·|s_m|.

    The eigenvector s is followed from its last component back to its first, with e_m = θ − α_m,
    s_{j−1} = s_j·e_j/β_{j−1} and e_{j−1} = θ − α_{j−1} − β_{j−1}²/e_j: that way it grows, and the recurrence is stable.
    """
    from scipy.linalg import lapack

    m, B = alpha.shape
    theta = np.full(B, np.nan)
    for b in range(B):
        if np.isfinite(alpha[:, b]).all() and np.isfinite(beta[:, b]).all():
            theta[b] = lapack.dsterf(alpha[:, b], beta[: max(m - 1, 1), b])[0][-1]
    square, sum_squares = np.ones(B), np.ones(B)
    e = theta - alpha[m - 1]
    for j in range(m - 1, 0, -1):
        square = np.minimum(square * (e / np.where(beta[j - 1] > 0, beta[j - 1], 1e-200)) ** 2, 1e200)
        sum_squares = sum_squares + square
        e = theta - alpha[j - 1] - beta[j - 1] ** 2 / np.where(e == 0, 1e-200, e)
    return theta, beta[m - 1] / np.sqrt(sum_squares)
