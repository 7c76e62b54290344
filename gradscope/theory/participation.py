"""Which units hold the slow modes: participation factors of the eigenvalues of largest modulus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.eigen import Eigendecomposition

#: Modes looked at, a conjugate pair being one.
SLOW_MODES = 5


@dataclass(frozen=True)
class SlowMode:
    """One eigenvalue and who takes part in it.

    Attributes
    ----------
    eigenvalue : complex
        Of a conjugate pair the one above the real axis.
    eigenvector : ndarray of complex, shape (n,)
        Of unit length.
    participation : ndarray, shape (n,)
        |∂λ/∂W_ii| = |P_im P⁻¹_mi| of every unit i, as a share of their sum (Pérez-Arriaga, Verghese and Schweppe 1982).
    """

    eigenvalue: complex
    eigenvector: Array
    participation: Array

    @property
    def units(self) -> float:
        """In how many units the mode lives, 1/Σ p²: 1 for one unit alone, n for all alike."""
        return float(1.0 / np.square(self.participation).sum())

    @property
    def steps(self) -> float | None:
        """−1/ln |λ|, the steps in which the mode falls to 1/e in a linear network; None where it does not fall."""
        modulus = abs(self.eigenvalue)
        return float(-1.0 / np.log(modulus)) if 0 < modulus < 1 else None


def slow_modes(eigen: Eigendecomposition, count: int = SLOW_MODES) -> list[SlowMode]:
    """The modes of largest modulus; none where W is not diagonalisable to working precision.

    >>> from gradscope.theory.eigen import eigendecompose
    >>> mode, _ = slow_modes(eigendecompose(np.diag([0.5, 0.9])))
    >>> mode.eigenvalue.real, mode.participation.tolist(), mode.units
    (0.9, [0.0, 1.0], 1.0)
    """
    if not eigen.diagonalizable or not eigen.n:
        return []
    places = [m for m in range(eigen.n) if eigen.eigenvalues[m].imag >= 0][:count]
    # Rows of P⁻¹: the left eigenvectors that belong to these columns.
    left = np.linalg.solve(eigen.P.T, np.eye(eigen.n)[:, places])
    modes = []
    for place, m in enumerate(places):
        shares = np.abs(eigen.P[:, m] * left[:, place])
        modes.append(SlowMode(complex(eigen.eigenvalues[m]), eigen.P[:, m], shares / shares.sum()))
    return modes
