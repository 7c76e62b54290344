"""‖W^k‖₂ of the first powers of one matrix without forming them: W^k·v takes a product per binary digit of k.

Lanczos runs for all k in step (`theory.lanczos`). At digit b half of the vectors meet W^(2^b) in one product, so that
128 powers cost seven products with 64 columns per pass, where forming each would cost 128 products of full width and
as many Gram matrices: for early powers, whose rank has not fallen yet, several times more.

Repeated squaring loses digits where ‖W^(2^b)‖² is far above ‖W^(2^{b+1})‖ (non-normal W in a transient). How many is
not bounded but measured: a few Gaussian rows are multiplied by W one power at a time, and where they disagree with the
same rows taken through the squares by more than the norms may, the caller must form the powers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LOG10_2
from gradscope.theory.lanczos import largest_singular_values
from gradscope.theory.schur import power_of_two_scale

#: Gaussian rows by which two ways to the same power are compared, and how far they may be apart, relative to ‖Wᵏ‖.
GAUSSIAN_ROWS, MOST_APART = 4, 3e-12


class BinaryPowers:
    """W^(2^b) = 2^e_b·(squares[b]), b = 0 … B, for powers up to 2^B."""

    def __init__(self, W: Array, n_digits: int) -> None:
        square, exponent = power_of_two_scale(W)
        self.squares, self.exponents = [square], [exponent]
        for _ in range(n_digits):
            square, extra = power_of_two_scale(square @ square)
            self.squares.append(square)
            self.exponents.append(2 * self.exponents[-1] + extra)

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

    def _apply(self, factors: list[Array], V: Array, k: Array) -> Array:
        V = V.copy()
        for b, factor in enumerate(factors):
            rows = np.flatnonzero(k >> b & 1)
            if len(rows):
                V[rows] = V[rows] @ factor
        return V


def first_power_norms(powers: BinaryPowers, n_powers: int, rng: np.random.Generator) -> Array | None:
    """log10 ‖W^k‖₂, k = 1 … n_powers, or None where this cannot be trusted to 1e-10 (or some power is zero)."""
    k = np.arange(1, n_powers + 1)
    n = powers.squares[0].shape[-1]
    sigma = largest_singular_values(lambda rows: powers.choose(k[rows]), rng.standard_normal((n_powers, n)))
    if np.isnan(sigma).any() or not _roads_agree(powers, sigma, k, rng):
        return None
    return np.asarray(np.log10(sigma) + powers.exponent(k) * LOG10_2)


def _roads_agree(powers: BinaryPowers, sigma: Array, k: Array, rng: np.random.Generator) -> bool:
    """Whether Gaussian rows through W, one power at a time, and through the squares differ by rounding alone."""
    n = powers.squares[0].shape[-1]
    start = rng.standard_normal((GAUSSIAN_ROWS, n))
    step_by_step = np.empty((len(k), GAUSSIAN_ROWS, n))
    rows = start
    for i in range(len(k)):
        step_by_step[i] = rows = rows @ powers.squares[0]
    by_squares = powers.pull(np.tile(start, (len(k), 1)), np.repeat(k, GAUSSIAN_ROWS)).reshape(step_by_step.shape)
    # W = 2^e_0·squares[0]: its powers carry k·e_0 where the squares carry exponent(k).
    shift = powers.exponent(k) - k * powers.exponents[0]
    by_squares, norms = np.ldexp(by_squares, shift[:, None, None]), np.ldexp(sigma, shift)
    difference = np.sqrt(np.einsum("kij,kij->k", by_squares - step_by_step, by_squares - step_by_step))
    return bool((difference <= MOST_APART * np.sqrt(GAUSSIAN_ROWS) * norms).all())
