"""Where to look for a diagonal S with a small ‖S W S⁻¹‖₂: balanced, Perron, geometric; all in the log domain."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.schur import times_power_of_two

LN2 = float(np.log(2.0))


def scale_without_loss(A: Array) -> tuple[Array, int]:
    """A·2^−e with its largest entry about 1, or as close to it as its smallest one allows without being lost."""
    sizes = np.abs(A[A != 0])
    if not sizes.size:
        return A, 0
    largest, smallest = int(np.frexp(sizes.max())[1]), int(np.frexp(sizes.min())[1])
    exponent = min(largest, max(0, smallest + 960))
    return times_power_of_two(A, -exponent), exponent


def scaled_matrix(A: Array, x: Array) -> Array:
    """S A S⁻¹ for S = diag(m·2^e) with m·2^e = exp(x) to rounding: two roundings per entry however graded S is.

    Entries that leave float64 become infinite, or vanish.
    """
    exponent = np.floor(x / LN2)
    mantissa = np.exp(x - exponent * LN2)
    if np.ptp(exponent) < 900 and np.abs(exponent).max() < 900:
        S = np.ldexp(mantissa, exponent.astype(np.int32))
        return np.asarray(S[:, None] * A / S)
    shift = np.clip(exponent[:, None] - exponent, -4000, 4000).astype(np.int32)
    with np.errstate(over="ignore"):
        B = mantissa[:, None] * A / mantissa
        if np.iscomplexobj(B):
            return np.asarray(np.ldexp(B.real, shift) + 1j * np.ldexp(B.imag, shift))
        return np.asarray(np.ldexp(B, shift))


def balanced(A: Array) -> Array | None:
    """Osborne's S: every row of S|A|S⁻¹ as large as its column, in squares (which minimises the Frobenius norm).

    All units move at once, by half of what each alone would need, ten moves to a scaling. None if S = I is balanced.
    """
    x = _largest_entries_balanced(A)
    for _ in range(30):
        squares = np.abs(scaled_matrix(A, x)) ** 2
        np.fill_diagonal(squares, 0.0)
        y = np.zeros_like(x)
        for _ in range(10):
            out, back = np.exp(2 * y), np.exp(-2 * y)
            row, column = out * (squares @ back), back * (squares.T @ out)
            both = (row > 0) & (column > 0)
            step = np.where(both, np.log(np.where(both, column, 1.0) / np.where(both, row, 1.0)) / 8, 0.0)
            # Where only one of them is there an irreducible part ends: the infimum lies at infinity.
            step = np.where((row > 0) & ~both, -0.5, np.where((column > 0) & ~both, 0.5, step))
            y = np.clip(y + step, -20.0, 20.0)
        x = x + y - y.mean()
        if np.abs(y - y.mean()).max() < 1e-2:
            break
    return None if np.ptp(x) < 0.05 else x


def _largest_entries_balanced(A: Array) -> Array:
    """x for which the largest entry of each row of e^x A e^−x is as large as its column's; 0 where squares are numbers.

    In logarithms, so that entries from 10^-300 to 10^300 do no harm.
    """
    n = A.shape[0]
    x = np.zeros(n)
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(A))
    np.fill_diagonal(logs, -np.inf)
    known = logs[np.isfinite(logs)]
    if not known.size or np.abs(known).max() < 150:
        return x
    for _ in range(40 * n):
        now = logs + x[:, None] - x
        step = (now.max(axis=0) - now.max(axis=1)) / 4
        step = np.where(np.isfinite(step), step, 0.0)
        x = x + step
        if np.abs(step).max() < 0.1:
            break
    return np.asarray(x - x.mean())


def perron_vector(A: Array) -> tuple[Array, float, float]:
    """ln v of a positive vector v, and max and min over i of (|A|v)_i/v_i, between which ρ(|A|) lies; not rounded.

    Noda's iteration: (λI − |A|)v⁺ = v with λ = max (|A|v)_i/v_i keeps v positive and converges quadratically for an
    irreducible |A| (Elsner 1976). v is taken into the matrix after each step, so that it may be graded at will.
    """
    x, absolute = -_largest_entries_balanced(A), np.abs(A)
    best, best_x, below = np.inf, x, 0.0
    for _ in range(40):
        B = scaled_matrix(absolute, -x)
        ratios = B.sum(axis=1)
        if not np.isfinite(ratios).all():
            break
        high, low = float(ratios.max()), float(ratios.min())
        below = max(below, low)
        if high < best:
            best, best_x = high, x
        if high - low <= 1e-14 * high:
            break
        try:
            v = np.linalg.solve(high * (1 + 1e-14) * np.eye(x.size) - B, np.ones(x.size))
        except np.linalg.LinAlgError:
            break
        if not (np.isfinite(v).all() and (v > 0).all()):
            break
        x = x + np.log(v / v.max())
    return best_x, best, below


def perron(A: Array) -> Array | None:
    """½ ln(y/v) with Perron vectors |A|v = ρv, yᵀ|A| = ρyᵀ: then ‖S|A|S⁻¹‖₂ = ρ(|A|), and ‖SAS⁻¹‖₂ is no larger.

    A little is added to every entry, so that reducible matrices have positive vectors too. None where even
    ρ(|A|) ≥ √(‖A‖₁‖A‖_∞) ≥ ‖A‖₂, so that nothing is to be had from |A|.
    """
    n = A.shape[0]
    absolute = np.abs(A)
    if absolute.max() > 1e100:
        return None
    ceiling = float(np.sqrt(absolute.sum(axis=0).max() * absolute.sum(axis=1).max()))
    if n > 32 and float(absolute.sum(axis=1).min()) >= 0.7 * ceiling:
        return None
    absolute = absolute + 1e-12 * absolute.max() / n
    right, left = perron_vector(absolute)[0], perron_vector(absolute.T)[0]
    return np.asarray((left - right) / 2)


def geometric(A: Array) -> Array | None:
    """The best S = diag(rⁱ) of a banded A, such as a chain; None if A is not banded."""
    n = A.shape[0]
    rows, columns = np.nonzero(A)
    if n < 3 or np.ptp(np.append(columns - rows, 0)) > max(2, n // 4):
        return None
    from scipy.optimize import minimize_scalar  # a dense W does not wait for it

    places = np.arange(n) - (n - 1) / 2

    def norm(slope: float) -> float:
        B = scaled_matrix(A, slope * places)
        return float(np.linalg.norm(B, 2)) if np.isfinite(B).all() else 1e300

    found: Any = minimize_scalar(norm, bounds=(-8.0, 8.0), method="bounded", options={"xatol": 1e-6, "maxiter": 40})
    return np.asarray(float(found.x) * places)
