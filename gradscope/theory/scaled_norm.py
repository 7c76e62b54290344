"""The diagonally scaled norm inf_S ‖S W S⁻¹‖₂: the sharpest sufficient test for vanishing that needs W alone.

Diagonal S commutes with D_k = diag φ′, so ‖∏ D_k W‖ ≤ κ(S)·(γ‖S W S⁻¹‖)ᵏ whatever the trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.scaling_starts import balanced, geometric, perron, scale_without_loss, scaled_matrix
from gradscope.theory.schur import EPS, square_matrix, times_power_of_two

#: Up to this size the search always runs; above it only from a start for which γ‖SWS⁻¹‖ is below `PROMISING`.
SEARCH_UP_TO, PROMISING = 16, 1.5


@dataclass(frozen=True)
class ScaledNorm:
    """A certified upper bound on inf_S ‖S W S⁻¹‖₂ over positive diagonal S, and the S that proves it.

    Attributes
    ----------
    value : float
        ‖S W S⁻¹‖₂ of this very S, rounded up by (n + 4√n)·eps.
    log_scales : ndarray, shape (n,)
        ln of the diagonal of S, geometric mean 1. S may be as graded as it likes: only ln κ(S) enters a bound.
    log10_condition : float
        log10 κ(S) = log10 (max S / min S).
    """

    value: float
    log_scales: Array
    log10_condition: float

    def log10_power_bound(self, k: int | Array, slope: float = 1.0) -> Array:
        """log10 of κ(S)·(slope·value)ᵏ ≥ ‖D_k W ⋯ D_1 W‖₂ for all |D_j| ≤ slope; −inf if the value is 0 and k > 0."""
        k = np.asarray(k)
        rate = np.log10(slope * self.value) if slope * self.value > 0 else -np.inf
        return self.log10_condition + np.where(k > 0, np.maximum(k, 1) * rate, 0.0)


def scaled_norm(
    W: Array, *, max_condition: float = np.inf, max_steps: int | None = None, slope: float | None = None
) -> ScaledNorm:
    """Minimise ‖S W S⁻¹‖₂ over diagonal S > 0.

    ln σ₁(e^x W e^{−x}) is convex in x with gradient |u|² − |v|² (u, v the top singular vectors), but not smooth where
    σ₁ is multiple, as it often is at the minimum. So Schatten 2p-norms ‖·‖_{2p} ≥ σ₁ are minimised for growing p, from
    the best of S = I, the balanced S of |W|, its Perron S (optimal for W ≥ 0, where the infimum is ρ(W)) and, for a
    banded W, the best geometric S.

    Parameters
    ----------
    W : ndarray, shape (n, n)
    max_condition : float
        Largest κ(S), which a bound on powers pays once. The infimum need not be attained: a triangular W wants
        κ(S) → ∞. A smaller limit can give the better bound at short lags.
    max_steps : int, optional
        Norm-and-gradient evaluations, one eigendecomposition each; default 300 up to n = 64, then falling like 1/n² to
        30 (0.15 s at n = 64, 2 s at n = 512). 100 leave the value within 1e-4 of its minimum on Gaussian matrices.
    slope : float, optional
        γ, if only γ‖SWS⁻¹‖ < 1 matters: with more than 16 units and a best start above 1.5/γ the search ends there.

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
    A, exponent = scale_without_loss(square_matrix(W))
    n = A.shape[0]
    half = float(np.log(max_condition)) / 2
    steps = max_steps if max_steps is not None else max(30, min(300, 300 * 64 * 64 // n**2))
    if n == 1 or not A.any():
        return ScaledNorm(float(np.abs(np.asarray(W)).max()), np.zeros(n), 0.0)
    starts = [np.zeros(n), *(start for start in (balanced(A), perron(A), geometric(A)) if start is not None)]
    candidates = [np.clip(x - (x.max() + x.min()) / 2, -half, half) for x in starts]
    best = min(candidates, key=lambda x: _sigma(A, x))
    promising = slope is None or n <= SEARCH_UP_TO or slope * _sigma(A, best) * 2.0**exponent < PROMISING
    if steps and promising:
        best = _descend(A, best, half, steps)
    value = times_power_of_two(rounded_up_norm(A, best), exponent)
    return ScaledNorm(value, best - best.mean(), log10_condition_of(best))


def rounded_up_norm(A: Array, x: Array) -> float:
    """‖S A S⁻¹‖₂ for S = e^x as `scaled_matrix` holds it, rounded up; A with its largest entry about 1."""
    n = A.shape[0]
    B = scaled_matrix(A, x)
    if not np.isfinite(B).all():
        return float("inf")
    # Two roundings per entry, ‖ΔB‖ ≤ 2eps√n‖B‖, and the SVD's own n·eps, twice over; entries that underflow.
    sigma = float(np.linalg.svd(B, compute_uv=False)[0])
    return float(sigma * (1 + (n + 4 * n**0.5) * EPS) + n * 1e-300)


def log10_condition_of(x: Array) -> float:
    """log10 κ(e^x), rounded up."""
    # The exponents of S as `scaled_matrix` holds it are right to eps·|x|.
    return float((x.max() - x.min()) / np.log(10.0)) * (1 + 8 * EPS) + 4 * EPS * float(np.abs(x).max())


def _sigma(A: Array, x: Array) -> float:
    B = scaled_matrix(A, x)
    return float(np.linalg.norm(B, 2)) if np.isfinite(B).all() else float("inf")


def _descend(A: Array, start: Array, half: float, steps: int) -> Array:
    """Minimise ln ‖·‖_{2p}, p = 2, 8, …, by L-BFGS in the box |x| ≤ half, keeping the x of least σ₁ ever seen."""
    from scipy.optimize import minimize

    best, best_sigma, left = start, _sigma(A, start), steps
    x = start

    def objective(y: Array, p: int) -> tuple[float, Array]:
        nonlocal best, best_sigma, left
        left -= 1
        B = scaled_matrix(A, y)
        if not (np.abs(B) < 1e100).all():
            # Its square is no number: far from any minimum.
            return 1e3, np.zeros(y.size)
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
        # Without a limit the search stays where e^x and e^−x are numbers, measured from where it starts.
        box = [(-half, half)] * x.size if np.isfinite(half) else [(c - 300.0, c + 300.0) for c in start]
        found: Any = minimize(
            objective, best if p > 4 else x, args=(p,), jac=True, method="L-BFGS-B", bounds=box,
            options=options,
        )  # fmt: skip
        x = found.x
    return best
