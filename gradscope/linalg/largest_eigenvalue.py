"""Largest eigenvalues of Gram matrices, warm-started, each one certified (`certificates`), by the cheapest road.

A few small matrices are decomposed. Stacks of small ones take power steps (`squaring`), larger ones Lanczos in step
(`lanczos`). Where neither certifies its answer, the full decomposition decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.certificates import TOLERANCE
from gradscope.linalg.gram import FULL_UP_TO
from gradscope.linalg.lanczos import largest_by_lanczos
from gradscope.linalg.squaring import COLD_POWERS, DECOMPOSE_UP_TO, HANDFUL, POWERS, largest_by_squaring

#: A few matrices of at most this size are cheaper to decompose than to iterate on; without a guess, any number.
FEW, DECOMPOSE_FEW_UP_TO = 4, 64
DECOMPOSE_COLD_UP_TO = 128
#: Stacks of matrices of at most this size are squared, larger ones are worth Lanczos.
SQUARE_UP_TO = 32
#: Matrices are worked on together, no more numbers at once than fit into cache.
NUMBERS_SQUARED, NUMBERS_ITERATED = 2**17, 2**18


class Guess(NamedTuple):
    """What neighbouring problems have taught.

    Attributes
    ----------
    vectors : ndarray, shape (B, r)
        Their top vectors, of any length.
    steps : int
        Lanczos steps they took.
    """

    vectors: Array
    steps: int = 0

    def beside(self, other: Guess) -> Guess:
        """For the problems of both, side by side."""
        return Guess(np.concatenate([self.vectors, other.vectors]), max(self.steps, other.steps))

    def apart(self, n_first: int) -> tuple[Guess, Guess]:
        """For the first so many problems, and for the others."""
        return self._replace(vectors=self.vectors[:n_first]), self._replace(vectors=self.vectors[n_first:])

    def padded(self, length: int) -> Guess:
        """For problems with so many rows, of which the first were known."""
        vectors = np.zeros((len(self.vectors), length))
        vectors[:, : self.vectors.shape[-1]] = self.vectors
        return self._replace(vectors=vectors)


def largest_eigenvalues(G: Array, guess: Guess | None = None) -> tuple[Array, Guess]:
    """Largest eigenvalue of every symmetric positive semidefinite matrix in a stack of sequences.

    Parameters
    ----------
    G : ndarray, shape (s, B, r, r)
        B sequences of s neighbouring matrices as :func:`gradscope.linalg.gram.gram` makes them, scaled so that no trace
        overflows or underflows; an exactly zero matrix gives 0.
    guess : Guess, optional
        From the problems before.

    Returns
    -------
    theta : ndarray, shape (s, B)
        Relative error at most 2e-11.
    guess : Guess
        For the next, neighbouring problems.
    """
    s, B, r, _ = G.shape
    if r == 1:
        return G[..., 0, 0].copy(), Guess(np.ones((B, 1)))
    few = (s * B <= FEW and r <= DECOMPOSE_FEW_UP_TO) or (s * B <= HANDFUL and r <= DECOMPOSE_UP_TO)
    cold = guess is None
    powers = COLD_POWERS if guess is None else POWERS
    guess = guess if guess is not None else Guess(np.ones((B, r)))
    if few or (cold and SQUARE_UP_TO < r <= DECOMPOSE_COLD_UP_TO):
        return np.maximum(np.linalg.eigvalsh(G)[..., -1], 0.0), guess
    if r > SQUARE_UP_TO:
        return _iterate(G, guess)
    A, x = G.reshape(s * B, r, r), np.tile(guess.vectors, (s, 1))
    size = max(1, NUMBERS_SQUARED // r**2)
    parts = [largest_by_squaring(A[i : i + size], x[i : i + size], powers) for i in range(0, s * B, size)]
    theta, vectors = (np.concatenate(part) for part in zip(*parts, strict=True))
    _decompose_doubtful(A, theta, vectors)
    return theta.reshape(s, B), Guess(vectors.reshape(s, B, r)[-1])


def _iterate(G: Array, guess: Guess) -> tuple[Array, Guess]:
    """Lanczos: side by side while matrices are small, one lag warm from the one before where they are large."""
    s, B, r, _ = G.shape
    theta = np.empty((s, B))
    at_once = max(1, NUMBERS_ITERATED // r**2)
    lags = max(1, at_once // B) if r <= FULL_UP_TO else 1
    for i in range(0, s, lags):
        following, steps = np.empty((B, r)), 0
        for b in range(0, B, at_once):
            A = G[i : i + lags, b : b + at_once]
            x = np.tile(guess.vectors[b : b + at_once], (len(A), 1))
            found, vectors, taken = _certain(A.reshape(-1, r, r), x, guess.steps)
            theta[i : i + lags, b : b + at_once] = found.reshape(A.shape[:2])
            following[b : b + at_once] = vectors.reshape(*A.shape[:2], r)[-1]
            steps = max(steps, taken)
        guess = Guess(following, steps)
    return theta, guess


def _certain(A: Array, x: Array, steps: int) -> tuple[Array, Array, int]:
    """Lanczos, but for multiples of I, about which it tells nothing, and the decomposition of what is left open."""
    theta, vectors = _multiples_of_identity(A), np.array(x)
    rest = np.isnan(theta)
    if not rest.any():
        return theta, vectors, 0
    if rest.all():
        theta, vectors, taken = largest_by_lanczos(A, x, steps)
    else:
        theta[rest], vectors[rest], taken = largest_by_lanczos(A[rest], x[rest], steps)
    _decompose_doubtful(A, theta, vectors)
    return theta, vectors, taken


def _decompose_doubtful(A: Array, theta: Array, vectors: Array) -> None:
    """Full decompositions where theta is NaN, in place."""
    doubtful = np.flatnonzero(np.isnan(theta))
    if len(doubtful):
        values, eigenvectors = np.linalg.eigh(A[doubtful], UPLO="U")
        theta[doubtful], vectors[doubtful] = np.maximum(values[:, -1], 0.0), eigenvectors[:, :, -1]


def _multiples_of_identity(A: Array) -> Array:
    """Mean eigenvalue where A is a multiple of I to within the tolerance (orthogonal factors), NaN elsewhere."""
    theta = np.full(len(A), np.nan)
    r = A.shape[-1]
    for b in np.flatnonzero(np.abs(A[:, 0, 1:]).max(axis=-1) < 1e-10 * A[:, 0, 0]):
        mean = float(np.trace(A[b])) / r
        deviation = A[b].copy()
        np.einsum("ii->i", deviation)[:] -= mean
        # Every eigenvalue is within ‖A − mean·I‖_F of the mean; a triangle holds at least half of its square.
        if 2.0 * float(np.vdot(deviation, deviation)) <= (0.5 * TOLERANCE * mean) ** 2:
            theta[b] = mean
    return theta
