"""The algorithm on one page: ‖J_T ⋯ J_{T−k+1}‖ at every lag from ever fewer rows.

Singular values of a product spread exponentially, so that beyond a few dozen lags most of them lie below rounding and
carry no digit. The product is held as L·X·2^e with orthonormal columns in L: X has the product's singular values, only
X is multiplied on, and every `COMPRESS_EVERY` lags an SVD drops the rows that are below rounding. What was dropped and
rounded does not leave the account: a few random combinations of it, E, follow every later factor. Where E could reach
1e-10 of the norm, the product is measured densely (:mod:`gradscope.numerics.reference`) instead.

``measure_norms`` does the same faster, with estimates of the largest singular value in place of the SVD at every lag.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import exponent_of, log10_scaled
from gradscope.linalg.singular_values import EPS, finite_singular_values, rank_above_rounding
from gradscope.numerics.lag_norms import LagNorms
from gradscope.numerics.lost_digits import lost_digits
from gradscope.numerics.reference import measure_norms_densely
from gradscope.numerics.tape import Tape

COMPRESS_EVERY = 8
#: Gaussian rows of E; that all of them miss a lost direction by a factor 30 has probability 3e-6.
ERROR_ROWS, LARGEST_ERROR = 4, 3e-12


def measure_norms_thinly(
    tape: Tape, *, anchor: Literal["end", "start"] = "end", progress: Callable[[int, int], None] | None = None
) -> LagNorms:
    """Norms of every Jacobian product from the rows that carry digits; see the module."""
    T, n, batch, h = tape.n_steps, tape.state_size, tape.batch_shape, tape.h_components
    rng = np.random.default_rng(20260101)
    corner = np.arange(n) if h is None else h
    found: dict[str, list[Array]] = {"log10_norm": [], "log10_norm_h": [], "stable_rank": [], "rank": []}
    L = X = np.broadcast_to(np.eye(n), (*batch, n, n))
    E, e = np.zeros((*batch, ERROR_ROWS, n)), np.zeros(batch, dtype=np.int64)
    for k in range(T + 1):
        if k:
            both = np.concatenate([X, E], axis=-2)
            # The start anchor's product grows on the left: its transpose has the same singular values.
            both = tape.pull(T - k + 1, both) if anchor == "end" else _transposed(tape.push(k, _transposed(both)))
            shift = exponent_of(both)
            both = np.ldexp(both, -shift[..., None, None])
            X, E, e = both[..., :-ERROR_ROWS, :], both[..., -ERROR_ROWS:, :], e + shift
        sigma, finite = finite_singular_values(X)
        top = sigma[..., :1]
        if not finite.all() or (np.linalg.norm(E, axis=(-2, -1))[..., None] > LARGEST_ERROR * top).any():
            return measure_norms_densely(tape, anchor=anchor, progress=progress)
        with np.errstate(divide="ignore", invalid="ignore"):
            found["stable_rank"].append(np.square(sigma / top).sum(axis=-1))
        found["log10_norm"].append(log10_scaled(top[..., 0], e))
        found["rank"].append(rank_above_rounding(sigma, n))
        sigma_h = finite_singular_values(L[..., corner, :] @ X[..., :, corner])[0]
        found["log10_norm_h"].append(log10_scaled(sigma_h[..., 0], e))
        if k % COMPRESS_EVERY == 0 and k:
            L, X, E = _compressed(L, X, E, n, rng)
        if progress is not None and k:
            progress(k, T)
    columns = {name: np.stack(values) for name, values in found.items()}
    zero, zero_h = np.isnan(columns["log10_norm"]), np.isnan(columns["log10_norm_h"])
    flushed, doubtful = lost_digits(tape, columns["log10_norm"], anchor=anchor)
    if h is None:
        columns["log10_norm_h"], zero_h = np.full_like(columns["log10_norm"], np.nan), np.zeros_like(zero)
    return LagNorms(
        zero=zero, zero_h=zero_h, nonfinite=np.zeros_like(zero), doubtful=doubtful, flushed=flushed, **columns
    )


def _compressed(L: Array, X: Array, E: Array, n: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Rotate X to Σ Vᵀ and drop what is below rounding; what is dropped, and eps of the rest, goes on in E."""
    U, sigma, Vh = np.linalg.svd(X, full_matrices=False)
    kept = int((sigma > n * EPS * sigma[..., :1]).sum(axis=-1).max())
    rotated = sigma[..., None] * Vh
    lost = rng.standard_normal((ERROR_ROWS, sigma.shape[-1] - kept)) @ rotated[..., kept:, :]
    rounded = EPS * sigma[..., :1, None] * rng.standard_normal((*X.shape[:-2], ERROR_ROWS, X.shape[-1]))
    return L @ U[..., :kept], rotated[..., :kept, :], E + lost + rounded


def _transposed(A: Array) -> Array:
    return np.swapaxes(A, -1, -2)
