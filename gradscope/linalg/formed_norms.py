"""Spectral norms of stacks of matrices that are there in full."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.base import Array
from gradscope.linalg.binary_scale import log10_scaled, normalise
from gradscope.linalg.gram import gram
from gradscope.linalg.largest_eigenvalue import largest_eigenvalues
from gradscope.linalg.singular_values import finite_singular_values

#: Traces of JJᵀ within these bounds can be squared without leaving float64.
LOW, HIGH = 1e-100, 1e100


def log10_formed_norms(J: Array) -> tuple[Array, Array]:
    """log10 ‖J‖₂ of every matrix and which are exactly zero, shapes (...) for J of shape (..., n, n).

    Relative accuracy 1e-11, by the largest eigenvalue of JJᵀ; NaN where J is zero or not finite.
    """
    n, leading = J.shape[-1], J.shape[:-2]
    J = J.reshape(-1, n, n)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = gram(J[None])
        trace = np.einsum("bii->b", squares[0])
    usable = (trace > LOW) & (trace < HIGH)
    if not usable.all():
        squares[0, ~usable] = np.eye(n)
    log10_norm = log10_scaled(np.sqrt(largest_eigenvalues(squares)[0][0]), 0)
    zero = np.zeros(len(J), dtype=bool)
    if not usable.all():
        log10_norm[~usable], zero[~usable] = log10_decomposed_norms(J[~usable])
    return log10_norm.reshape(leading), zero.reshape(leading)


def log10_decomposed_norms(J: Array) -> tuple[Array, Array]:
    """The same by all singular values of J itself, at any magnitude."""
    scaled, exponent = normalise(J)
    spectrum, finite = finite_singular_values(scaled)
    return log10_scaled(spectrum[..., 0], exponent), finite & (spectrum[..., 0] == 0)
