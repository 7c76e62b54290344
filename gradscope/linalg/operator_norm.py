"""Spectral norms of many operators at once, from products with vectors alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import lapack

from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import exponent_of

#: Relative error allowed in σ₁² by the residual test.
TOLERANCE = 1e-10
FIRST_CHECK, CHECK_EVERY, MOST_STEPS = 9, 3, 160


def operator_norms(
    push: Callable[[Array], Array], pull: Callable[[Array], Array], start: Array, first_check: int = 0
) -> tuple[Array, Array, int]:
    """‖A_b‖₂ of a stack of operators by Lanczos on A_bᵀA_b, all in step.

    The three-term recurrence runs without reorthogonalisation: copies of converged Ritz values appear only after the
    largest has converged (Paige 1980), and that is where it stops: when the residual ρ of the largest Ritz pair has
    ρ ≤ tol·θ, or ρ²/gap ≤ tol·θ with the gap to the next Ritz value (Kato, Temple). That error is added: what comes out
    is an upper estimate, as a factor of a bound should be. The starts are random, never special vectors.

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
                theta, error = _largest_ritz_value(alpha[: j + 1, open_], beta[: j + 1, open_])
                upper = np.where(error <= TOLERANCE * theta, theta + error, np.nan)
                sigma[open_] = upper
                open_ = np.isnan(sigma)
                if not open_.any():
                    break
            previous = v
            # An invariant subspace (β = 0) was found converged above, or is hopeless and ends as NaN.
            v = w / np.where(beta[j] > 0, beta[j], 1.0)[:, None]
            image = push(v)
    return np.sqrt(sigma), exponent, j + 1


def _largest_ritz_value(alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Largest eigenvalue θ of every tridiagonal (alpha, beta[:-1]), columns side by side, and a bound on its error.

    With d_1 = θ − α_1, d_{j+1} = θ − α_{j+1} − β_j²/d_j the eigenvector is s_{j+1} = s_j·d_j/β_j, and its first j
    components alone leave a residual of s_j·(d_j² + β_j²)^½/(Σ s_i²)^½. The least over j is taken: once s_j has fallen
    to the square root of rounding, the recurrence turns to its growing solution and says nothing more.
    """
    m, B = alpha.shape
    theta, second = np.full(B, np.nan), np.zeros(B)
    for b in range(B):
        if np.isfinite(alpha[:, b]).all() and np.isfinite(beta[:, b]).all():
            ritz, _ = lapack.dsterf(alpha[:, b], beta[: max(m - 1, 1), b])
            theta[b] = ritz[-1]
            # Values within the tolerance of θ are copies of it, or as good as.
            apart = ritz[ritz < theta[b] * (1.0 - TOLERANCE)]
            second[b] = apart[-1] if len(apart) else 0.0
    # Σ s_i²/s_j², i ≤ j, relative to the newest component, which shrinks as the pair converges.
    sum_squares = np.ones(B)
    d = theta - alpha[0]
    best = beta[0] ** 2 + d**2
    for j in range(1, m):
        d = np.where(d == 0, 1e-200, d)
        sum_squares = np.minimum(1.0 + sum_squares * np.minimum((beta[j - 1] / d) ** 2, 1e100), 1e100)
        d = theta - alpha[j] - beta[j - 1] ** 2 / d
        best = np.fmin(best, (beta[j] ** 2 + d**2) / sum_squares)
    residual = np.sqrt(best)
    gap = theta - second - residual
    return theta, np.minimum(residual, np.where(gap > 0, residual**2 / np.where(gap > 0, gap, 1.0), np.inf))
