"""Largest eigenvalues of Gram matrices by Lanczos, a stack of them in step, each one certified.

In a basis that begins with m Lanczos vectors, G = [[T, B], [Bᵀ, C]] and B holds nothing but β_m. What is left of the
Frobenius norm, c = ‖C‖_F, bounds everything that was not looked at, so that with C ≤ cI the largest eigenvalue Θ of

    T⁺ = [[T, β_m e_m], [β_m e_mᵀ, c]]

is an upper bound on λ_max(G). Its eigenvector (s, x) also says how far the quotient of y = Qs in G falls short of Θ:
Ts = Θs − β_m x e_m, hence yᵀGy/yᵀy = Θ − β_m x s_m/(1 − x²). Lanczos stops where that is little enough; the quotient is
then taken from y itself, not from T, and compared with Θ. Where c ≥ θ (the first few lags of a product, whose singular
values still crowd), nothing is known of the rest, and a Cholesky factor of θ(1 + δ)I − G decides instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.certificates import TOLERANCE, eigenvalue_error, everything_else, nothing_above
from gradscope.linalg.gram import FULL_UP_TO, gram_squares

#: The share of the tolerance that bounds may leave.
ENOUGH = 0.2 * TOLERANCE
FIRST_CHECK, CHECK_EVERY, MOST_STEPS = 3, 2, 72
#: Of the steps that look superfluous this share is left out next time, of those that look missing this share taken
#: before the next look: the last ones bring more than the first.
CAUTION = 0.6
#: β below this share of ‖G‖_F is rounding: the Krylov space is invariant.
BREAKDOWN = 1e-14


def largest_by_lanczos(G: Array, start: Array, first_check: int = 0) -> tuple[Array, Array, int]:
    """Largest eigenvalue of each of a stack of symmetric positive semidefinite matrices.

    Parameters
    ----------
    G : ndarray, shape (N, r, r)
        As :func:`gradscope.linalg.gram.gram` makes them: upper triangles if r > ``FULL_UP_TO``.
    start : ndarray, shape (N, r)
        Guesses; zero stands for none.
    first_check : int
        Steps before the first look at the Ritz values (about what neighbouring problems needed).

    Returns
    -------
    theta : ndarray, shape (N,)
        Relative error at most 2e-11; NaN where nothing certifies it: those have to be decomposed.
    vectors : ndarray, shape (N, r)
    steps : int
        Steps that should have been enough.
    """
    N, r, _ = G.shape
    times = _multiplier(G)
    squares = gram_squares(G)
    floor = BREAKDOWN * np.sqrt(squares)
    most = min(MOST_STEPS, r)
    Q = np.empty((N, most + 1, r))
    alpha, beta = np.zeros((N, most)), np.zeros((N, most))
    Q[:, 0] = _with_a_share_of_everything(start)
    check = max(first_check, FIRST_CHECK)
    for j in range(most):
        basis = Q[:, : j + 1]
        across = basis.transpose(0, 2, 1)
        w = times(Q[:, j])
        along = basis @ w
        w -= across @ along
        # Twice is enough (Kahan, Parlett 1980, section 6-9), once is not: Ritz values of a basis that is not
        # orthogonal come out too large.
        w -= across @ (basis @ w)
        alpha[:, j] = along[:, j, 0]
        w = w[..., 0]
        length = np.sqrt(_dot(w, w))
        broken = length <= floor
        ended = j + 1 == most
        if broken.any():
            w[broken] = 0.0
            length = np.where(broken, 0.0, length)
            ended = ended or bool(broken.all())
        beta[:, j] = length
        np.divide(w, np.maximum(length, 1e-300)[:, None], out=Q[:, j + 1])
        if j + 1 >= check or ended:
            ritz = _RitzPairs(alpha[:, : j + 1], beta[:, : j + 1], squares)
            if ended or ritz.promising.all():
                theta, vectors = ritz.certified(G, times, basis)
                if ended or not np.isnan(theta).any():
                    return theta, vectors, j + 1 - max(0, ritz.steps_to_spare())
            check = j + 1 + max(CHECK_EVERY, min(-ritz.steps_to_spare(), j // 4))
    raise AssertionError("the last step returns")


class _RitzPairs:
    """The largest eigenpair of every T⁺, or of T where nothing is known of the rest.

    Attributes
    ----------
    theta, weights : ndarray, shapes (N,) and (N, m)
        Θ, or the Ritz value θ, and y in the Lanczos basis.
    blind : ndarray of bool, shape (N,)
        Where nothing is known of the rest.
    short : ndarray, shape (N,)
        How far the quotient of y should fall short of λ_max, relative to it.
    promising : ndarray of bool, shape (N,)
        Where that is little enough.
    """

    def __init__(self, alpha: Array, beta: Array, squares: Array) -> None:
        N, m = alpha.shape
        rest = everything_else(squares, alpha, beta)
        extended, i = np.zeros((N, m + 1, m + 1)), np.arange(m)
        # eigh reads the lower triangle.
        extended[:, i, i], extended[:, i + 1, i], extended[:, m, m] = alpha, beta, rest
        self.blind = rest >= alpha.max(axis=-1)
        if self.blind.any():
            self.blind[self.blind] = rest[self.blind] >= np.linalg.eigvalsh(extended[self.blind, :m, :m])[:, -1]
        all_seen = not self.blind.any()
        if not all_seen:
            extended[self.blind, m] = 0.0
        values, vectors = np.linalg.eigh(extended)
        self.theta, self.weights, x = values[:, -1], vectors[:, :m, -1], vectors[:, m, -1]
        residual = np.abs(beta[:, -1] * self.weights[:, -1])
        short = residual * np.abs(x) / np.maximum(1.0 - x**2, 0.5)
        if not all_seen:
            gap = self.theta - values[:, -2] - residual
            short = np.where(self.blind, eigenvalue_error(residual, gap), short)
        self.short = short / np.maximum(self.theta, 1e-300)
        self.promising = self.short <= ENOUGH

    def steps_to_spare(self) -> int:
        """How many steps fewer should have done, negative for more, if each brought about as much as the others."""
        worst = min(max(float(self.short.max()), 1e-300), 0.1)
        per_step = -math.log(worst) / self.weights.shape[1]
        return int(CAUTION * math.log(ENOUGH / worst) / per_step)

    def certified(self, G: Array, times: Callable[[Array], Array], basis: Array) -> tuple[Array, Array]:
        """The quotients of the vectors y themselves, NaN where they may not be the largest eigenvalue; y."""
        y = (self.weights[:, None] @ basis)[:, 0]
        quotient = _dot(y, times(y)[..., 0]) / np.maximum(_dot(y, y), 1e-300)
        good = np.abs(self.theta - quotient) <= ENOUGH * self.theta
        # A zero matrix (θ = 0) needs no further certificate.
        for b in np.flatnonzero(self.blind & good & (quotient > 0)):
            good[b] = nothing_above(G[b], quotient[b] * (1.0 + TOLERANCE))
        return np.where(good, quotient, np.nan), y


def _multiplier(G: Array) -> Callable[[Array], Array]:
    """V (N, r) to the columns GV (N, r, 1), one vector to each matrix."""
    if G.shape[-1] <= FULL_UP_TO:
        return lambda V: np.matmul(G, V[..., None])
    from scipy.linalg import blas

    lower = [matrix.T for matrix in G]
    return lambda V: np.array([blas.dsymv(1.0, g, v, lower=1) for g, v in zip(lower, V, strict=True)])[..., None]


def _with_a_share_of_everything(start: Array) -> Array:
    """Unit vectors; a pseudo-random share (the same on every run) keeps what a guess is orthogonal to within reach."""
    q = start / np.sqrt(np.maximum(_dot(start, start), 1e-300))[:, None] + _little_of_everything(start.shape[-1])
    q /= np.sqrt(_dot(q, q))[:, None]
    return np.asarray(q)


@lru_cache(maxsize=64)
def _little_of_everything(r: int) -> Array:
    return np.asarray(0.02 / np.sqrt(r) * np.cos(np.arange(r) * 2.399963))


def _dot(x: Array, y: Array) -> Array:
    # A third of what einsum takes.
    return np.asarray((x[:, None] @ y[..., None])[:, 0, 0])
