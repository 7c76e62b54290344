"""The eigendecomposition W = P Λ P⁻¹, with how far each eigenvalue can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.schur import (
    EPS,
    is_normal_to_rounding,
    power_of_two_scale,
    schur_form,
    square_matrix,
    times_power_of_two,
    unitary_eigenvectors,
)


@dataclass(frozen=True)
class Eigendecomposition:
    """W = P Λ P⁻¹ as far as it exists in float64, and the doubts about it.

    Attributes
    ----------
    eigenvalues : ndarray of complex, shape (n,)
        Modulus descending; equal moduli by real part descending, a conjugate pair with +imag first.
    P : ndarray of complex, shape (n, n)
        Unit eigenvectors as columns, in that order; unitary if W is normal to rounding.
    spectral_radius, spectral_norm : float
        ρ = max|λ| and σ₁ = ‖W‖₂.
    spectral_radius_low, spectral_radius_high : float
        Where ρ of W provably lies, given the backward error of the eigensolver (see ``uncertainty``).
    diagonalizable : bool
        Whether no matrix within rounding of W is seen to be defective: False when two eigenvalues lie within each
        other's uncertainty *and* have lost half the digits, or when κ₂(P) ≥ 1/(n·eps).
    log10_condition : float or None
        log10 κ₂(P); None if not diagonalisable to working precision.
    reconstruction_error : float
        ‖W − PΛP⁻¹‖₂/‖W‖₂, 0 for W = 0; a singular P is replaced by its pseudo-inverse: large, but finite.
    henrici : float
        dep_F/‖W‖_F in [0, 1): 0 for a normal W. 0 for W = 0.
    condition_numbers : ndarray, shape (n,)
        κ_i = ‖x_i‖‖y_i‖/|y_iᴴx_i| ≥ 1; inf where the eigenvectors are orthogonal to working precision (defective).
    uncertainty : ndarray, shape (n,)
        Radius n·κ_i·‖E‖ with ‖E‖ = 4·eps·‖W‖_F, a generous backward error of the QR algorithm, κ_i and ‖W‖_F those of
        the balanced matrix it works on: the eigenvalues of any W + E lie in the union of these discs, and a connected
        union of m discs holds m of them (Bauer–Fike; Demmel 1997, Theorem 4.5). Capped by
        n·(2‖W‖₂)^(1−1/n)·‖E‖^(1/n), true even where κ_i = ∞ (Elsner 1985). Zero if ``exact``.
    ill_conditioned : ndarray of bool, shape (n,)
        Eigenvalues that a rounding of W moves by more than √eps·‖W‖: half their digits mean nothing.
    exact : bool
        W is triangular after a permutation: the eigenvalues are its diagonal entries, without error.
    nilpotent : bool
        ``exact`` and every eigenvalue is 0: ρ = 0 is proved, whatever the eigenvectors look like.
    """

    eigenvalues: Array
    P: Array
    spectral_radius: float
    spectral_radius_low: float
    spectral_radius_high: float
    spectral_norm: float
    diagonalizable: bool
    log10_condition: float | None
    reconstruction_error: float
    henrici: float
    condition_numbers: Array
    uncertainty: Array
    ill_conditioned: Array
    exact: bool
    nilpotent: bool

    @property
    def n(self) -> int:
        """Size of W."""
        return int(self.eigenvalues.size)

    @cached_property
    def is_normal(self) -> bool:
        """Whether W commutes with Wᴴ to rounding."""
        return self.henrici <= self.n * EPS


def eigendecompose(W: Array) -> Eigendecomposition:
    """Diagonalise W = P Λ P⁻¹ and say what can be trusted.

    Parameters
    ----------
    W : ndarray, shape (n, n)
        Real or complex; computed in double precision.

    Raises
    ------
    ShapeError, InputError
        W is not square, or holds NaN or infinities.

    Examples
    --------
    >>> import numpy as np
    >>> found = eigendecompose(np.array([[0.5, 100.0], [0.0, 0.5]]))
    >>> found.spectral_radius, found.diagonalizable, found.log10_condition
    (0.5, False, None)
    """
    A, exponent = power_of_two_scale(square_matrix(W))
    n = A.shape[0]
    frobenius = float(np.linalg.norm(A))
    spectral_norm = float(np.linalg.norm(A, 2))
    form = schur_form(A)
    diagonal = permuted_triangle_diagonal(A)
    backward_error = 4 * EPS * frobenius
    log10_condition: float | None
    if is_normal_to_rounding(form, frobenius):
        eigenvalues, P, kappa = form.eigenvalues, unitary_eigenvectors(form), np.ones(n)
        radii = np.full(n, n * backward_error)
        diagonalizable, log10_condition = True, 0.0
    else:
        eigenvalues, P, kappa, radii = _eigenvectors(A)
        log10_condition = _log10_condition(P)
        diagonalizable = log10_condition is not None and not _within_rounding_of_defective(
            eigenvalues, kappa, n * backward_error
        )
    variation = _spectral_variation(n, spectral_norm, backward_error)
    radii = np.minimum(radii, n * variation)
    order = modulus_descending(eigenvalues)
    eigenvalues, P, kappa, radii = eigenvalues[order], P[:, order], kappa[order], radii[order]
    ill_conditioned = n * EPS * kappa > np.sqrt(EPS)
    error = _reconstruction_error(A, eigenvalues, P, spectral_norm)
    if diagonal is not None:
        exact = diagonal.astype(np.complex128)
        eigenvalues, radii = exact[modulus_descending(exact)], np.zeros(n)
    low, high = _radius_interval(eigenvalues, radii, 0.0 if diagonal is not None else variation)
    high = max(float(np.abs(eigenvalues[0])), min(high, spectral_norm))
    return Eigendecomposition(
        eigenvalues=times_power_of_two(eigenvalues, exponent),
        P=P,
        spectral_radius=times_power_of_two(float(np.abs(eigenvalues[0])), exponent),
        spectral_radius_low=times_power_of_two(low, exponent),
        spectral_radius_high=times_power_of_two(high, exponent),
        spectral_norm=times_power_of_two(spectral_norm, exponent),
        diagonalizable=diagonalizable,
        log10_condition=log10_condition if diagonalizable else None,
        reconstruction_error=error,
        henrici=form.departure / frobenius if frobenius else 0.0,
        condition_numbers=kappa,
        uncertainty=times_power_of_two(radii, exponent),
        ill_conditioned=ill_conditioned,
        exact=diagonal is not None,
        nilpotent=diagonal is not None and not diagonal.any(),
    )


def modulus_descending(eigenvalues: Array) -> Array:
    """Order by modulus descending, then real part descending, then a pair's +imag before its −imag."""
    return np.lexsort((-eigenvalues.imag, np.abs(eigenvalues.imag), -eigenvalues.real, -np.abs(eigenvalues)))


def permuted_triangle_diagonal(A: Array) -> Array | None:
    """A's diagonal if A is triangular after a symmetric permutation, otherwise None.

    That is so exactly when the directed graph of A's off-diagonal entries has no cycle, i.e. as many strongly
    connected components as nodes.
    """
    edges = A != 0
    np.fill_diagonal(edges, False)
    if 2 * np.count_nonzero(edges) > A.shape[0] * (A.shape[0] - 1):
        return None  # more edges than any acyclic graph has
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    components, _ = connected_components(csr_array(edges), directed=True, connection="strong")
    return np.diag(A).copy() if components == A.shape[0] else None


def _eigenvectors(A: Array) -> tuple[Array, Array, Array, Array]:
    """Eigenvalues, unit right eigenvectors, κ_i and uncertainty radii from LAPACK geev's left and right vectors.

    geev works on the balanced B = T⁻¹AT (an exact permutation and scaling by powers of two), so its backward error is
    one of B: the radii are n·κ_i(B)·4eps‖B‖_F, with B's eigenvectors T⁻¹x and Tᴴy.
    """
    import scipy.linalg

    triple: tuple[Array, ...] = scipy.linalg.eig(A, left=True, right=True)
    eigenvalues, left, right = triple
    pair: tuple[Array, ...] = scipy.linalg.matrix_balance(A)
    B, T = pair
    row, scale = np.argmax(T != 0, axis=0), T.sum(axis=0)[:, None]
    radii = B.shape[0] * 4 * EPS * np.linalg.norm(B) * _condition_numbers(left[row] * scale, right[row] / scale)
    right = right / np.linalg.norm(right, axis=0)
    return eigenvalues.astype(np.complex128), right.astype(np.complex128), _condition_numbers(left, right), radii


def _condition_numbers(left: Array, right: Array) -> Array:
    """κ_i = ‖x_i‖‖y_i‖/|y_iᴴx_i|."""
    left, right = left / np.linalg.norm(left, axis=0), right / np.linalg.norm(right, axis=0)
    overlap = np.abs(np.einsum("ij,ij->j", left.conj(), right))
    # An overlap below rounding carries no digit: the pair is orthogonal, the eigenvalue defective.
    defective = overlap <= EPS
    return np.where(defective, np.inf, 1.0 / np.where(defective, 1.0, np.minimum(overlap, 1.0)))


def _log10_condition(P: Array) -> float | None:
    """log10 κ₂(P), or None once κ₂(P) ≥ 1/(n·eps), where P is singular to working precision."""
    singular = np.linalg.svd(P, compute_uv=False)
    if singular[-1] <= P.shape[0] * EPS * singular[0]:
        return None
    return float(np.log10(singular[0] / singular[-1]))


def _within_rounding_of_defective(eigenvalues: Array, kappa: Array, backward_error: float) -> bool:
    """Whether two ill-conditioned eigenvalues are closer than rounding can tell apart.

    A Jordan block of size m, perturbed by δ, splits into m eigenvalues δ^(1/m) apart with κ ~ δ^(1/m − 1): their
    discs κδ always touch, whatever m is, whereas κ₂(P) alone may stay as low as δ^(−1/2). κ_i ≥ 1/√δ/n tells such a
    cluster from a harmless multiple eigenvalue, whose discs touch too.
    """
    suspects = np.flatnonzero(kappa * np.sqrt(EPS) * eigenvalues.size >= 0.5)
    if suspects.size < 2:
        return bool(np.isinf(kappa).any())
    distances = np.abs(eigenvalues[suspects, None] - eigenvalues[None, suspects])
    np.fill_diagonal(distances, np.inf)
    reach = backward_error * kappa[suspects]
    return bool((distances <= reach[:, None] + reach[None, :]).any())


def _reconstruction_error(A: Array, eigenvalues: Array, P: Array, spectral_norm: float) -> float:
    """‖A − PΛP⁻¹‖₂/‖A‖₂ by LU on Pᵀ, or with the pseudo-inverse where P is singular."""
    if spectral_norm == 0.0:
        return 0.0
    scaled = P * eigenvalues
    try:
        rebuilt = np.linalg.solve(P.T, scaled.T).T
    except np.linalg.LinAlgError:
        rebuilt = np.full_like(scaled, np.nan)
    if not np.isfinite(rebuilt).all():
        rebuilt = scaled @ np.linalg.pinv(P)
    return float(np.linalg.norm(A - rebuilt, 2)) / spectral_norm


def _spectral_variation(n: int, spectral_norm: float, perturbation: float) -> float:
    """How far any eigenvalue moves under ‖E‖: (‖W‖ + ‖W + E‖)^(1−1/n)·‖E‖^(1/n) (Elsner 1985), for any W."""
    return float((2 * spectral_norm + perturbation) ** (1 - 1 / n) * perturbation ** (1 / n))


def _radius_interval(eigenvalues: Array, radii: Array, variation: float) -> tuple[float, float]:
    """Low and high for ρ: each connected union of discs holds an eigenvalue, so ρ is at least its nearest point."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    moduli = np.abs(eigenvalues)
    if not radii.any():
        return float(moduli[0]), float(moduli[0])
    touching = np.abs(eigenvalues[:, None] - eigenvalues[None, :]) <= radii[:, None] + radii[None, :]
    count, label = connected_components(csr_array(touching), directed=False)
    lowest = np.full(count, np.inf)
    np.minimum.at(lowest, label, np.maximum(moduli - radii, 0.0))
    low = max(float(lowest.max()), float(moduli[0]) - variation)
    return low, min(float(np.max(moduli + radii)), float(moduli[0]) + variation)
