"""Norms of a growing product of matrices, kept in as few rows as carry digits.

The product P_k (or its transpose) is held as 2^e·L·X: the rows X (r × n) are multiplied by each new factor; L has
orthonormal columns, so that X and P_k share their singular values. Every so often the rows are rotated and the
small ones dropped (`compression`). What was dropped, and what rounding did to the rest, does not vanish from the
account: a few random combinations of it, the *doubt*, travel with the rows through every later factor. At each lag
their norm estimates the error of P_k; when it could reach 1e-10 of the norm asked for, the product is rebuilt
from its first factor without any rotation, exactly as the dense reference does it. That also settles exact zeros: a
rotated nilpotent product leaves rounding noise, noise is all doubt, and the rebuilt product is zero where it is zero.

Dropped rows are orthogonal to the kept ones in the left space, so they enter ‖P‖ only squared: ‖P‖² ≤ ‖X‖² + ‖E‖².
Where neither a rank nor a corner is asked for, rows below 1e-8·‖P‖ may therefore go.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import exponent_of, scale_by_power_of_two
from gradscope.linalg.compression import DOUBT_ROWS, compress, l_values, l_values_of_unsorted
from gradscope.linalg.corner import HIGH, LOW, Corner
from gradscope.linalg.gram import frobenius_squares, gram
from gradscope.linalg.largest_eigenvalue import Guess, largest_eigenvalues
from gradscope.linalg.product_history import ProductHistory
from gradscope.linalg.singular_values import EPS, finite_singular_values

#: Rows X (B, r, n), a lag k ≥ 1 and a number s to X·F_k, X·F_k·F_{k+1}, …, the next s products: shape (s, B, r, n).
Advance = Callable[[Array, int, int], Array]

#: Doubt (root mean square of its rows) beyond this share of the norm ends compression. An estimate from four Gaussian
#: rows falls short by a factor 30, the room left below 1e-10, with probability 3e-6.
DOUBT_LIMIT = 3e-12
#: The same for dropped rows where they count squared: 30²·(3e-7)²/2 = 4e-11.
DROPPED_LIMIT = 3e-7
#: Rows whose squares together stay below this share of ‖P‖² need not enter the Gram matrix: ‖P‖² ≤ ‖X_top‖² + squares.
SMALL_SQUARES = 1e-11
FIRST_COMPRESSION = 16
#: Lags measured together while the rows stay as they are: as many as fit into cache, and beyond it a few more where
#: that brings enough Gram matrices together to be worked on side by side.
MOST_AT_ONCE, NUMBERS_AT_ONCE = 32, 2**18
SIDE_BY_SIDE, NUMBERS_BEYOND_CACHE = 16, 2**20
#: Rotating fewer rows than these costs as much as their singular values, which tell whether any row will go.
FEW_ROWS = 64
#: Saturated units take rank away within the first few lags, long before dropping rows pays.
FIRST_RANKS = (4, 8)


def run_product(
    advance: Advance,
    n: int,
    n_products: int,
    n_lags: int,
    *,
    h: Array | None = None,
    ranks: bool = True,
    start: tuple[Array, int] | None = None,
    doubted: Array | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ProductHistory:
    """Measure F_1·F_2 ⋯ F_k for k = 0 … K, many products side by side.

    Parameters
    ----------
    advance : callable
        ``advance(X, k, s)`` is X·F_k, X·F_k·F_{k+1}, …, s products in a row, for X of shape (B, r, n).
    n, n_products, n_lags : int
        Size of the factors, B, K.
    h : ndarray of int, optional
        Measure the corner P[h, h] too.
    ranks : bool
        Count the singular values above rounding (not with ``start``).
    start : (ndarray of shape (B, n, n), int), optional
        What stands before F_1, a product of so many factors itself, and believed; I by default.
    doubted : ndarray of bool, shape (B,), optional
        Products whose doubt ends compression are marked here and left, all that was measured of them void, while the
        others go on; without it every product is rebuilt where one is doubted.
    progress : callable, optional
        Called as ``progress(lag, K)``, some lags apart.
    """
    history = ProductHistory.empty(n_lags, n_products)
    product = RunningProduct(advance, n, n_products, h, ranks, start)
    product.doubted = doubted
    if start is None:
        history.add_spectrum(0, np.ones((n_products, n)), n)
    product.measure(history)
    while product.lag < n_lags:
        product.multiply(min(product.next_stop, n_lags))
        if not product.measure(history):
            product.rebuild()
            product.measure(history)
        lag = product.lag
        if lag >= product.next_compression or (lag == n_lags and ranks) or (lag == 1 and product.has_dead_rows()):
            product.compress(history)
        elif ranks and lag in FIRST_RANKS:
            product.note_spectrum(history)
        if progress is not None:
            progress(lag, n_lags)
    return history


class RunningProduct:
    """The product so far, 2^e·L·X, and those of a stretch of lags before it, measured together.

    Attributes
    ----------
    first, lag : int
        The stretch.
    products : ndarray, shape (s, B, r', n)
        X at each lag of the stretch; below its ``n_rows`` rows travel the rows of the doubt.
    grams : ndarray, shape (s, B or 2B, t, t)
        XXᵀ of the ``n_top`` rows that are not small, as :func:`gradscope.linalg.gram.gram` leaves it; behind it room
        for the corner's if that has as many rows.
    trace : ndarray, shape (s, B)
        ‖X‖_F².
    doubted : ndarray of bool, shape (B,), or None
        See `run_product`.
    """

    trace: Array
    doubted: Array | None = None

    def __init__(
        self,
        advance: Advance,
        n: int,
        n_products: int,
        h: Array | None,
        ranks: bool,
        start: tuple[Array, int] | None = None,
    ) -> None:
        self.advance, self.n, self.n_products = advance, n, n_products
        self.h, self.ranks = h, ranks
        self.dropped_count_squared = h is None and not ranks
        self.start, self.age = start or (np.broadcast_to(np.eye(n), (n_products, n, n)), 0)
        self.next_compression = max(FIRST_COMPRESSION - self.age, 1)
        self.at_once = 1
        self.cut = np.zeros(n_products)
        self.exactly = False
        self.rng = np.random.default_rng(20260101)
        self.nonfinite = np.zeros(n_products, dtype=bool)
        self._start_over()

    def _start_over(self) -> None:
        """The product at lag 0, unrotated: L = I."""
        B, n = self.n_products, self.n
        self.first = self.lag = 0
        self.products: Array = self.start[None]
        self.n_rows = self.n_top = n
        self.exponent = np.zeros(B, dtype=np.int64)
        self.emptied = np.zeros(B, dtype=bool)
        self.guess = Guess(np.ones((B, n)))
        self.corner = None if self.h is None else Corner(self.h, B)
        self._take_gram()

    @property
    def next_stop(self) -> int:
        """The lag up to which the rows stay as they are, and nothing but norms is asked for."""
        stops = [lag for lag in (1, *FIRST_RANKS) if lag > self.lag]
        return min([max(self.next_compression, self.lag + 1), *stops])

    def multiply(self, last: int) -> None:
        """X ← X·F_{lag+1} and on, up to lag ``last`` or as far as fits into cache and range; XXᵀ and traces of each."""
        if self._is_drifting():
            self.products, self.trace = self.products[-1:], self.trace[-1:]
            self._rescale()
        X = self.products[-1]
        numbers = X.size + self.n_products * self.n_top**2
        room = max(
            NUMBERS_AT_ONCE // numbers, min(-(-SIDE_BY_SIDE // self.n_products), NUMBERS_BEYOND_CACHE // numbers)
        )
        count = max(1, min(last - self.lag, self.at_once, room))
        # Overflow and inf − inf are found in the traces below and reported as statuses.
        with np.errstate(over="ignore", invalid="ignore"):
            self.products = self.advance(X, self.lag + 1, count)
            self._take_gram()
        inside = np.all(((self.trace > LOW) & (self.trace < HIGH)) | self.emptied, axis=1)
        self.at_once = min(2 * count, MOST_AT_ONCE)
        if not inside.all():
            # Whatever lies beyond the first lag out of range is multiplied again, from a rescaled product.
            self.at_once = count = max(1, int(np.argmin(inside)))
            self.products = self.products[:count]
            if not inside[0]:
                self._rescale()
            self._take_gram()
        self.first, self.lag = self.lag + 1, self.lag + count

    def _is_drifting(self) -> bool:
        """Whether a trace is half the way to where squares lose digits: a whole stretch should fit before that."""
        trace = self.trace[-1]
        return bool(not (((trace > LOW**0.5) & (trace < HIGH**0.5)) | self.emptied).all())

    def _take_gram(self) -> None:
        """XXᵀ of the top rows; the small rows below them add their squares to the trace alone."""
        s, B, t = len(self.products), self.n_products, self.n_top
        beside = self.corner is not None and self.corner.n_rows(t) == t
        self.grams = np.empty((s, 2 * B if beside else B, t, t))
        own = gram(self.products[..., :t, :], out=self.grams[:, :B])
        self.trace = np.einsum("sbii->sb", own)
        self.small_squares = np.zeros((s, B))
        if t < self.n_rows:
            self.small_squares = frobenius_squares(self.products[..., t : self.n_rows, :])
            self.trace = self.trace + self.small_squares

    def _rescale(self) -> None:
        """Take exact powers of two out of a single lag's products; empty those that are not finite."""
        X, trace = self.products[0], self.trace[0]
        # All that have moved at all, not only those that must: networks side by side then drift in step.
        out = ~((trace > 2.0**-8) & (trace < 2.0**8))
        self.nonfinite = self.nonfinite | ~np.isfinite(X[:, : self.n_rows]).all(axis=(-2, -1))
        if self.nonfinite.any():
            X = np.where(self.nonfinite[:, None, None], 0.0, X)
        exponent = np.where(out, exponent_of(X[:, : self.n_rows]), 0)
        # Doubt beside a vanished product may overflow: infinite doubt is what it is.
        with np.errstate(over="ignore"):
            self.products = scale_by_power_of_two(X, -exponent)[None]
        self.exponent = self.exponent + exponent
        # Once zero, zero for good.
        self.emptied = ~(self.products[0][:, : self.n_rows] != 0).any(axis=(-2, -1))

    def measure(self, history: ProductHistory) -> bool:
        """Write the norms of the stretch; False if at some lag, from then on the last, the doubt is too large.

        With ``doubted`` never False: products of too large a doubt are marked there and emptied.
        """
        lags = slice(self.first, self.lag + 1)
        theta, theta_h, extra = self._largest_eigenvalues()
        smallest = np.ldexp(theta_h, 2 * extra)
        if (self.small_squares > SMALL_SQUARES * smallest).any():
            self._look_at_all_rows()
            theta, theta_h, extra = self._largest_eigenvalues()
            smallest = np.ldexp(theta_h, 2 * extra)
        history.squared_norm[lags] = theta
        history.squared_frobenius[lags] = self.trace
        history.exponent[lags] = self.exponent
        history.nonfinite[lags] = self.nonfinite
        history.squared_norm_h[lags] = theta_h
        history.exponent_h[lags] = self.exponent + extra
        believable = self._believable(smallest)
        if believable.all():
            return True
        if self.doubted is not None:
            self.doubted |= ~believable.all(axis=0)
            self.emptied = self.emptied | self.doubted
            self.products[:, self.doubted] = 0.0
            return True
        self.lag = self.first + int(np.argmin(believable.all(axis=1)))
        return False

    def _largest_eigenvalues(self) -> tuple[Array, Array, Array]:
        """‖X‖₂², (‖corner‖₂/2^extra)² and extra, (s, B) each; without a corner the whole stands for it."""
        B = self.n_products
        if self.corner is None:
            theta, self.guess = largest_eigenvalues(self.grams, self.guess)
            return theta, theta, np.zeros(theta.shape, dtype=np.int64)
        if self.grams.shape[1] == B:
            theta, self.guess = largest_eigenvalues(self.grams, self.guess)
            squares, extra = self.corner.gram(self.products, self.n_rows, self.n_top)
            theta_h, self.corner.guess = largest_eigenvalues(squares, self.corner.guess)
            return theta, theta_h, extra
        _, extra = self.corner.gram(self.products, self.n_rows, self.n_top, out=self.grams[:, B:])
        both, guess = largest_eigenvalues(self.grams, self.guess.beside(self.corner.guess))
        self.guess, self.corner.guess = guess.apart(B)
        return both[:, :B], both[:, B:], extra

    def _look_at_all_rows(self) -> None:
        """What was small beside the norms no longer is."""
        self.n_top = self.n_rows
        self.guess = self.guess.padded(self.n_top)
        if self.corner is not None:
            self.corner.guess = self.corner.guess.padded(self.corner.n_rows(self.n_top))
        self._take_gram()

    def _believable(self, smallest: Array) -> Array:
        """Where, shape (s, B), the doubt leaves 1e-10 of the smallest norm asked for (squared, the same shape)."""
        doubt = self.products[..., self.n_rows :, :]
        if not doubt.shape[-2]:
            return np.ones(doubt.shape[:2], dtype=bool)
        # Overflowing doubt is infinite doubt.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(frobenius_squares(doubt) <= DOUBT_ROWS * DOUBT_LIMIT**2 * smallest)

    def has_dead_rows(self) -> bool:
        """Whether rows or columns are exactly zero in every product (dead relu units): compression pays at once."""
        alive = (self.products[-1] != 0).any(axis=0)
        rows, columns = alive.any(axis=1), alive.any(axis=0)
        return bool(min(rows.mean(), columns.mean()) < 0.97)

    def rebuild(self) -> None:
        """Multiply all factors again, unrotated, and stay unrotated."""
        lag = self.lag
        self._start_over()
        self.exactly = True
        while self.lag < lag:
            self.multiply(self.lag + 1)

    def note_spectrum(self, history: ProductHistory) -> None:
        """All singular values at this lag, for the rank; of many rows roughly."""
        rows = self.products[-1][:, : self.n_rows]
        roughly = self.n_rows > FEW_ROWS and not self.exactly
        sigma = l_values_of_unsorted(rows, self.rng) if roughly else finite_singular_values(rows)[0]
        history.add_spectrum(self.lag, sigma, self.n)

    def compress(self, history: ProductHistory) -> None:
        """Drop the rows that no longer carry digits."""
        X = self.products[-1]
        rows = X[:, : self.n_rows]
        if self.exactly:
            if self.ranks:
                self.note_spectrum(history)
            self.next_compression = 4 * self.lag
            return
        norm = np.sqrt(history.squared_norm[self.lag])
        corner = np.ldexp(np.sqrt(history.squared_norm_h[self.lag]), (history.exponent_h - history.exponent)[self.lag])
        self.cut = self._cut(norm, corner)
        small = self.ranks and self.n_rows <= FEW_ROWS
        if small:
            # A rotation costs small matrices as much as their singular values, which tell whether any row will go.
            self.note_spectrum(history)
            smallest = norm * np.exp(history.spectra[-1][1][:, self.n_rows - 1])
            if (smallest > self.cut).any():
                self.next_compression = self._when_next(False, norm, smallest)
                return
        packed = compress(rows, np.minimum(norm, corner), self.cut, self.rng)
        if self.ranks and not small:
            # What is dropped lies below the rank's threshold; its lengths tell the size of its singular values.
            kept, gone = l_values(packed.rows), np.sort(packed.lengths[:, packed.rows.shape[1] :])
            history.add_spectrum(self.lag, np.concatenate([kept, gone[:, ::-1]], axis=1), self.n)
        before, after = self.n_rows, packed.rows.shape[1]
        self.next_compression = self._when_next(after < 0.97 * before, norm, packed.lengths[:, -1])
        if after == before:
            return
        # Where they count squared, dropped rows may be larger; scaled, they share rows and limit with the rounding.
        share = DOUBT_LIMIT / DROPPED_LIMIT if self.dropped_count_squared else 1.0
        doubt = packed.rounding + share * packed.dropped
        if before < X.shape[1]:
            doubt += X[:, before:]
        self.products = np.concatenate([packed.rows, doubt], axis=1)[None]
        self.n_rows = after
        top = np.einsum("brs,br->bs", packed.Q[:, : self.n_top, : packed.n_top], self.guess.vectors)
        self.guess = self.guess._replace(vectors=top)
        self.n_top = packed.n_top
        if self.corner is not None:
            self.corner.rotate(packed.Q, rows, packed.rows, self.n_top)

    def _when_next(self, declined: bool, norm: Array, smallest: Array) -> int:
        """The lag of the next compression, or when the smallest rows should reach the cut.

        The rows that carry digits become fewer like 1/lag. Rotating r rows pays when they have become fewer by about
        12/lag: at first twice as far on, later a quarter. Where rows hardly fall (orthogonal factors), wait.
        """
        factor = min(2.0, 1.25 + 12.0 / (self.age + self.lag))
        if not declined:
            ratio = np.where((smallest > 0) & (norm > 0), smallest / np.where(norm > 0, norm, 1.0), 0.0)
            to_go = np.log(self.cut / np.where(norm > 0, norm, 1.0) + 1e-300) / np.log(np.clip(ratio, 1e-30, 0.999))
            factor = float(np.clip(1.1 * to_go.min(), factor, 4.0))
        return max(self.lag + 1, int(factor * (self.age + self.lag)) - self.age)

    def _cut(self, norm: Array, corner: Array) -> Array:
        """How large the dropped rows may be together: a norm alone feels them squared, a rank ends at n·eps·‖P‖."""
        if self.dropped_count_squared:
            return 1e-8 * norm
        cut = 0.3 * self.n * EPS * norm
        if self.h is None:
            return cut
        # A corner feels them linearly, and may be small beside the whole.
        return np.asarray(np.maximum(np.minimum(cut, 0.02 * DOUBT_LIMIT * corner), EPS * norm))
