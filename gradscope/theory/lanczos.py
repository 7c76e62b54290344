"""‖A_b‖₂ of many operators at once, from products with vectors: Lanczos on A_b·A_bᵀ, all in step.

Theory's own; the measured norms have another one, so that an error in either shows as a difference between columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.jacobians.step_jacobian import Array

#: Indices of the operators still wanted, to the function V ↦ V·A·Aᵀ that takes a row for each of them.
Squares = Callable[[Array], Callable[[Array], Array]]

#: Residual allowed, relative to σ₁²: the singular value is off by at most half of it.
TOLERANCE = 1e-10
FIRST_LOOK, LOOK_EVERY, MOST_STEPS = 8, 4, 160
#: Squares outside lose digits, or are zero, infinite or NaN.
LOW, HIGH = 1e-200, 1e200


def largest_singular_values(squares: Squares, start: Array) -> Array:
    """σ₁ of every operator, to 1e-10 relative at the worst, usually to rounding.

    Three terms without reorthogonalisation: copies of a Ritz value appear only after it has converged, and there the
    iteration ends (Paige 1980). The test is the residual alone. The sharper residual²/gap must not be used: before a
    cluster at the top is resolved, its Ritz vector is a mixture and the gap that to the next cluster.

    Parameters
    ----------
    squares : callable
    start : ndarray, shape (N, n)
        Random rows; a special one may be orthogonal to the top vector.

    Returns
    -------
    ndarray, shape (N,)
        NaN where it did not converge, or where σ₁² is zero or leaves float64's range: decompose those.
    """
    N, n = start.shape
    alpha, beta = np.zeros((MOST_STEPS, N)), np.zeros((MOST_STEPS, N))
    sigma = np.full(N, np.nan)
    rows, wanted = np.arange(N), np.ones(N, dtype=bool)
    square = squares(rows)
    v = start / np.linalg.norm(start, axis=1)[:, None]
    before = np.zeros_like(v)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for j in range(MOST_STEPS):
            w = square(v)
            if j:
                w -= beta[j - 1, rows][:, None] * before
            alpha[j, rows] = along = np.einsum("bi,bi->b", v, w)
            w -= along[:, None] * v
            beta[j, rows] = length = np.sqrt(np.einsum("bi,bi->b", w, w))
            # An invariant subspace ends here: further steps would see copies of what is known.
            ready = wanted & (length <= 1e-13 * np.max(alpha[: j + 1, rows], axis=0))
            if (j + 1 >= FIRST_LOOK and (j + 1 - FIRST_LOOK) % LOOK_EVERY == 0) or j + 1 == n:
                ready = wanted
            if ready.any():
                looked_at = rows[ready]
                theta, residual = top_ritz_pair(alpha[: j + 1, looked_at], beta[: j + 1, looked_at])
                inside = (theta > LOW) & (theta < HIGH)
                good = inside & (residual <= TOLERANCE * theta)
                # σ₁² lies between θ and θ + residual, and as a rule within residual²/gap.
                sigma[looked_at[good]] = np.sqrt(theta[good])
                wanted[np.flatnonzero(ready)[~inside | good]] = False
                if not wanted.any():
                    break
                if np.count_nonzero(wanted) <= 0.7 * len(rows):
                    rows, v, before, w, length = rows[wanted], v[wanted], before[wanted], w[wanted], length[wanted]
                    wanted = np.ones(len(rows), dtype=bool)
                    square = squares(rows)
            before, v = v, w / np.where(length > 0, length, 1.0)[:, None]
    return sigma


def top_ritz_pair(alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Largest eigenvalue θ of the tridiagonal matrices (alpha, beta[:-1]), one per column, and residuals β_m·|s_m|.

    Laguerre's iteration from above on p_m(x) = det(xI − T), whose roots are all real, never passes the largest, and
    converges cubically in the end (linearly towards a cluster seen from afar). With the ratios
    q_j = p_j/p_{j−1} = x − α_j − β_{j−1}²/q_{j−1}, (ln p)′ = Σ q′/q and −(ln p)″ = Σ (q′/q)² − q″/q.

    Parameters
    ----------
    alpha, beta : ndarray, shape (m, N)
        Diagonals, and what stands beside them with β_m last.
    """
    m = len(alpha)
    beside = np.concatenate([beta[:1] * 0, beta[: m - 1], beta[:1] * 0])
    size = np.max(np.abs(alpha) + beside[:-1] + beside[1:], axis=0)  # Gershgorin
    size = np.where((size > 0) & np.isfinite(size), size, 1.0)
    alpha, beta = alpha / size, beta / size
    squares = beta * beta
    x = _largest_root(np.max(alpha + (beside[:-1] + beside[1:]) / size, axis=0), alpha, squares)
    return x * size, size * beta[m - 1] * _last_component(x, alpha, squares)


def _largest_root(start: Array, alpha: Array, squares: Array) -> Array:
    """The largest eigenvalue of every tridiagonal matrix, by Laguerre's iteration from a number above it."""
    m = len(alpha)
    found, open_, x = start.copy(), np.arange(start.size), start
    for _ in range(300):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            q, dq, ddq = x - alpha[0], np.ones_like(x), np.zeros_like(x)
            first, second, above = dq / q, (dq / q) ** 2, q > 0
            for j in range(1, m):
                ratio, share = squares[j - 1] / q, dq / q
                ddq = ratio * (ddq / q - 2.0 * share**2)
                q, dq = x - alpha[j] - ratio, 1.0 + ratio * share
                first, second, above = first + dq / q, second + (dq / q) ** 2 - ddq / q, above & (q > 0)
            step = m / (first + np.sqrt(np.maximum((m - 1) * (m * second - first**2), 0.0)))
        # Where some q is not positive rounding has carried x to the root, or past it.
        step = np.where(above, step, 0.0)
        found[open_] = x = x - step
        going = step > 1e-14 * np.abs(x)
        if not going.any():
            break
        open_, x, alpha, squares = open_[going], x[going], alpha[:, going], squares[:, going]
    return found


def _last_component(x: Array, alpha: Array, squares: Array) -> Array:
    """|s_m| of the unit eigenvector of every tridiagonal matrix for its eigenvalue x.

    From the twisted factorisation at the component k where q_k + e_k − (x − α_k) is least, with the pivots q from the
    top and e from the bottom: s_{j−1} = s_j·β_{j−1}/q_{j−1} above it and s_{j+1} = s_j·β_j/e_{j+1} below it. Either
    recurrence alone is unstable where the vector shrinks in its direction (Dhillon and Parlett 2004).
    """
    m = len(alpha)
    q, e = np.empty_like(alpha), np.empty_like(alpha)
    q[0], e[m - 1] = _off_zero(x - alpha[0]), _off_zero(x - alpha[m - 1])
    for j in range(1, m):
        q[j] = _off_zero(x - alpha[j] - squares[j - 1] / q[j - 1])
        e[m - 1 - j] = _off_zero(x - alpha[m - 1 - j] - squares[m - 1 - j] / e[m - j])
    twist = np.argmin(np.abs(q + e - (x - alpha)), axis=0)
    total, s = np.ones_like(x), np.ones_like(x)
    for j in range(m - 2, -1, -1):
        s = np.where(j < twist, np.minimum(s * squares[j] / q[j] ** 2, 1e200), s)
        total += np.where(j < twist, s, 0.0)
    s = np.ones_like(x)
    for j in range(1, m):
        s = np.where(j > twist, np.minimum(s * squares[j - 1] / e[j] ** 2, 1e200), s)
        total += np.where(j > twist, s, 0.0)
    return np.asarray(np.sqrt(s / total))


def _off_zero(pivot: Array) -> Array:
    return np.where(np.abs(pivot) < 1e-150, 1e-150, pivot)
