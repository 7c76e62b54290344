"""Exponents of a trajectory whose Jacobian never changes: ln |eigenvalues|, the limit that QR approaches as 1/T."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from scipy.linalg import eig
from scipy.sparse.csgraph import connected_components

from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.orthonormal import EPS, orthonormalise, rounding_floor
from gradscope.numerics.tape import Tape

# An exponent that eigenvalues pin down less well than this is left to the time average.
TRUSTED = 1e-2


class Limit(NamedTuple):
    """Exponents (descending, −inf last) and estimates of their rounding errors, shape (n,)."""

    exponents: Array
    errors: Array


def is_constant(tape: Tape, first: int, last: int, rng: np.random.Generator) -> bool:
    """Tell whether J_first … J_last are one and the same matrix, by their action on one random vector (bit for bit)."""
    probe = rng.standard_normal((tape.state_size, 1))
    reference = tape.push(first, probe)
    # The second step settles it for nearly every trajectory; only a constant one is read to its end.
    return last > first and all(np.array_equal(tape.push(t, probe), reference) for t in range(first + 1, last + 1))


def exponents_of_powers(J: Array, rng: np.random.Generator) -> Limit | None:
    """ln |λ_i(J)| in descending order, exact zeros deflated first; None where rounding leaves nothing to trust.

    The range of J^r for growing r is found by QR steps with the rank decided row by row; on that invariant subspace
    Q the eigenvalues of QᵀJQ are the nonzero ones. Eigenvalues closer than their own error bounds
    ε ‖J‖ κ_i (κ_i = 1/|y_i^* x_i|, the eigenvalue condition number) share the mean of their logarithms, which a
    perturbation of a defective eigenvalue leaves alone to first order.

    Parameters
    ----------
    J : ndarray, shape (n, n)
    """
    n = J.shape[0]
    scale = float(np.abs(J).max())
    if scale == 0.0:
        return Limit(np.full(n, -np.inf), np.zeros(n))
    exponent = int(np.frexp(scale)[1])
    J = np.ldexp(J, -exponent)
    Q = orthonormalise(rng.standard_normal((n, n)))[0]
    while Q.shape[1]:
        A = J @ Q
        following, R = orthonormalise(A)
        dead = np.diag(R) <= rounding_floor(A, np.abs(J) @ np.abs(Q))
        done = not dead.any()
        Q = following if done else following[:, : int(np.argmax(dead))]
        if done:
            break
    compressed = J if Q.shape[1] == n else Q.T @ J @ Q
    exponents, errors = _log_moduli(compressed, float(np.linalg.norm(J)), rng)
    if np.any(errors > TRUSTED):
        return None
    dead = n - exponents.size
    shift = exponent * np.log(2.0)
    return Limit(np.append(exponents + shift, np.full(dead, -np.inf)), np.append(errors, np.zeros(dead)))


def _log_moduli(J: Array, norm: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """ln |λ_i| descending, clusters averaged, and how far perturbations of rounding size move them (ten times that)."""
    n = J.shape[0]
    if n == 0:
        return np.empty(0), np.empty(0)
    # The stubs do not follow left and right into the shape of the answer.
    values, left, right = cast(tuple[Array, Array, Array], eig(J, left=True, right=True))
    with np.errstate(divide="ignore"):
        # scipy returns unit eigenvectors, so 1/|y^* x| is the condition number.
        radius = 4.0 * EPS * np.sqrt(n) * norm / np.abs(np.sum(left.conj() * right, axis=0))
    exponents = _clusters_averaged(values, radius)
    moved = np.zeros(n)
    for _ in range(2):
        noise = rng.standard_normal((n, n)) * (4.0 * EPS * norm / n)
        moved = np.maximum(moved, np.abs(_clusters_averaged(np.linalg.eigvals(J + noise), radius) - exponents))
    return exponents, 10.0 * moved + EPS * (1.0 + np.abs(exponents))


def _clusters_averaged(values: Array, radius: Array) -> Array:
    """ln |λ_i| descending; eigenvalues within each other's error radius share the mean of their logarithms."""
    order = np.argsort(-np.abs(values), kind="stable")
    values = values[order]
    with np.errstate(divide="ignore"):
        exponents = np.log(np.abs(values))
    reach = np.minimum(radius[order], 0.1 * np.abs(values).max())
    close = np.abs(values[:, None] - values[None, :]) <= reach[:, None] + reach[None, :]
    _, labels = connected_components(close)
    sums = np.bincount(labels, weights=exponents) / np.bincount(labels)
    return np.asarray(-np.sort(-sums[labels]))
