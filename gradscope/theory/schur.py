"""A checked square matrix, and its Schur form: the stable ground under every spectral quantity.

Column vectors throughout; W = Q T Qᴴ with T (quasi-)triangular.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gradscope.errors import InputError, ShapeError
from gradscope.jacobians.step_jacobian import Array

EPS = float(np.finfo(np.float64).eps)
Size = TypeVar("Size", float, Array)


def square_matrix(W: Array) -> Array:
    """W as a float64 or complex128 array, refused if it is not a finite, non-empty square matrix.

    Raises
    ------
    ShapeError
        W is not (n, n) with n ≥ 1.
    InputError
        W holds NaN, an infinity, or something that is not a number.
    """
    A = np.asarray(W)
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise ShapeError(f"a spectrum needs one square matrix (n, n) with n ≥ 1, but got shape {A.shape}")
    if A.dtype.kind not in "biufc":
        raise InputError(f"a spectrum needs numbers, but the matrix holds {A.dtype}")
    A = A.astype(np.complex128 if A.dtype.kind == "c" else np.float64)
    if not np.isfinite(A).all():
        raise InputError("the matrix holds NaN or infinite entries; its spectrum is undefined: check the file")
    return A


def power_of_two_scale(A: Array) -> tuple[Array, int]:
    """A·2⁻ᵉ with largest entry in [½, 1), and e: an exact rescaling, so that squares neither overflow nor vanish."""
    largest = float(np.abs(A).max()) if A.size else 0.0
    if largest == 0.0:
        return A, 0
    exponent = int(np.frexp(largest)[1])
    return times_power_of_two(A, -exponent), exponent


def times_power_of_two(x: Size, exponent: int) -> Size:
    """x·2^exponent by two exact factors: 2^±1074 alone is not a normal double."""
    half = exponent // 2
    return x * 2.0**half * 2.0 ** (exponent - half)


@dataclass(frozen=True)
class SchurForm:
    """W = Q T Qᴴ, real quasi-triangular for real W, triangular for complex W.

    Attributes
    ----------
    T, Q : ndarray, shape (n, n)
    eigenvalues : ndarray of complex, shape (n,)
        In the order of T's diagonal.
    pairs : ndarray of int
        First row of each 2×2 block (complex pair) of a real T.
    departure : float
        dep_F = (‖W‖_F² − Σ|λ|²)^½, summed from the entries above the diagonal rather than by that difference, which
        would stop at √eps (Henrici 1962).
    """

    T: Array
    Q: Array
    eigenvalues: Array
    pairs: Array
    departure: float


def schur_form(A: Array) -> SchurForm:
    """Schur form of a matrix that ``square_matrix`` has passed.

    A standardised real 2×2 block [[a, b], [c, a]] with bc < 0 has eigenvalues a ± i√(−bc) and departure |b + c|:
    ‖B‖_F² − 2|λ|² = (b + c)².
    """
    import scipy.linalg

    if np.array_equal(A, A.conj().T):
        values, Q = np.linalg.eigh(A)
        return SchurForm(np.diag(values), Q, values.astype(np.complex128), np.zeros(0, dtype=np.intp), 0.0)
    T, Q = scipy.linalg.schur(A, output="complex" if np.iscomplexobj(A) else "real")
    eigenvalues = np.diag(T).astype(np.complex128)
    above = np.abs(np.triu(T, 1))
    pairs = np.flatnonzero(np.diag(T, -1)) if np.isrealobj(T) else np.zeros(0, dtype=np.intp)
    if pairs.size:
        b, c = T[pairs, pairs + 1], T[pairs + 1, pairs]
        width = np.sqrt(np.abs(b)) * np.sqrt(np.abs(c))
        eigenvalues[pairs] += 1j * width
        eigenvalues[pairs + 1] -= 1j * width
        above[pairs, pairs + 1] = np.abs(b + c)
    return SchurForm(T, Q, eigenvalues, pairs, float(np.linalg.norm(above)))


def is_normal_to_rounding(form: SchurForm, frobenius: float) -> bool:
    """Whether dep_F is no larger than what rounding in the Schur form itself leaves, n·eps·‖W‖_F."""
    return bool(form.departure <= form.T.shape[0] * EPS * frobenius)


def diagonal_blocks(form: SchurForm) -> Array:
    """D in W ≈ Q D Qᴴ with T's strict (block) upper part deleted: real 2×2 blocks become scaled rotations.

    D is normal and has exactly T's eigenvalues.
    """
    D = np.diag(np.diag(form.T)).astype(form.T.dtype)
    width = form.eigenvalues[form.pairs].imag
    sign = np.sign(form.T[form.pairs, form.pairs + 1])
    D[form.pairs, form.pairs + 1] = sign * width
    D[form.pairs + 1, form.pairs] = -sign * width
    return D


def unitary_eigenvectors(form: SchurForm) -> Array:
    """Orthonormal eigenvectors of Q D Qᴴ (``diagonal_blocks``), in the order of ``form.eigenvalues``.

    A block [[a, s], [−s, a]] has eigenvectors (1, ±i sign s)/√2 for a ± i|s|.
    """
    P = form.Q.astype(np.complex128)
    sign = np.sign(form.T[form.pairs, form.pairs + 1])
    first, second = P[:, form.pairs].copy(), P[:, form.pairs + 1].copy()
    P[:, form.pairs] = (first + 1j * sign * second) / np.sqrt(2)
    P[:, form.pairs + 1] = (first - 1j * sign * second) / np.sqrt(2)
    return P
