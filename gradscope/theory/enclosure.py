"""Rigorous enclosures of eigenvalues, by ball arithmetic (Arb, through python-flint).

W's float64 entries are exact dyadic numbers, so that what is enclosed are the eigenvalues of W as it stands, and no
rounding remains outside the balls. The only place that imports flint.

References
----------
F. Johansson, Arb: efficient arbitrary-precision midpoint-radius interval arithmetic, IEEE Trans. Comput. 66 (2017)
1281 (``acb_mat_eig_multiple``, which follows Rump, Acta Numerica 19 (2010) 287, sec. 13.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.errors import MissingExtraError
from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.schur import square_matrix

#: Largest block: 20 s at 128 bits, and eight times that for twice the size.
MOST_ENCLOSED = 128
#: Precisions tried one after the other, in bits.
BITS = (128, 256, 512)
#: Radius that is narrow enough, relative to ρ.
NARROW = 1e-12
#: Up to this size the characteristic polynomial is taken exactly where eigenvalues coincide.
EXACT_UP_TO = 24


@dataclass(frozen=True)
class Enclosure:
    """Every eigenvalue within its disc, with multiplicity.

    Attributes
    ----------
    eigenvalues : ndarray of complex, shape (n,)
        Centres, modulus descending.
    radii : ndarray, shape (n,)
        Of the discs, rounded up; they include the rounding of the centres to float64.
    radius_low, radius_high : float
        ρ(W) is between them.
    bits : int
        Precision of the balls; 0 where the characteristic polynomial was exact.
    """

    eigenvalues: Array
    radii: Array
    radius_low: float
    radius_high: float
    bits: int


def import_flint() -> Any:
    """The flint module.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        import flint
    except ImportError:
        raise MissingExtraError("--certify needs Arb, through python-flint: pip install python-flint") from None
    return flint


def enclose_eigenvalues(W: Array) -> Enclosure | None:
    """Enclose the eigenvalues of a real or complex W; None where they are too many, or cannot be told apart.

    Parameters
    ----------
    W : ndarray, shape (n, n)

    Raises
    ------
    MissingExtraError
        python-flint is not installed.
    """
    flint = import_flint()
    A = square_matrix(W)
    if len(A) > MOST_ENCLOSED:
        return None
    before = flint.ctx.prec
    try:
        for bits in BITS:
            flint.ctx.prec = bits
            try:
                balls = flint.acb_mat([[_ball(flint, entry) for entry in row] for row in A]).eig(multiple=True)
            except ValueError:
                continue  # not isolated at this precision
            found = _enclosure(flint, balls, bits)
            if found.radii.max(initial=0.0) <= NARROW * found.radius_high:
                return found
        return _of_characteristic_polynomial(flint, A) if len(A) <= EXACT_UP_TO and not np.iscomplexobj(A) else None
    finally:
        flint.ctx.prec = before


def _ball(flint: Any, entry: Any) -> Any:
    return flint.acb(float(np.real(entry)), float(np.imag(entry)))


def _of_characteristic_polynomial(flint: Any, A: Array) -> Enclosure:
    """Roots of det(zI − W), with multiplicity: its coefficients are rational numbers, and taken exactly."""
    flint.ctx.prec = BITS[-1]
    exact = flint.fmpq_mat(
        [[flint.fmpq(*float(entry).as_integer_ratio()) for entry in row] for row in np.asarray(A, dtype=np.float64)]
    )
    balls = [root for root, multiplicity in exact.charpoly().complex_roots() for _ in range(int(multiplicity))]
    return _enclosure(flint, balls, 0)


def _enclosure(flint: Any, balls: list[Any], bits: int) -> Enclosure:
    centres, radii, low, high = [], [], [], []
    for ball in balls:
        z = flint.acb(ball)
        centre = complex(z.mid())
        centres.append(centre)
        radii.append(_up(flint, (z - flint.acb(centre.real, centre.imag)).abs_upper()))
        high.append(_up(flint, z.abs_upper()))
        low.append(max(0.0, -_up(flint, -z.abs_lower())))
    eigenvalues, sizes = np.array(centres, dtype=np.complex128), np.array(radii)
    order = np.lexsort((-eigenvalues.imag, -eigenvalues.real, -np.abs(eigenvalues)))
    return Enclosure(eigenvalues[order], sizes[order], max(low, default=0.0), max(high, default=0.0), bits)


def _up(flint: Any, x: Any) -> float:
    """The nearest float64 that is not below an arb's upper end."""
    value = float(x.upper())
    return value if flint.arb(value) >= x.upper() else math.nextafter(value, math.inf)
