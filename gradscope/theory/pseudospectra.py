"""Pseudospectra: where eigenvalues may go if W is perturbed by ε, and what that says about its powers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.eigen import eigendecompose
from gradscope.theory.resolvent import complex_triangle, smallest_singular_triplet, smallest_singular_values
from gradscope.theory.schur import EPS, power_of_two_scale, square_matrix, times_power_of_two

#: Largest n for which the criss-cross search solves 2n × 2n eigenproblems (2 s at 100, minutes at 512).
CRISS_CROSS_LIMIT = 100


@dataclass(frozen=True)
class PseudospectralRadius:
    """ρ_ε(W) = max {|z| : σ_min(zI − W) ≤ ε}, attained at z.

    Attributes
    ----------
    value : float
        |z|; never below ρ(W) + ε.
    certified : bool
        The criss-cross search ended: no circle of larger radius meets the pseudospectrum. False above its size limit,
        where the value is a lower bound.
    """

    value: float
    z: complex
    epsilon: float
    certified: bool


def pseudospectral_radius(
    W: Array, epsilon: float, *, criss_cross_limit: int = CRISS_CROSS_LIMIT
) -> PseudospectralRadius:
    """ρ_ε(W) by criss-cross search: outwards along rays, then around circles, until no circle meets Λ_ε(W).

    On the ray re^{iθ}, σ = ε is a singular value where ir is an eigenvalue of [[ie^{iθ}Wᴴ, −εI], [εI, ie^{−iθ}W]];
    on the circle |z| = r, where e^{iθ} is an eigenvalue of the pencil [[−εI, W], [rI, 0]] − λ[[0, rI], [Wᴴ, −εI]].
    Rounding may hide a small component about an eigenvalue, so ρ_ε ≥ ρ + ε is enforced and the outermost eigenvalues'
    rays are tried first.

    Parameters
    ----------
    W : ndarray, shape (n, n)
    epsilon : float
        ε > 0, an absolute perturbation in the spectral norm.
    criss_cross_limit : int
        Above this n, σ = ε is followed outwards from a few rays instead (2–5 s at n = 512): a lower bound,
        ``certified`` False.

    References
    ----------
    Mengi and Overton, IMA J. Numer. Anal. 25 (2005) 648–669; Trefethen and Embree 2005, ch. 14–16.

    Examples
    --------
    >>> import numpy as np
    >>> round(pseudospectral_radius(np.diag([0.5, -0.2]), 0.1).value, 12)
    0.6
    """
    if not 0 < epsilon < np.inf:
        raise UsageError(f"a pseudospectrum needs ε > 0, but got {epsilon}")
    A, exponent = power_of_two_scale(square_matrix(W))
    found = _of_scaled(A, float(np.ldexp(epsilon, -exponent)), criss_cross_limit)
    z = complex(times_power_of_two(np.asarray(found.z), exponent))
    return PseudospectralRadius(times_power_of_two(found.value, exponent), z, epsilon, found.certified)


def _of_scaled(A: Array, epsilon: float, criss_cross_limit: int) -> PseudospectralRadius:
    known = eigendecompose(A)
    top = known.eigenvalues[0]
    modulus = known.spectral_radius
    direction = complex(top / modulus) if modulus else 1.0 + 0.0j
    floor = (modulus + epsilon, direction * (modulus + epsilon))
    # A perturbation below rounding leaves nothing to search.
    if known.is_normal or epsilon < EPS * known.spectral_norm:
        return PseudospectralRadius(floor[0], floor[1], epsilon, known.is_normal)
    if A.shape[0] <= criss_cross_limit:
        value, z, certified = _criss_cross(A, known.eigenvalues, epsilon, floor)
    else:
        value, z = _outermost_on_rays(A, known.eigenvalues, epsilon, floor)
        certified = False
    return PseudospectralRadius(value, z, epsilon, certified)


def _criss_cross(
    A: Array, eigenvalues: Array, epsilon: float, floor: tuple[float, complex]
) -> tuple[float, complex, bool]:
    best, z = floor
    angles = np.unique(np.angle(eigenvalues[np.argsort(-np.abs(eigenvalues))[:8]]))
    for _ in range(40):
        radii = [(_farthest_on_ray(A, float(theta), epsilon), float(theta)) for theta in angles]
        radius, theta = max(radii, default=(0.0, 0.0))
        grew = radius > best * (1 + 1e-13)
        if grew:
            best, z = radius, radius * np.exp(1j * theta)
        # Slightly outside the best circle, so that the boundary point just found does not count as a crossing.
        outside = best * (1 + 1e-11)
        angles = _arcs_inside(A, outside, epsilon)
        if not angles.size:
            return best, complex(z), True
    return best, complex(z), False


def _farthest_on_ray(A: Array, theta: float, epsilon: float) -> float:
    n = A.shape[0]
    eye = epsilon * np.eye(n)
    turned = np.exp(-1j * theta) * A
    H = np.block([[1j * turned.conj().T, -eye], [eye, 1j * turned]])
    values = np.linalg.eigvals(H)
    # Rounding moves a double root (a tangent ray) off the axis by √eps.
    on_axis = np.abs(values.real) <= 1e-7 * max(1.0, float(np.abs(values).max()))
    candidates = np.sort(values.imag[on_axis])[::-1]
    for r in candidates[candidates > 0]:
        sigma = float(np.linalg.svd(r * np.eye(n) - turned, compute_uv=False)[-1])
        if sigma <= epsilon * (1 + 1e-9):
            return float(r)
    return 0.0


def _arcs_inside(A: Array, radius: float, epsilon: float) -> Array:
    """Midpoints of the arcs of |z| = radius on which σ_min(zI − A) < ε."""
    import scipy.linalg

    n = A.shape[0]
    eye, zero = np.eye(n), np.zeros((n, n))
    left = np.block([[-epsilon * eye, A], [radius * eye, zero]])
    right = np.block([[zero, radius * eye], [A.conj().T, -epsilon * eye]])
    alpha, beta = scipy.linalg.eigvals(left, right, homogeneous_eigvals=True)
    on_circle = np.abs(np.abs(alpha) - np.abs(beta)) <= 1e-5 * (np.abs(alpha) + np.abs(beta))
    crossings = np.sort(np.angle(alpha[on_circle] * beta[on_circle].conj()))
    if not crossings.size:
        return crossings
    middle = crossings + np.diff(crossings, append=crossings[0] + 2 * np.pi) / 2
    tried = np.concatenate([middle, crossings])
    inside = smallest_singular_values(complex_triangle(A), radius * np.exp(1j * tried), steps=30) < epsilon
    return np.asarray(tried[inside])


def _outermost_on_rays(
    A: Array, eigenvalues: Array, epsilon: float, floor: tuple[float, complex]
) -> tuple[float, complex]:
    """Maximise the boundary radius r(θ) near the outermost of 64 rays and near the three outermost eigenvalues."""
    from scipy.optimize import minimize_scalar

    T = complex_triangle(A)
    outer = float(np.linalg.norm(A, 2)) + epsilon  # ρ_ε ≤ ‖A‖ + ε
    spacing = 2 * np.pi / 64
    angles = spacing * np.arange(-32, 32)
    radii = np.linspace(floor[0], outer, 24)
    sigma = smallest_singular_values(T, radii[:, None] * np.exp(1j * angles)[None, :], steps=10)
    rows, columns = np.nonzero(sigma <= epsilon)
    starts = []
    for x in eigenvalues[np.argsort(-np.abs(eigenvalues))[:6]]:
        radius = _boundary_radius(T, float(np.angle(x)), epsilon, float(abs(x)) + epsilon)
        # About an isolated eigenvalue Λ_ε is nearly a disc of radius κε: look no further to the sides than that.
        starts.append(
            (radius, float(np.angle(x)), min(spacing, max(radius / float(abs(x)) - 1, 0.0) if x else spacing))
        )
    if rows.size:
        furthest = int(np.argmax(rows))
        starts.append((float(radii[rows[furthest]]), float(angles[columns[furthest]]), spacing))
    if np.isrealobj(A):
        starts = [(r, abs(theta), width) for r, theta, width in starts]
    best, z = floor
    for radius, angle, width in sorted(set(starts), reverse=True)[:4]:

        def shortfall(theta: float, radius: float = radius) -> float:
            return -_boundary_radius(T, theta, epsilon, radius)

        near = (angle - width, angle + width)
        found: Any = minimize_scalar(shortfall, bounds=near, method="bounded", options={"xatol": 1e-9, "maxiter": 30})
        if -found.fun > best:
            best, z = -float(found.fun), -float(found.fun) * np.exp(1j * float(found.x))
    return best, complex(z)


def _boundary_radius(T: Array, theta: float, epsilon: float, radius: float) -> float:
    """R with σ_min(Re^{iθ} − T) = ε by Newton's method from a nearby radius; 0 if it leads inwards or nowhere."""
    direction = np.exp(1j * theta)
    guess: Array | None = None
    for _ in range(30):
        sigma, u, guess = smallest_singular_triplet(T, complex(radius * direction), guess)
        if abs(sigma - epsilon) <= max(1e-12 * epsilon, 8 * EPS * radius):
            return radius
        slope = float((direction * np.vdot(u, guess)).real)
        if slope <= 0:
            return 0.0
        radius -= (sigma - epsilon) / slope
    return 0.0
