"""The numerical range F(W) = {xᴴWx : ‖x‖ = 1}: its radius (discrete time), abscissa (continuous time) and boundary.

Its support function is h(θ) = λ_max(H(θ)), H(θ) = (e^{iθ}W + e^{−iθ}Wᴴ)/2: F(W) lies in Re(e^{iθ}z) ≤ h(θ).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.schur import EPS, power_of_two_scale, schur_form, square_matrix, times_power_of_two

#: Largest n for which the level-set test solves a 2n × 2n generalised eigenproblem (0.1 s at 64, 1 s at 128).
LEVEL_SET_LIMIT = 128


@dataclass(frozen=True)
class NumericalRadius:
    """w(W) = max |xᴴWx|, between an attained value and a proved bound.

    Attributes
    ----------
    value : float
        Attained: max over the angles tried of λ_max(H(θ)), or ρ(W).
    upper : float
        Proved: w ≤ upper, up to rounding n·eps·‖W‖.
    angle : float
        θ in (−π, π] of the point of F(W) of largest modulus.
    certified : bool
        Whether upper − value ≤ tolerance·value.
    """

    value: float
    upper: float
    angle: float
    certified: bool


def numerical_abscissa(W: Array) -> float:
    """α(W) = λ_max((W + Wᴴ)/2), the initial growth rate of e^{tW}: the continuous-time quantity, not w(W).

    Examples
    --------
    >>> import numpy as np
    >>> numerical_abscissa(np.array([[0.0, 2.0], [0.0, 0.0]]))
    1.0
    """
    A, exponent = power_of_two_scale(square_matrix(W))
    top = float(np.linalg.eigvalsh((A + A.conj().T) / 2)[-1])
    return times_power_of_two(top, exponent)


def numerical_radius(W: Array, *, tolerance: float = 1e-10, max_cuts: int = 400) -> NumericalRadius:
    """w(W) by cutting planes, proved by closed-form bounds, the polygon itself, or a level-set test.

    Each angle θ gives an inner point h(θ) ≤ w and a half plane that holds F(W); the farthest vertex of the polygon
    bounds w from above and names the next angle. Where F(W) is (nearly) a disc about 0 the polygon closes slowly; there
    w ≤ w(|W|) = λ_max((|W| + |W|ᵀ)/2) and w ≤ ρ + dep_F settle nonnegative and normal matrices, and for n ≤ 128 the
    level-set test does: det(z²W − 2ωz + Wᴴ) = 0 has a root on |z| = 1 exactly if h takes the value ω.

    Parameters
    ----------
    W : ndarray, shape (n, n)
    tolerance : float
        Relative gap at which the answer counts as certified.
    max_cuts : int
        Angles tried before the level-set test, or before giving up with ``certified = False``; one angle costs one
        largest eigenvalue (about 40 ms at n = 512).

    References
    ----------
    Mengi and Overton, IMA J. Numer. Anal. 25 (2005) 648–669 (level sets); Uhlig, Numer. Algorithms 52 (2009) 335–353
    (cutting planes); Mitchell, SIAM J. Sci. Comput. 45 (2023) (both together). w(W) ≤ w(|W|): Goldberg, Tadmor and
    Zwas, Linear Multilinear Algebra 2 (1975) 317–326.

    Examples
    --------
    >>> import numpy as np
    >>> round(numerical_radius(0.9 * np.eye(4) + np.eye(4, k=1)).value, 6)
    1.709017
    """
    A, exponent = power_of_two_scale(square_matrix(W))
    found = _numerical_radius_of_scaled(A, tolerance, max_cuts)
    value, upper = (times_power_of_two(size, exponent) for size in (found.value, found.upper))
    return NumericalRadius(value, upper, found.angle, found.certified)


def numerical_range_boundary(W: Array, n_points: int = 128) -> Array:
    """Points xᴴWx on the boundary of F(W), counter-clockwise, one for each of n_points equally spaced normals.

    Returns
    -------
    ndarray of complex, shape (n_points,)
        A closed curve without its last point repeated; flat parts and corners show as few or repeated points.
    """
    A, exponent = power_of_two_scale(square_matrix(W))
    normals = 2 * np.pi * np.arange(n_points) / n_points
    points = np.zeros(n_points, dtype=np.complex128)
    mirror = np.isrealobj(A)
    for j, phi in enumerate(normals):
        if mirror and 2 * j > n_points:
            points[j] = points[n_points - j].conj()
            continue
        _, x = _support(A, -float(phi))
        points[j] = np.vdot(x, A @ x) / np.vdot(x, x)
    return times_power_of_two(points, exponent)


def _numerical_radius_of_scaled(A: Array, tolerance: float, max_cuts: int) -> NumericalRadius:
    n = A.shape[0]
    form = schur_form(A)
    top = int(np.argmax(np.abs(form.eigenvalues)))
    rounding = 1 + n * EPS
    absolute = np.abs(A)
    simple_upper = min(
        float(np.linalg.eigvalsh((absolute + absolute.T) / 2)[-1]) * rounding,
        (float(np.abs(form.eigenvalues[top])) + form.departure) * rounding,
    )
    best_value, best_angle = float(np.abs(form.eigenvalues[top])), float(np.angle(form.eigenvalues[top]))
    # A defective eigenvalue is off by far more than rounding, so ρ counts only where normality makes it exact.
    if form.departure > n * EPS * np.linalg.norm(A):
        best_value, best_angle = 0.0, 0.0
    cuts = _Cuts(lambda theta: _support(A, theta)[0], symmetric=np.isrealobj(A))
    if best_value:
        cuts.best = (best_value, best_angle)
    gap = 1 + max(tolerance, 2 * n * EPS)
    for phi in (0.0, np.pi, np.pi / 2, -np.pi / 2):
        if simple_upper <= cuts.best[0] * gap:
            break
        cuts.add(phi)
    upper = simple_upper
    while upper > cuts.best[0] * gap and len(cuts.angles) < max_cuts:
        vertex = cuts.farthest_vertex()
        upper = min(upper, max(abs(vertex), cuts.best[0]))
        if upper <= cuts.best[0] * gap or cuts.is_stuck(vertex):
            break
        cuts.add(float(np.angle(vertex)))
        if len(cuts.angles) == 60 and n <= LEVEL_SET_LIMIT:
            break  # nearly a disc: the level-set test is cheaper than the cuts still needed
    if upper > cuts.best[0] * gap and n <= LEVEL_SET_LIMIT:
        proved = _level_set_upper(A, cuts, tolerance / 2)
        upper = min(upper, proved)
    value, angle = cuts.best
    return NumericalRadius(value, max(upper, value), angle, upper <= value * gap)


class _Cuts:
    """The half planes Re(e^{−iφ}z) ≤ h that hold F(W), and the best inner point h so far."""

    def __init__(self, support: Callable[[float], float], *, symmetric: bool) -> None:
        self.support = support
        self.symmetric = symmetric
        self.angles: list[float] = []
        self.heights: list[float] = []
        self.best = (0.0, 0.0)

    def add(self, phi: float) -> float:
        """Cut with outward normal e^{iφ}; a real W gives the mirror image for nothing."""
        phi = float(np.angle(np.exp(1j * phi)))
        height = self.support(-phi)
        if height > self.best[0]:
            self.best = (height, phi)
        twins = (phi, -phi) if self.symmetric and 0 < abs(phi) < np.pi else (phi,)
        for angle in twins:
            if angle not in self.angles:
                self.angles.append(angle)
                self.heights.append(height)
        return height

    def is_stuck(self, vertex: complex) -> bool:
        """Whether the next cut would repeat an old one to rounding."""
        gaps = np.abs(np.exp(1j * np.asarray(self.angles)) - np.exp(1j * np.angle(vertex)))
        return bool(gaps.min() < 1e-9)

    def farthest_vertex(self) -> complex:
        """The vertex of largest modulus among neighbouring cuts: an outer bound for max |F(W)|."""
        order = np.argsort(self.angles)
        phi, h = np.asarray(self.angles)[order], np.asarray(self.heights)[order]
        step = np.diff(phi, append=phi[0] + 2 * np.pi)
        # Intersection of neighbouring supporting lines, in the frame of the first: height h₁ and tangential offset.
        offset = (np.roll(h, -1) - h * np.cos(step)) / np.sin(step)
        vertices = (h + 1j * offset) * np.exp(1j * phi)
        return complex(vertices[np.argmax(np.abs(vertices))])


def _support(A: Array, theta: float) -> tuple[float, Array]:
    """h(θ) and its unit eigenvector."""
    import scipy.linalg

    n = A.shape[0]
    turned = np.exp(1j * theta) * A
    H = (turned + turned.conj().T) / 2
    # A dense bisection for one eigenpair costs less than Lanczos here: the edge of a random spectrum has no gap.
    pair: tuple[Array, Array] = scipy.linalg.eigh(
        H, subset_by_index=[n - 1, n - 1], driver="evx", overwrite_a=True, check_finite=False
    )
    return float(pair[0][0]), pair[1][:, 0]


def _level_set_upper(A: Array, cuts: _Cuts, slack: float) -> float:
    """Raise the best inner point until no angle reaches ω = best·(1 + slack); return that proved bound on w.

    Roots z of det(z²A − 2ωz + Aᴴ) on the unit circle are the angles where some eigenvalue of H(θ) equals ω.
    """
    import scipy.linalg

    n = A.shape[0]
    eye, zero = np.eye(n), np.zeros((n, n))
    for _ in range(30):
        omega = cuts.best[0] * (1 + slack)
        left = np.block([[zero, eye], [-A.conj().T, 2 * omega * eye]])
        right = np.block([[eye, zero], [zero, A]])
        alpha, beta = scipy.linalg.eigvals(left, right, homogeneous_eigvals=True)
        # QZ moves a root near a touching point by √(eps/slack)-like amounts: keep all that might be on the circle.
        on_circle = np.abs(np.abs(alpha) - np.abs(beta)) <= 1e-4 * (np.abs(alpha) + np.abs(beta))
        angles = np.sort(np.angle(alpha[on_circle] * beta[on_circle].conj()))
        if not angles.size:
            return float(omega)
        before = cuts.best[0]
        between = angles + np.diff(angles, append=angles[0] + 2 * np.pi) / 2
        for theta in sorted({*angles.tolist(), *between.tolist()}):
            cuts.add(-theta)
        if cuts.best[0] <= max(before, omega):
            return float(omega * (1 + 4 * n * EPS))
    return float("inf")
