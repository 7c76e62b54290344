"""The Kreiss constant: how large powers must become, read off the resolvent outside the unit disc."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.eigen import Eigendecomposition, eigendecompose
from gradscope.theory.resolvent import complex_triangle, smallest_singular_triplet, smallest_singular_values
from gradscope.theory.schur import EPS, square_matrix


@dataclass(frozen=True)
class KreissConstant:
    """A lower bound on K(W) = sup_{|z|>1} (|z| − 1)‖(zI − W)⁻¹‖, attained at z.

    Attributes
    ----------
    value : float
        (|z| − 1)/σ_min(zI − W) ≥ 1 at the best z found; exactly 1 where the supremum is the limit |z| → ∞.
    z : complex or None
        Where it is attained; None for the limit, where an argument would be meaningless.
    n : int
        Size of W.
    high : float
        The same with σ_min smaller by its rounding n·eps·‖W‖; inf where σ_min is all rounding. Equal to ``value`` to
        many digits unless W is both large and close to an eigenvalue.
    """

    value: float
    z: complex | None
    n: int
    high: float = 1.0

    @property
    def power_bound(self) -> float:
        """e·n·``high``. The theorem is sup_k ‖Wᵏ‖ ≤ e·n·K(W): true as far as the search found the global maximum."""
        return float(math.e * self.n * self.high)


def kreiss_constant(
    W: Array, *, decomposition: Eigendecomposition | None = None, starts: int = 4
) -> KreissConstant | None:
    """K(W), as a lower bound: a grid in (ln(|z| − 1), arg z), then ascent from its best local maxima.

    K(W) ≤ sup_k ‖Wᵏ‖ ≤ e·n·K(W). ln(|z| − 1) runs from min(−7, ln(1 − ρ) − 3) to max(4, ln σ₁ + 2); a real W needs the
    upper half plane only, an entrywise nonnegative one only the positive axis, since |R(z)| ≤ R(|z|) entry by entry.

    Parameters
    ----------
    W : ndarray, shape (n, n)
    decomposition : Eigendecomposition, optional
        Of this W, if it is at hand already.
    starts : int
        Local maxima of the grid that are refined.

    Returns
    -------
    KreissConstant or None
        None if ρ(W) ≥ 1, where K is infinite or (ρ = 1) out of this grid's reach; None also for a non-normal W whose
        ρ rounding alone may carry to 1, since K then depends on the last bit of W.

    Notes
    -----
    Cost on one core, beyond the eigendecomposition: 0.1 s at n = 64, 0.5 s at 256, 2.5 s at 512; from n = 400 the grid
    is thinned.

    References
    ----------
    Kreiss 1962; Trefethen and Embree, Spectra and Pseudospectra (2005), eq. (18.2); Mitchell, SIAM J. Matrix Anal.
    Appl. 41 (2020) 1944–1975, for a certified algorithm.

    Examples
    --------
    >>> import numpy as np
    >>> round(kreiss_constant(np.array([[0.5, 100.0], [0.0, 0.5]])).value, 3)
    50.005
    """
    A = square_matrix(W)
    n = A.shape[0]
    known = eigendecompose(A) if decomposition is None else decomposition
    if known.spectral_radius >= 1:
        return None
    if known.is_normal:
        return KreissConstant(1.0, None, n)  # (|z| − 1)/dist(z, spectrum) < 1 everywhere, → 1 at infinity
    if known.spectral_radius_high >= 1:
        return None
    T = complex_triangle(A)
    log_r, theta = _grid(A, known)
    grid = (1 + np.exp(log_r))[:, None] * np.exp(1j * theta)[None, :]
    height = log_r[:, None] - np.log(smallest_singular_values(T, grid, steps=8))
    best: tuple[float, complex | None] = (0.0, None)
    for i, j in _local_maxima(height)[:starts]:
        value, point = _ascend(T, float(log_r[i]), float(theta[j]), on_axis=theta.size == 1)
        if value > best[0]:
            best = (value, point)
    # A finite maximum below 1, or above it only by rounding far out, is the limit at infinity in disguise.
    if best[1] is None or best[0] <= 4 * n * EPS:
        return KreissConstant(1.0, None, n)
    step = abs(best[1]) - 1
    sigma = step / float(np.exp(best[0]))
    # The Schur form is that of W + E: σ_min is known to n·eps·‖W‖, and the bound must hold for W itself. A triangular W
    # is its own Schur form, and triangular solves are accurate entry by entry.
    rounding = 0.0 if known.exact else n * EPS * known.spectral_norm
    high = step / (sigma - rounding) if sigma > rounding else float("inf")
    return KreissConstant(max(1.0, step / (sigma + rounding)), best[1], n, max(1.0, high))


def finite_time_lower_bound(W: Array, k: int, z: complex) -> float:
    """max_{0≤j≤k} ‖Wʲ‖ ≥ rᵏ/(1 + (rᵏ − 1)/κ) with r = |z| > 1 and κ = (r − 1)‖(zI − W)⁻¹‖.

    References
    ----------
    Trefethen and Embree 2005 (recalled; checked against powers in the tests).

    Examples
    --------
    >>> import numpy as np
    >>> finite_time_lower_bound(np.zeros((1, 1)), 3, 2.0) <= 1.0
    True
    """
    A = square_matrix(W)
    r = abs(z)
    if not r > 1:
        raise ValueError(f"the finite-time bound needs |z| > 1, but got |z| = {r:.6g}")
    sigma = float(np.linalg.svd(z * np.eye(A.shape[0]) - A, compute_uv=False)[-1])
    kappa = (r - 1) / sigma
    decay = float(np.exp(-k * np.log(r)))
    # Numerator and denominator times r⁻ᵏ, so that no power overflows.
    return 1 / (decay + (1 - decay) / kappa)


def _grid(A: Array, known: Eigendecomposition) -> tuple[Array, Array]:
    low = min(-7.0, float(np.log1p(-known.spectral_radius)) - 3)
    high = max(4.0, float(np.log(max(known.spectral_norm, 1e-300))) + 2)
    n_r, n_theta = (36, 33) if known.n < 400 else (26, 25)
    log_r = np.linspace(low, high, n_r)
    if np.isrealobj(A) and (A >= 0).all():
        return np.linspace(low, high, 4 * n_r), np.zeros(1)
    if np.isrealobj(A):
        return log_r, np.linspace(0, np.pi, n_theta)
    return log_r, np.linspace(-np.pi, np.pi, 2 * n_theta, endpoint=False)


def _local_maxima(height: Array) -> list[tuple[int, int]]:
    """Grid points no lower than their eight neighbours, highest first; the edges count."""
    padded = np.pad(height, 1, constant_values=-np.inf)
    rows, columns = height.shape
    neighbours = np.stack(
        [padded[1 + a : 1 + a + rows, 1 + b : 1 + b + columns] for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
    )
    where = np.argwhere(height >= neighbours.max(axis=0))
    order = np.argsort([-height[i, j] for i, j in where], kind="stable")
    return [(int(where[k][0]), int(where[k][1])) for k in order]


def _ascend(T: Array, log_r: float, theta: float, *, on_axis: bool) -> tuple[float, complex]:
    """Climb ln((|z| − 1)/σ_min(zI − T)) from one grid point, by gradient and then, where it is not smooth, simplex.

    dσ_min = Re(uᴴ dz v); with r = 1 + e^x: ∂/∂x = 1 − e^x Re(e^{iθ}uᴴv)/σ, ∂/∂θ = −Re(i r e^{iθ}uᴴv)/σ.
    """
    from scipy.optimize import minimize

    guess: Array | None = None

    def negative(x: Array) -> tuple[float, Array]:
        nonlocal guess
        direction = np.exp(1j * (theta if on_axis else x[1]))
        step = np.exp(x[0])
        sigma, u, guess = smallest_singular_triplet(T, complex((1 + step) * direction), guess)
        turn = direction * np.vdot(u, guess)
        slope = np.array([step * turn.real / sigma - 1, ((1 + step) * 1j * turn).real / sigma])
        return float(np.log(sigma) - x[0]), slope[: x.size]

    start = np.array([log_r] if on_axis else [log_r, theta])
    found: Any = minimize(negative, start, jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 60})
    x = found.x
    if np.abs(found.jac).max() > 1e-5:
        # BFGS stalls on a ridge where two singular values meet; the simplex does not need a gradient there.
        options: Any = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 150}
        options["initial_simplex"] = np.vstack([x, *(x + 1e-3 * axis for axis in np.eye(x.size))])

        def height(y: Array) -> float:
            return negative(y)[0]

        again: Any = minimize(height, x, method="Nelder-Mead", options=options)
        x = again.x if again.fun < found.fun else x
    angle = theta if on_axis else float(x[1])
    return -float(negative(x)[0]), complex((1 + np.exp(x[0])) * np.exp(1j * angle))
