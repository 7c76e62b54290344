"""The largest eigenvalues of many symmetric tridiagonal matrices side by side."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.linalg.singular_values import EPS

#: Laguerre's steps converge cubically; more than these are never seen, and what is left open is NaN.
MOST_STEPS = 40
#: Pivots below this are rounding.
TINY = 1e-3 * EPS


def largest_tridiagonal_eigenvalues(alpha: Array, beta: Array) -> Array:
    """λ_max of every tridiagonal matrix with diagonal alpha and off-diagonal beta, columns side by side.

    Laguerre's iteration on the characteristic polynomial p, from Gershgorin's bound down: where all roots are real it
    falls monotonically to the largest, cubically in the end (Wilkinson 1965, chapter 7, section 47). With the pivots
    d_j = λ − α_j − β²_{j−1}/d_{j−1} of λI − T, all positive above λ_max, p = Π d_j, so that G = p'/p = Σ d_j'/d_j and
    H = −G' = Σ (d_j'/d_j)² − d_j''/d_j come from one recurrence.

    Parameters
    ----------
    alpha : ndarray, shape (m, B)
    beta : ndarray, shape (m − 1, B)

    Returns
    -------
    ndarray, shape (B,)
        Right to a small multiple of m·eps·‖T‖; NaN where an entry is not finite.
    """
    m, B = alpha.shape
    reach = np.zeros((m + 1, B))
    reach[1:m] = np.abs(beta)
    reach = reach[:-1] + reach[1:]
    size = (np.abs(alpha) + reach).max(axis=0)
    found = np.where(size == 0, 0.0, np.nan)
    open_ = np.flatnonzero(np.isfinite(size) & (size > 0))
    size = size[open_]
    alpha, squares = alpha[:, open_] / size, (beta[:, open_] / size) ** 2
    value = (alpha + reach[:, open_] / size).max(axis=0)
    for _ in range(MOST_STEPS):
        # Where a pivot is not positive nothing else counts.
        with np.errstate(over="ignore", invalid="ignore"):
            G, H, above = _logarithmic_derivatives(alpha, squares, value)
            step = m / (G + np.sqrt(np.maximum((m - 1) * (m * H - G**2), 0.0)))
        # A pivot that is not positive: rounding has carried λ past the eigenvalue, and it is there already.
        done = ~above | (step <= 4.0 * EPS)
        value = np.where(above, value - step, value)
        found[open_[done]] = (value * size)[done]
        if done.all():
            break
        going = ~done
        open_, value, size = open_[going], value[going], size[going]
        alpha, squares = alpha[:, going], squares[:, going]
    return found


def _logarithmic_derivatives(alpha: Array, squares: Array, value: Array) -> tuple[Array, Array, Array]:
    """Σ 1/(λ − λ_i), Σ 1/(λ − λ_i)² at λ = value, and whether every pivot is positive there; ‖T‖ about 1."""
    d = value - alpha[0]
    above = d > 0
    d = np.maximum(d, TINY)
    first, second = 1.0 / d, np.zeros_like(d)
    G, H = first.copy(), first**2
    for j in range(1, len(alpha)):
        ratio = squares[j - 1] / d
        d = value - alpha[j] - ratio
        above &= d > 0
        d = np.maximum(d, TINY)
        # d_j'/d_j and d_j''/d_j.
        first, second = (1.0 + ratio * first) / d, ratio * (second - 2.0 * first**2) / d
        G += first
        H += first**2 - second
    return G, H, above
