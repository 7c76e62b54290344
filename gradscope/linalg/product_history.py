"""What a running product leaves behind at every lag, and the norms and ranks read from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.linalg.binary_scale import log10_scaled
from gradscope.linalg.singular_values import EPS

#: log of a singular value taken for zero: far below rounding, so that interpolation falls steeply but not at once.
FLOOR = float(np.log(1e-40))


@dataclass
class ProductHistory:
    """Squared norms of P_k = 2^e·(scaled P_k) for k = 0 … K, B products side by side; arrays (K + 1, B).

    Attributes
    ----------
    squared_norm, squared_frobenius : ndarray
        Of the scaled product.
    exponent : ndarray of int
        e.
    squared_norm_h, exponent_h : ndarray
        The same for the corner P[h, h].
    nonfinite : ndarray of bool
    spectra : list of (lag, log σ_i/σ_1 as an ndarray (B, n))
        All singular values, at the lags where the product was decomposed.
    """

    squared_norm: Array
    squared_frobenius: Array
    exponent: Array
    squared_norm_h: Array
    exponent_h: Array
    nonfinite: Array
    spectra: list[tuple[int, Array]] = field(default_factory=list)

    @classmethod
    def empty(cls, n_lags: int, n_products: int) -> ProductHistory:
        """Room for n_lags + 1 lags."""
        shape = (n_lags + 1, n_products)
        reals = [np.zeros(shape) for _ in range(3)]
        whole = [np.zeros(shape, dtype=np.int64) for _ in range(2)]
        return cls(reals[0], reals[1], whole[0], reals[2], whole[1], np.zeros(shape, dtype=bool))

    def replace(self, products: Array, other: ProductHistory) -> None:
        """Put another history in the place of some products (indices or mask); spectra stay as they are."""
        for name in ("squared_norm", "squared_frobenius", "exponent", "squared_norm_h", "exponent_h", "nonfinite"):
            getattr(self, name)[:, products] = getattr(other, name)

    def add_spectrum(self, lag: int, sigma: Array, n: int) -> None:
        """Note all singular values (B, r ≤ n) known at a lag."""
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log(sigma / sigma[:, :1])
        padded = np.full((len(sigma), n), FLOOR)
        padded[:, : sigma.shape[1]] = np.maximum(np.nan_to_num(log, nan=FLOOR, neginf=FLOOR), FLOOR)
        self.spectra.append((lag, padded))

    @property
    def zero(self) -> Array:
        """P_k is exactly zero."""
        return np.asarray((self.squared_frobenius == 0) & ~self.nonfinite)

    @property
    def zero_h(self) -> Array:
        """The corner is exactly zero."""
        return np.asarray((self.squared_norm_h == 0) & ~self.nonfinite)

    def log10_norm(self) -> Array:
        """log10 ‖P_k‖₂."""
        return np.where(self.nonfinite, np.nan, log10_scaled(np.sqrt(self.squared_norm), self.exponent))

    def log10_norm_h(self) -> Array:
        """log10 ‖P_k[h, h]‖₂."""
        return np.where(self.nonfinite, np.nan, log10_scaled(np.sqrt(self.squared_norm_h), self.exponent_h))

    def stable_rank(self) -> Array:
        """‖P_k‖_F²/‖P_k‖₂²."""
        usable = (self.squared_norm > 0) & ~self.nonfinite
        return np.where(usable, self.squared_frobenius / np.where(usable, self.squared_norm, 1.0), np.nan)

    def rank(self) -> Array:
        """Singular values above n·eps·σ₁: counted where all are known, between those lags from log σ_i interpolated.

        Singular values of products grow or fall exponentially with the lag, so log σ_i/σ_1 is close to a line between
        neighbouring decompositions. Where the later one is below rounding, only its being so is known: the line from
        lag 0 (σ_i = σ_1) through the earlier one tells where the threshold is crossed.
        """
        rank = np.zeros(self.squared_norm.shape, dtype=np.int64)
        n = self.spectra[0][1].shape[-1]
        threshold = np.log(n * EPS)
        for (a, at_a), (b, at_b) in zip(self.spectra[:-1], self.spectra[1:], strict=True):
            # What was below the threshold at a has been dropped or is noise: it does not come back.
            alive: Array = at_a > threshold
            with np.errstate(divide="ignore"):
                crossing = np.abs(a * threshold / at_a if a else b * threshold / at_b)
            until = np.minimum(np.ceil(crossing) - 1, b - 1).astype(np.int64)
            last: Array = np.where(at_b > threshold, b, until)
            ends = np.zeros((b - a + 2, len(at_a)), dtype=np.int64)
            np.add.at(ends, (last[alive] + 1 - a, np.argwhere(alive)[:, 0]), 1)
            rank[a : b + 1] = alive.sum(axis=-1) - np.cumsum(ends, axis=0)[:-1]
        if len(self.spectra) == 1:
            rank[:] = n
        rank[self.zero | self.nonfinite] = 0
        return rank
