"""The diagonally scaled norm inf_S ‖S W S⁻¹‖₂: the sharpest sufficient test for vanishing that needs W alone.

Diagonal S commutes with D_k = diag φ′, so ‖∏ D_k W‖ ≤ κ(S)·(γ‖S W S⁻¹‖)ᵏ whatever the trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.theory.schur import EPS, power_of_two_scale, square_matrix


@dataclass(frozen=True)
class ScaledNorm:
    """A certified upper bound on inf_S ‖S W S⁻¹‖₂ over positive diagonal S, and the S that proves it.

    Attributes
    ----------
    value : float
        ‖S W S⁻¹‖₂ of this very S, rounded up by (n + 4√n)·eps.
    scales : ndarray, shape (n,)
        Diagonal of S, powers of two apart at most by ``max_condition``, geometric mean about 1.
    log10_condition : float
        log10 κ(S) = log10 (max S / min S).
    """

    value: float
    scales: Array
    log10_condition: float

    def log10_power_bound(self, k: int | Array, slope: float = 1.0) -> Array:
        """log10 of κ(S)·(slope·value)ᵏ ≥ ‖D_k W ⋯ D_1 W‖₂ for all |D_j| ≤ slope; −inf if the value is 0 and k > 0."""
        k = np.asarray(k)
        rate = np.log10(slope * self.value) if slope * self.value > 0 else -np.inf
        return self.log10_condition + np.where(k > 0, np.maximum(k, 1) * rate, 0.0)


def scaled_norm(W: Array, *, max_condition: float = 1e8, max_steps: int | None = None) -> ScaledNorm:
    """Minimise ‖S W S⁻¹‖₂ over diagonal S > 0.

    ln σ₁(e^x W e^{−x}) is convex in x with gradient |u|² − |v|² (u, v the top singular vectors), but not smooth where
    σ₁ is multiple, as it often is at the minimum. So Schatten 2p-norms ‖·‖_{2p} ≥ σ₁ are minimised for growing p, from
    the best of S = I, the balanced S of |W| and its Perron S (optimal for W ≥ 0, where the infimum is ρ(W)).

    Parameters
    ----------
    W : ndarray, shape (n, n)
    max_condition : float
        Largest κ(S), which a bound on powers pays once. The infimum need not be attained: a triangular W wants
        κ(S) → ∞. A smaller limit can give the better bound at short lags.
    max_steps : int, optional
        Norm-and-gradient evaluations, one eigendecomposition each; default 300 up to n = 64, then falling like 1/n² to
        30 (0.15 s at n = 64, 2 s at n = 512). 100 leave the value within 1e-4 of its minimum on Gaussian matrices.

    Returns
    -------
    ScaledNorm
        Never above ‖W‖₂ beyond rounding. Not claimed to be the infimum: an upper bound on it.

    References
    ----------
    Sezginer and Overton, IEEE Trans. Automat. Control 35 (1990) (convexity in ln S); Osborne, J. ACM 7 (1960) 338
    (balancing); Buehner and Young, IEEE Trans. Neural Netw. 17 (2006) 820 (the echo-state test).

    Examples
    --------
    >>> import numpy as np
    >>> found = scaled_norm(np.array([[0.5, 3.0], [0.02, 0.5]]))
    >>> round(found.value, 4)
    0.7449
    """
    A, exponent = power_of_two_scale(square_matrix(W))
    n = A.shape[0]
    half = float(np.log(max_condition)) / 2
    steps = max_steps if max_steps is not None else max(30, min(300, 300 * 64 * 64 // n**2))
    if not A.any():
        return ScaledNorm(0.0, np.ones(n), 0.0)
    starts = [np.zeros(n), _balanced(A), _perron(A)]
    candidates = [np.clip(x - (x.max() + x.min()) / 2, -half, half) for x in starts]
    best = min(candidates, key=lambda x: _sigma(A, x))
    best = _descend(A, best, half, steps)
    scales = np.exp(best)
    # Allowance: two roundings per entry, ‖ΔB‖ ≤ 2eps√n‖B‖, and the SVD's own n·eps, twice over.
    sigma = float(np.linalg.svd(scales[:, None] * A / scales, compute_uv=False)[0])
    sigma *= 1 + (n + 4 * n**0.5) * EPS
    value = sigma * 2.0 ** (exponent // 2) * 2.0 ** (exponent - exponent // 2)
    return ScaledNorm(value, scales, float(np.log10(scales.max() / scales.min()) * (1 + 4 * EPS)))


def _sigma(A: Array, x: Array) -> float:
    return float(np.linalg.norm(np.exp(x)[:, None] * A * np.exp(-x), 2))


def _balanced(A: Array) -> Array:
    """Osborne's S: every row of S|A|S⁻¹ as large as its column, in squares (which minimises the Frobenius norm)."""
    squares = np.abs(A) ** 2
    np.fill_diagonal(squares, 0.0)
    x = np.zeros(A.shape[0])
    for _ in range(20):
        for i in range(x.size):
            weight = np.exp(2 * (x[i] - x))
            row, column = float(squares[i] @ weight), float(squares[:, i] @ (1 / weight))
            if row > 0 and column > 0:
                x[i] += float(np.log(column / row)) / 4
            elif row > 0 or column > 0:
                x[i] += -2.0 if row > 0 else 2.0  # an irreducible part ends here: the infimum lies at infinity
        x -= x.mean()
        x = np.clip(x, -40.0, 40.0)
    return x


def _perron(A: Array) -> Array:
    """½ ln(y/x) with Perron vectors |A|x = ρx, yᵀ|A| = ρyᵀ: then ‖S|A|S⁻¹‖₂ = ρ(|A|) exactly.

    A little is added to every entry, so that reducible matrices have positive vectors too.
    """
    absolute = np.abs(A) + 1e-12 * np.abs(A).max() / A.shape[0]
    right, left = np.ones(A.shape[0]), np.ones(A.shape[0])
    for _ in range(500):
        before = right, left
        # The shift keeps periodic matrices from oscillating.
        right, left = absolute @ right + right, left @ absolute + left
        right, left = right / right.sum(), left / left.sum()
        if np.array_equal(right, before[0]) and np.array_equal(left, before[1]):
            break
    return np.asarray(np.log(left / right) / 2)


def _descend(A: Array, start: Array, half: float, steps: int) -> Array:
    """Minimise ln ‖·‖_{2p}, p = 2, 8, …, by L-BFGS in the box |x| ≤ half, keeping the x of least σ₁ ever seen."""
    from scipy.optimize import minimize

    best, best_sigma, left = start, _sigma(A, start), steps
    x = start

    def objective(y: Array, p: int) -> tuple[float, Array]:
        nonlocal best, best_sigma, left
        left -= 1
        B = np.exp(y)[:, None] * A * np.exp(-y)
        # BᴴB gives the top of the spectrum as well as an SVD would, several times faster; the rest has no weight.
        squares, V = np.linalg.eigh(B.conj().T @ B)
        top = float(squares[-1])
        if np.sqrt(top) < best_sigma:
            best, best_sigma = y.copy(), float(np.sqrt(top))
        # ∇ ln ‖B‖_{2p} = Σ_j w_j (|u_j|² − |v_j|²), w_j = σ_j^{2p}/Σσ^{2p}.
        weights = np.maximum(squares / top, 0.0) ** p
        total = float(weights.sum())
        felt = weights > 1e-18 * total
        V, weights = V[:, felt], weights[felt]
        U = (B @ V) / np.sqrt(squares[felt])
        slope = (np.abs(U) ** 2 - np.abs(V) ** 2) @ (weights / total)
        return float(np.log(top) / 2 + np.log(total) / (2 * p)), slope

    for p in (4, 32, 256, 2048, 16384, 10**6):
        if left <= 0:
            break
        options: Any = {"maxfun": max(5, min(left, steps // 4)), "gtol": 1e-9, "ftol": 1e-13}
        found: Any = minimize(
            objective, best if p > 4 else x, args=(p,), jac=True, method="L-BFGS-B", bounds=[(-half, half)] * x.size,
            options=options,
        )  # fmt: skip
        x = found.x
    return best
