"""Spectral norms of many operators at once, from products with vectors alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.linalg.tridiagonal import largest_tridiagonal_eigenvalues

#: Indices of operators to what applies A·Aᵀ of each to a row of its own.
Choose = Callable[[Array], Callable[[Array], Array]]

#: Residual allowed, relative to σ₁²; the singular value is off by at most half of it.
TOLERANCE = 2e-10
FIRST_CHECK, CHECK_EVERY, MOST_STEPS = 9, 3, 160
#: Squares outside lose digits, or are zero, infinite or NaN.
LOW, HIGH = 1e-200, 1e200
#: So many tridiagonal matrices side by side are cheaper than one after the other.
LAGUERRE_FROM = 1024


def squared_norms(choose: Choose, start: Array, first_check: int = 0) -> tuple[Array, Array, int]:
    """‖A_b‖₂² of a stack of operators by Lanczos on A_b·A_bᵀ, all in step.

    The three-term recurrence runs without reorthogonalisation: copies of converged Ritz values appear only after the
    largest has converged (Paige 1980), and that is where it stops: when the residual ρ of the largest Ritz pair is at
    most tol·θ. The sharper ρ²/gap must not be used here: before a cluster at the top is resolved, its Ritz vector is
    a mixture, the gap is that to the next cluster, and the estimate is too small. The starts are random, never special
    vectors.

    Parameters
    ----------
    choose : callable
        Indices of the operators still wanted, to the function V ↦ V·A·Aᵀ, row by row, for these; its result is
        overwritten.
    start : ndarray, shape (B, n)
        Random vectors.
    first_check : int
        Steps before the first look at the Ritz values (what a neighbouring stack needed).

    Returns
    -------
    theta, residual : ndarray, shape (B,)
        ‖A_b‖₂² lies between θ and θ + ρ, and ρ ≤ 2e-10·θ; NaN where it did not converge, or where the square is zero or
        leaves float64's range: decompose those.
    steps : int
        Steps after which three quarters of them had converged.
    """
    B, n = start.shape
    alpha, beta = np.zeros((MOST_STEPS, B)), np.zeros((MOST_STEPS, B))
    theta, rho = np.full(B, np.nan), np.full(B, np.nan)
    check, most = min(max(first_check, FIRST_CHECK), n), MOST_STEPS
    last_seen: tuple[int, float] | None = None
    # The operators iterated on, and which of them are still open.
    rows, open_ = np.arange(B), np.ones(B, dtype=bool)
    square = choose(rows)
    v = start / np.sqrt(np.einsum("bi,bi->b", start, start))[:, None]
    previous, scratch = np.zeros_like(v), np.empty_like(v)
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(MOST_STEPS):
            w = square(v)
            if j:
                w -= np.multiply(previous, beta[j - 1, rows][:, None], out=previous)
            alpha[j, rows] = along = np.einsum("bi,bi->b", v, w)
            w -= np.multiply(v, along[:, None], out=scratch)
            beta[j, rows] = length = np.sqrt(np.einsum("bi,bi->b", w, w))
            if j + 1 >= check or j == MOST_STEPS - 1:
                looked_at = rows[open_]
                found, residual = _largest_ritz_pair(alpha[: j + 1, looked_at], beta[: j + 1, looked_at])
                inside = (found > LOW) & (found < HIGH)
                good = inside & (residual <= TOLERANCE * found)
                theta[looked_at[good]], rho[looked_at[good]] = found[good], residual[good]
                # What is not finite, or is zero, will not converge.
                open_[open_] = inside & ~good
                n_open = np.count_nonzero(open_)
                if 4 * n_open <= B:
                    most = min(most, j + 1)
                if not n_open:
                    break
                share = float(np.median((residual / np.where(inside, found, np.nan))[inside]))
                check = j + 1 + _steps_to_wait(last_seen, (j + 1, share))
                last_seen = (j + 1, share)
                if n_open <= 0.7 * len(rows):
                    rows, length = rows[open_], length[open_]
                    v, previous, scratch, w = v[open_], previous[open_], scratch[open_], w[open_]
                    open_ = np.ones(n_open, dtype=bool)
                    square = choose(rows)
            # An invariant subspace (β = 0) was found converged above, or is hopeless and ends as NaN.
            previous, v = v, np.divide(w, np.where(length > 0, length, 1.0)[:, None], out=previous)
    return theta, rho, most


def _steps_to_wait(before: tuple[int, float] | None, now: tuple[int, float]) -> int:
    """Steps until the next look: half of what the decline of ρ/θ, each given with its step, tells the median will need.

    Half, because convergence gathers speed.
    """
    if before is None or not now[1] < before[1]:
        return CHECK_EVERY
    per_step = math.log(before[1] / now[1]) / (now[0] - before[0])
    return max(CHECK_EVERY, int(0.5 * math.log(now[1] / TOLERANCE) / per_step) if now[1] > TOLERANCE else 0)


def _by_bisection(alpha: Array, beta: Array) -> Array:
    """The largest eigenvalue of one tridiagonal matrix after the other."""
    from scipy.linalg import lapack

    m, B = alpha.shape
    theta = np.full(B, np.nan)
    diagonals, off_diagonals = np.array(alpha.T, order="C"), np.array(beta[: max(m - 1, 1)].T, order="C")
    for b in np.flatnonzero(np.isfinite(diagonals).all(axis=1) & np.isfinite(off_diagonals).all(axis=1)):
        # For the m-th eigenvalue alone.
        theta[b] = lapack.dstebz(diagonals[b], off_diagonals[b], 2, 0.0, 0.0, m, m, 0.0, "E")[1][0]
    return theta


def _largest_ritz_pair(alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Largest eigenvalue θ of every tridiagonal (alpha, beta[:-1]), columns side by side, and the residual β_m·|s_m|.

    The eigenvector s is followed from its last component back to its first, with e_m = θ − α_m,
    s_{j−1} = s_j·e_j/β_{j−1} and e_{j−1} = θ − α_{j−1} − β_{j−1}²/e_j: that way it grows, and the recurrence is stable.
    """
    m, B = alpha.shape
    theta = largest_tridiagonal_eigenvalues(alpha, beta[: m - 1]) if B >= LAGUERRE_FROM else _by_bisection(alpha, beta)
    square, sum_squares = np.ones(B), np.ones(B)
    e = theta - alpha[m - 1]
    for j in range(m - 1, 0, -1):
        # A component that vanishes is followed by one that does not: their product survives, as in a Sturm sequence.
        e = np.where(np.abs(e) < 1e-100, 1e-100, e)
        square = np.minimum(square * (e / np.where(beta[j - 1] > 0, beta[j - 1], 1e-200)) ** 2, 1e200)
        sum_squares = sum_squares + square
        e = theta - alpha[j - 1] - beta[j - 1] ** 2 / e
    return theta, beta[m - 1] / np.sqrt(sum_squares)
