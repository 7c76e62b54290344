"""Largest eigenvalues of many small Gram matrices: power steps with G, then with high powers of it, each one certified.

Σ μ^2h = ‖G^h‖_F² bounds every eigenvalue but the largest, and the gap that leaves turns a residual into an error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.certificates import TOLERANCE

#: Powers G^h that power steps are made with, each with the squarings that lead to it from the one before.
POWERS = ((1, 0), (16, 4), (128, 3))
#: The same from no guess at all.
COLD_POWERS = ((32, 5), (128, 2))
#: Further steps with one power are worth their while for this share of a stack, if so many should settle it.
SHARE_WORTH_A_STEP, STEPS_IN_REACH, MOST_STEPS = 0.1, 3, 6
#: So many matrices of at most this size are cheaper to decompose than to iterate on.
HANDFUL, DECOMPOSE_UP_TO = 10, 12


def largest_by_squaring(A: Array, x: Array, powers: tuple[tuple[int, int], ...]) -> tuple[Array, Array]:
    """Power steps with A from the guess, then with A¹⁶ and A¹²⁸ for those that need it.

    Each matrix goes only as far up the powers as its own spectrum makes it.

    Parameters
    ----------
    A : ndarray, shape (N, r, r)
    x : ndarray, shape (N, r)
        Guesses.
    powers : tuple of (int, int)
        ``POWERS`` or ``COLD_POWERS``.

    Returns
    -------
    theta : ndarray, shape (N,)
        Relative error at most 2e-11; NaN where nothing certifies it: those have to be decomposed.
    vectors : ndarray, shape (N, r)
    """
    r = A.shape[-1]
    theta, vectors = np.full(len(A), np.nan), np.array(x)
    open_, M, scale = np.arange(len(A)), A, np.ones(len(A))
    squares = np.einsum("bij,bij->b", A, A)
    for held, times in powers:
        if times:
            # ‖M‖_F = 1 before it is squared, hence ‖M‖₂ ≥ r^−½ and at least r^−16 (r ≤ 64: 1e-29) afterwards.
            norm = np.sqrt(np.where(squares > 0, squares, 1.0))
            M = (M.reshape(len(M), -1) * (1.0 / norm)[:, None]).reshape(M.shape)
            scale = scale * norm ** (2.0**times / held)
            for _ in range(times):
                M = M @ M
            squares = np.einsum("bij,bij->b", M, M)
            # A share in every direction: no guess is orthogonal to the top vector by construction.
            x = x / np.sqrt(np.maximum(_dot(x, x), 1e-300))[:, None] + 0.01 / np.sqrt(r)
        value, x, good = _power_steps(A, M, x, _Others(held, scale, squares))
        theta[open_[good]], vectors[open_] = value[good], x
        bad = np.flatnonzero(~good)
        # A handful of the smallest is quicker to decompose.
        if len(bad) <= (HANDFUL if r <= DECOMPOSE_UP_TO else 0):
            break
        open_, x, scale, squares = open_[bad], x[bad], scale[bad], squares[bad]
        A, M = A[bad], A[bad] if M is A else M[bad]
    return theta, vectors


class _Others(NamedTuple):
    """What is known of A^h = scale^h·M: an upper bound on all its eigenvalues but the largest.

    Attributes
    ----------
    held : int
        h.
    scale, squares : ndarray, shape (B,)
        squares = ‖M‖_F², hence Σ λ_i^2h = scale^2h·squares.
    """

    held: int
    scale: Array
    squares: Array

    def share(self, theta: Array) -> Array:
        """(μ/θ)^2h of every other eigenvalue μ is at most tr A^2h/θ^2h − 1, where θ ≤ λ₁."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            share = self.squares / (theta / self.scale) ** (2 * self.held) - 1.0
        # Powers are right to a small multiple of 2h·r·eps. Where θ is no guess at all, nothing is known.
        return np.fmin(np.maximum(share, 1e-12), 1e90)


def _power_steps(A: Array, M: Array, x: Array, others: _Others) -> tuple[Array, Array, Array]:
    """Rayleigh quotients of A after steps with M = A^h/scale^h, the vectors, and which quotients are certain."""
    last = others.held == POWERS[-1][0]
    for step in range(MOST_STEPS):
        if M is not A:
            x = _times(M, x)
        Ax = _times(A, x)
        length, along, image = _dot(x, x), _dot(x, Ax), _dot(Ax, Ax)
        one = np.maximum(length, 1e-300)
        theta = along / one
        # ρ² = ‖Ax‖² − θ² for ‖x‖ = 1, rounded up by what three sums of r terms lose.
        rho_squared = image / one - (1.0 - 1e-14) * theta**2
        share = others.share(theta)
        gap = theta * (1.0 - share ** (0.5 / others.held))
        # Temple: λ₁ ≤ θ + ρ²/gap.
        allowed = 0.5 * TOLERANCE * theta * gap
        good = ((gap > 0) & (rho_squared <= allowed)) | (others.squares == 0)
        # Where the trace leaves no gap, more steps do not open one; elsewhere each multiplies ρ² by the share.
        in_reach = (gap > 0) & ~good & (last | (rho_squared * share**STEPS_IN_REACH <= allowed))
        if np.count_nonzero(in_reach) <= (0 if last and step else SHARE_WORTH_A_STEP * len(A)):
            break
        if M is A:
            x = Ax / np.sqrt(np.maximum(image, 1e-300))[:, None]
    return theta, x, good


def _times(M: Array, x: Array) -> Array:
    return np.asarray((M @ x[..., None])[..., 0])


def _dot(x: Array, y: Array) -> Array:
    return np.asarray(np.einsum("bi,bi->b", x, y))
