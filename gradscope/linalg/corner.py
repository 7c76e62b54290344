"""The corner P[h, h] of a product P = 2^e·L·X whose rows X are rotated from time to time."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import exponent_of, scale_by_power_of_two
from gradscope.linalg.gram import gram
from gradscope.linalg.largest_eigenvalue import Guess

#: Traces of Gram matrices within these bounds can be squared without leaving float64.
LOW, HIGH = 2.0**-200, 2.0**200


class Corner:
    """‖P[h, h]‖ = ‖L[h, :]·X[:, h]‖ = ‖K·X[:, h]‖, where L[h, :] = Q_h·K with orthonormal Q_h and upper triangular K.

    L changes at rotations only. Row i of K·X takes nothing from rows of X above i: what may be left out below some row
    of X may be left out below the same row here.

    Attributes
    ----------
    guess : Guess
        Top left vectors of the rows of K·X that were looked at.
    """

    def __init__(self, h: Array, n_products: int) -> None:
        self.h, self.size = _as_slice(h), len(h)
        # L = I until the first rotation.
        self.K: Array | None = None
        self.guess = Guess(np.ones((n_products, len(h))))

    def n_rows(self, n_top: int) -> int:
        """How many rows the corner has where ``n_top`` rows of X are looked at."""
        return self.size if self.K is None else min(n_top, self.K.shape[-2])

    def gram(self, products: Array, n_rows: int, n_top: int, out: Array | None = None) -> tuple[Array, Array]:
        """Z·Zᵀ of the top rows Z of K·X[:, h]/2^extra, and extra (s, B); X (s, B, r, n) has doubt below ``n_rows``."""
        Z = self._rows(products, n_rows, n_top)
        squares = gram(Z, out=out)
        trace = np.einsum("sbii->sb", squares)
        extra = np.zeros(trace.shape, dtype=np.int64)
        if not ((trace > LOW) & (trace < HIGH)).all():
            extra = exponent_of(Z)
            squares = gram(scale_by_power_of_two(Z, -extra), out=out)
        return squares, extra

    def _rows(self, products: Array, n_rows: int, n_top: int) -> Array:
        """The top rows of K·X[:, h]."""
        if self.K is None:
            return products[..., self.h, :][..., self.h]
        return self.K[:, : self.n_rows(n_top)] @ products[..., :n_rows, self.h]

    def rotate(self, Q: Array, before: Array, after: Array, n_top: int) -> None:
        """L ← L·Q, the rows X (B, r, n) having become QᵀX with Q (B, r, r'); ``n_top`` of them will be looked at."""
        top = self.guess.vectors
        # The top right vector stays what it is.
        right = top[:, None] @ self._rows(before, before.shape[-2], top.shape[-1])
        self.K = np.asarray(np.linalg.qr(Q[:, self.h] if self.K is None else self.K @ Q, mode="r"))
        left = self._rows(after, after.shape[-2], n_top) @ np.swapaxes(right, -1, -2)
        self.guess = self.guess._replace(vectors=left[..., 0])


def _as_slice(h: Array) -> slice | Array:
    """Consecutive indices as a slice, which copies nothing."""
    if len(h) and np.array_equal(h, np.arange(h[0], h[0] + len(h))):
        return slice(int(h[0]), int(h[0]) + len(h))
    return h
