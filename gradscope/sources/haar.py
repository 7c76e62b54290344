"""Haar-distributed orthogonal matrices, the same on every machine.

LAPACK's QR sums in an order that depends on the processor, so the last digits of its Q do, and a chaotic trajectory
would not forgive that. Here every product is taken elementwise and every sum in one fixed order: only additions,
multiplications, divisions and square roots, all of which IEEE 754 rounds in one way.
"""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array


def haar(rng: np.random.Generator, n: int, columns: int | None = None) -> Array:
    """Draw a Haar orthogonal matrix, or the first columns of one (uniform on the Stiefel manifold).

    By Householder reflections from the last column to the first (Stewart 1980): with x ~ N(0, I_m), the reflection that
    takes e₁ to x/‖x‖ times diag(1, Q′), Q′ Haar of size m − 1, is Haar of size m. About 4n³/3 operations.

    Returns
    -------
    ndarray, shape (n, columns)

    >>> Q = haar(np.random.default_rng(0), 4)
    >>> bool(np.abs(Q.T @ Q - np.eye(4)).max() < 1e-15)
    True
    """
    p = n if columns is None else columns
    Q, signs, room = np.zeros((n, p)), np.empty(p), np.empty(n * p)
    for k in range(p - 1, -1, -1):
        x = rng.standard_normal(n - k)
        signs[k] = -1.0 if x[0] < 0 else 1.0
        length = np.sqrt(sum_in_order(x * x))
        size = length * (length + abs(x[0]))  # half of vᵀv, v = x + sign·‖x‖ e₁
        v = x[:, None]
        v[0] += signs[k] * length
        block, work = Q[k:, k:], room[: (n - k) * (p - k)].reshape(n - k, p - k)
        block[0, 0] = 1.0
        along = sum_in_order(np.multiply(v, block, out=work)) / size
        block -= np.multiply(v, along, out=work)
    # I − v vᵀ/size takes e₁ to −sign·x/‖x‖: the sign of step k belongs to all columns from k on.
    return np.asarray(Q * np.cumprod(-signs))


def sum_in_order(values: Array) -> Array:
    """Sum over the first axis, halves onto one another: one order for every machine, error log₂(n) roundings.

    ``values`` is overwritten.

    >>> float(sum_in_order(np.arange(5.0)))
    10.0
    """
    rows = len(values)
    while rows > 1:
        half = (rows + 1) // 2
        values[: rows - half] += values[half:rows]
        rows = half
    return np.array(values[0])
