"""‖W^k‖₂ of the first powers of one matrix without forming them: W^k·v takes a product per binary digit of k.

Lanczos runs for all k in step (`operator_norm`). At digit b half of the vectors meet W^(2^b) in one product, so that
128 powers cost seven products with 64 columns per pass, where forming each would cost 128 products of full width and
as many Gram matrices: for early powers, whose rank has not fallen yet, several times more.

Repeated squaring loses digits where ‖W^(2^b)‖² is far above ‖W^(2^{b+1})‖ (non-normal W in a transient). How many is
not bounded but measured: a few Gaussian rows are multiplied by W one power at a time, and where they disagree with the
same rows taken through the squares by more than the norms may, the caller must take the long road.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import log10_scaled, normalise
from gradscope.linalg.compression import DOUBT_ROWS
from gradscope.linalg.operator_norm import squared_norms
from gradscope.linalg.running_product import DOUBT_LIMIT


class BinaryPowers:
    """W^(2^b) = 2^e_b·(squares[b]), b = 0 … B, for powers up to 2^B."""

    def __init__(self, W: Array, n_digits: int) -> None:
        square, exponent = normalise(W)
        self.squares, self.exponents = [square], [int(exponent)]
        for _ in range(n_digits):
            square, extra = normalise(square @ square)
            self.squares.append(square)
            self.exponents.append(2 * self.exponents[-1] + int(extra))

    def exponent(self, k: Array) -> Array:
        """Of two, taken out of what `pull` returns."""
        digits = k[..., None] >> np.arange(len(self.exponents)) & 1
        return np.asarray(digits @ np.array(self.exponents))

    def pull(self, V: Array, k: Array) -> Array:
        """Row i of V times W^k_i, up to 2^exponent(k_i)."""
        return self._apply(self.squares, V, k)

    def choose(self, k: Array) -> Callable[[Array], Array]:
        """V to V·W^k·(W^k)ᵀ, row by row, up to 4^exponent(k)."""
        return lambda V: self._apply([square.T for square in self.squares], self.pull(V, k), k)

    def advance(self, X: Array, _: int, count: int) -> Array:
        """X·W~, X·W~², …, ``count`` products of X (1, r, n) with W~ = squares[0], shape (count, 1, r, n).

        The rows of up to eight lags meet W~^8 in one product: BLAS lays the matrix out once for all of them.
        """
        out = np.empty((count, *X.shape))
        np.matmul(X[0], self.squares[0], out=out[0, 0])
        done = 1
        while done < count:
            b = min(done.bit_length() - 1, len(self._aligned) - 1)
            lags = min(2**b, count - done)
            rows = out[done - 2**b :][:lags].reshape(-1, X.shape[-1])
            np.matmul(rows, self._aligned[b], out=out[done : done + lags].reshape(rows.shape))
            done += lags
        return out

    @cached_property
    def _aligned(self) -> list[Array]:
        """squares[0]^(2^b) for up to eight lags at once."""
        shifts = [exponent - 2**b * self.exponents[0] for b, exponent in enumerate(self.exponents[:4])]
        return [np.ldexp(square, by) if by else square for square, by in zip(self.squares, shifts, strict=False)]

    def _apply(self, factors: list[Array], V: Array, k: Array) -> Array:
        V = V.copy()
        for b, factor in enumerate(factors):
            rows = np.flatnonzero(k >> b & 1)
            if len(rows):
                V[rows] = V[rows] @ factor
        return V


def first_power_norms(powers: BinaryPowers, n_powers: int, rng: np.random.Generator) -> Array | None:
    """log10 ‖W^k‖₂, k = 1 … n_powers, or None where this road cannot be trusted to 1e-10 (or some power is zero)."""
    k = np.arange(1, n_powers + 1)
    n = powers.squares[0].shape[-1]
    start = rng.standard_normal((n_powers, n))
    theta, residual, _ = squared_norms(lambda rows: powers.choose(k[rows]), start)
    sigma = np.sqrt(theta + 0.5 * residual)
    if np.isnan(sigma).any() or not _roads_agree(powers, sigma, k, rng):
        return None
    return log10_scaled(sigma, powers.exponent(k))


def _roads_agree(powers: BinaryPowers, sigma: Array, k: Array, rng: np.random.Generator) -> bool:
    """Whether Gaussian rows through W, one power at a time, and through the squares differ by rounding alone."""
    n = powers.squares[0].shape[-1]
    start = rng.standard_normal((DOUBT_ROWS, n))
    step_by_step = np.empty((len(k), DOUBT_ROWS, n))
    rows = start
    for i in range(len(k)):
        step_by_step[i] = rows = rows @ powers.squares[0]
    by_squares = powers.pull(np.tile(start, (len(k), 1)), np.repeat(k, DOUBT_ROWS)).reshape(step_by_step.shape)
    # W = 2^e_0·squares[0]: its powers carry k·e_0 where the squares carry exponent(k).
    shift = powers.exponent(k) - k * powers.exponents[0]
    by_squares, norms = np.ldexp(by_squares, shift[:, None, None]), np.ldexp(sigma, shift)
    difference = np.sqrt(np.einsum("kij,kij->k", by_squares - step_by_step, by_squares - step_by_step))
    return bool((difference <= DOUBT_LIMIT * np.sqrt(DOUBT_ROWS) * norms).all())
