"""Where ρ(W) lies, from the best of all bounds: eigenvalue discs, the certificate, powers and their traces.

n·ρ^k ≥ |tr W^k| and ρ^k ≤ ‖B^k‖ for any B = SWS⁻¹. Neither needs an eigenvalue, so they hold where eigenvalues are too
ill-conditioned to mean anything; in a good S the powers are accurate enough for both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.certificate import Certificate
from gradscope.theory.eigen import Eigendecomposition, eigendecompose, permuted_triangle_diagonal
from gradscope.theory.scaled_norm import rounded_up_norm
from gradscope.theory.scaling_starts import scale_without_loss, scaled_matrix
from gradscope.theory.schur import EPS, power_of_two_scale, square_matrix, times_power_of_two

LN2 = float(np.log(2.0))
#: Powers up to 2^12, and sums of two of them.
SQUARINGS = 12
#: An interval for ρ this narrow, relative to ρ, is left as the eigenvalues give it.
NARROW = 1e-9


def with_best_radius(W: Array, known: Eigendecomposition, certificate: Certificate) -> Eigendecomposition:
    """The decomposition with the best interval for ρ, and with eigenvalues of SWS⁻¹ where they are better known.

    Similar matrices share eigenvalues; those of a W whose ill-conditioning is only one of scale are found well after
    scaling.
    """
    high = min(known.spectral_radius_high, certificate.value)
    width = known.spectral_radius_high - known.spectral_radius_low
    if known.exact or width <= NARROW * known.spectral_radius_high:
        # ρ itself is not above what is proved.
        radius = min(known.spectral_radius, high)
        return replace(known, spectral_radius=radius, spectral_radius_high=max(high, radius))
    A, exponent = scale_without_loss(square_matrix(W))
    x = certificate.scaled.log_scales
    low, above = power_bounds(A, x)
    low = max(known.spectral_radius_low, times_power_of_two(low, exponent))
    high = min(high, times_power_of_two(above, exponent))
    B = scaled_matrix(A, x)
    found = known
    if np.isfinite(B).all():
        scaled = eigendecompose(B)
        # Scaling rounds by as much as the eigensolver's backward error allows for once more.
        radii = times_power_of_two(2.0 * scaled.uncertainty, exponent)
        if radii.max() < known.uncertainty.max():
            eigenvalues = times_power_of_two(scaled.eigenvalues, exponent)
            found = replace(known, eigenvalues=eigenvalues, uncertainty=radii)
            middle = 0.5 * (scaled.spectral_radius_low + scaled.spectral_radius_high)
            slack = scaled.spectral_radius_high - scaled.spectral_radius_low
            low = max(low, times_power_of_two(middle - slack, exponent))
            high = min(high, times_power_of_two(middle + slack, exponent))
    radius = min(max(float(np.abs(found.eigenvalues[0])), low), high)
    return replace(found, spectral_radius=radius, spectral_radius_low=low, spectral_radius_high=high)


def spectral_radius(W: Array, certificate: Certificate) -> float:
    """ρ(W) as the verbs print it, without the rest: 0 for a nilpotent pattern, and never above the certificate.

    Eigenvalues of the balanced matrix, in which a W that is ill-conditioned by scale alone is not.
    """
    A, exponent = scale_without_loss(square_matrix(W))
    diagonal = permuted_triangle_diagonal(A)
    if diagonal is None:
        diagonal = np.linalg.eigvals(scaled_matrix(A, certificate.scaled.log_scales))
    return min(times_power_of_two(float(np.abs(diagonal).max()), exponent), certificate.value)


def power_bounds(A: Array, x: Array) -> tuple[float, float]:
    """Bounds below and above on ρ(A) from powers of B = SAS⁻¹, S = e^x, their rounding included.

    Below: (|tr B^k|/n)^(1/k); above: ‖B^k‖^(1/k). The errors E_k of the computed powers are carried in the Frobenius
    norm: ‖E_2k‖ ≤ 2‖B^k‖₂‖E_k‖ + ‖E_k‖² + n·eps‖X_k‖²_F (Higham 2002, §3.5).

    Parameters
    ----------
    A : ndarray, shape (n, n)
        Largest entry about 1.
    """
    n = len(A)
    X = scaled_matrix(A, x)
    if not np.isfinite(X).all() or not X.any():
        return 0.0, float("inf")
    per_product = 1.01 * n * EPS * (2.0 if np.iscomplexobj(X) else 1.0)
    size = float(np.linalg.norm(X)) * (1 + n * EPS)
    error, norm, exponent = 4.0 * EPS * size + n * 1e-300, min(size, rounded_up_norm(A, x)), 0
    powers: list[tuple[int, Array, float, float, int]] = []
    low, high = -np.inf, np.inf
    for j in range(SQUARINGS + 1):
        k = 2**j
        high = min(high, (np.log(norm) + exponent * LN2) / k)
        for k_before, Y, error_y, size_y, exponent_y in [*powers, (0, np.eye(n), 0.0, float(np.sqrt(n)), 0)]:
            trace = abs(np.vdot(Y.conj().T, X)) - (size_y * error + size * error_y + error * error_y)
            trace -= per_product * size * size_y
            if trace > 0:
                low = max(low, (np.log(trace / n) + (exponent + exponent_y) * LN2) / (k + k_before))
        powers.append((k, X, error, size, exponent))
        X, shift = power_of_two_scale(X @ X)
        # Nothing is known of a power whose error is as large as itself.
        if not np.isfinite(X).all() or not X.any() or error > size:
            break
        error = (2 * norm * error + error**2 + per_product * size**2) * 2.0**-shift
        exponent = 2 * exponent + shift
        size = float(np.linalg.norm(X)) * (1 + n * EPS)
        norm = min(size + error, norm**2 * (1 + 4 * EPS) * 2.0**-shift)
    # Logs are right to a few eps of their size; k-th roots make that less.
    return float(np.exp(low)) * (1 - 1e-13), float(np.exp(high)) * (1 + 1e-13)
