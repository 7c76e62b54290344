"""W = P Λ P⁻¹ written out, and the article's step from it: W^k = P Λ^k P⁻¹, power by power.

The article has W = P⁻¹ΣP and then W^T = Σ^T, as if P were not there. Beside ‖W^k‖ stand |λ_m|^k, which is what would
be left, and ‖P Λ^k P⁻¹‖, which is right where W is diagonalisable (theory.md C02).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.eigen import Eigendecomposition
from gradscope.theory.power_norms import power_norms

#: Powers that are written out.
POWERS = (0, 1, 2, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class WrittenOut:
    """The matrices of one block.

    Attributes
    ----------
    P : ndarray of complex, shape (n, n)
        Unit eigenvectors as columns, in the order of the eigenvalues.
    P_inverse : ndarray of complex, shape (n, n), or None
        None where W is not diagonalisable to working precision.
    W : ndarray, shape (n, n), or None
        P Λ P⁻¹ multiplied out; its imaginary part is rounding and left out.
    log10_eigenvalue_powers : ndarray, shape (len(POWERS), n)
        k·log10 |λ_m|; NaN for an exact zero.
    log10_power_norms, log10_rebuilt_norms : ndarray, shape (len(POWERS),)
        log10 ‖W^k‖₂ by multiplication, and log10 ‖P Λ^k P⁻¹‖₂; NaN for an exact zero, or where there is no P⁻¹.
    """

    P: Array
    P_inverse: Array | None
    W: Array | None
    log10_eigenvalue_powers: Array
    log10_power_norms: Array
    log10_rebuilt_norms: Array


def write_out(W: Array, eigen: Eigendecomposition) -> WrittenOut:
    """P, P⁻¹, the W they rebuild, and what becomes of powers.

    >>> from gradscope.theory.eigen import eigendecompose
    >>> W = np.array([[0.0, 2.0], [0.5, 0.0]])
    >>> bool(np.allclose(write_out(W, eigendecompose(W)).W, W))
    True
    """
    ks = np.array(POWERS)
    norms = power_norms(W, POWERS[-1])
    moduli = np.abs(eigen.eigenvalues)
    with np.errstate(divide="ignore"):
        logs = np.log10(moduli)
    # 0⁰ = 1: at k = 0 every eigenvalue has power 1.
    powers = np.where(ks[:, None] == 0, 0.0, ks[:, None] * np.where(np.isfinite(logs), logs, np.nan))
    rebuilt_norms = np.full(len(ks), np.nan)
    if not eigen.diagonalizable:
        return WrittenOut(eigen.P, None, None, powers, norms.log10_norm[ks], rebuilt_norms)
    P_inverse = np.linalg.inv(eigen.P)
    rebuilt = (eigen.P * eigen.eigenvalues) @ P_inverse
    largest = float(moduli.max(initial=0.0))
    for place, k in enumerate(POWERS):
        if largest > 0 or k == 0:
            scaled = eigen.eigenvalues / largest if largest > 0 else eigen.eigenvalues
            norm = float(np.linalg.norm((eigen.P * scaled**k) @ P_inverse, 2))
            rebuilt_norms[place] = np.log10(norm) + (k * np.log10(largest) if k else 0.0)
    return WrittenOut(eigen.P, P_inverse, rebuilt.real, powers, norms.log10_norm[ks], rebuilt_norms)
