"""Departure from normality, its bounds, and the normal control with the same eigenvalues."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.schur import EPS, diagonal_blocks, power_of_two_scale, schur_form, square_matrix


class DepartureBounds(NamedTuple):
    """Bounds on dep_F that need no eigenvalue, widened by their own rounding."""

    low: float
    high: float


def henrici_departure(W: Array) -> float:
    """dep_F/‖W‖_F, from the strict upper part of the Schur form; 0 for a normal matrix and for W = 0.

    dep_F = (‖W‖_F² − Σ|λ|²)^½ in [0, ‖W‖_F]; the Schur form gives it to eps where the difference stops at √eps.

    References
    ----------
    Henrici, Numer. Math. 4 (1962) 24–40.

    Examples
    --------
    >>> import numpy as np
    >>> henrici_departure(np.array([[0.0, 1.0], [0.0, 0.0]]))
    1.0
    """
    A, _ = power_of_two_scale(square_matrix(W))
    frobenius = float(np.linalg.norm(A))
    return schur_form(A).departure / frobenius if frobenius else 0.0


def henrici_bounds(W: Array) -> DepartureBounds:
    """Bound dep_F/‖W‖_F by the commutator C = WᴴW − WWᴴ.

    ‖W‖_F² − (‖W‖_F⁴ − ‖C‖_F²/2)^½ ≤ dep_F² ≤ ((n³ − n)/12)^½ ‖C‖_F, divided by ‖W‖_F²; (0, 0) for W = 0.

    References
    ----------
    Upper: Henrici 1962. Lower: Elsner and Paardekooper, Linear Algebra Appl. 92 (1987) 107–124.
    """
    A, _ = power_of_two_scale(square_matrix(W))
    n = A.shape[0]
    frobenius = float(np.linalg.norm(A))
    if not frobenius:
        return DepartureBounds(0.0, 0.0)
    A = A / frobenius
    commutator = float(np.linalg.norm(A.conj().T @ A - A @ A.conj().T))
    # Two products of n terms with ‖A‖_F = 1 leave at most 2n·eps, in C and in the difference below alike.
    rounding = 4 * n * EPS
    # 1 − √(1 − x) written without cancellation.
    x = min(max(commutator - rounding, 0.0) ** 2 / 2, 1.0)
    low = x / (1 + np.sqrt(1 - x))
    high = np.sqrt((n**3 - n) / 12) * (commutator + rounding)
    return DepartureBounds(float(np.sqrt(low)) * (1 - rounding), min(1.0, float(np.sqrt(high)) * (1 + rounding)))


def normal_surrogate(W: Array) -> Array:
    """The control: a normal matrix with W's eigenvalues, hence ‖Nᵏ‖ = ρᵏ and no transient.

    The Schur form with its strict upper part deleted, Q diag(T) Qᴴ; for a real W it is real, each 2×2 block of a
    complex pair replaced by the scaled rotation with the same eigenvalues.

    Returns
    -------
    ndarray, shape (n, n)
    """
    A, exponent = power_of_two_scale(square_matrix(W))
    form = schur_form(A)
    surrogate = form.Q @ diagonal_blocks(form) @ form.Q.conj().T
    return np.asarray(surrogate * 2.0 ** (exponent // 2) * 2.0 ** (exponent - exponent // 2))
