"""Gram matrices: full where they are small, one triangle where they are large."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.base import Array

#: Matrices up to this size are full, larger ones are upper triangles with zeros below.
FULL_UP_TO = 64


def gram(X: Array) -> Array:
    """X·Xᵀ for X of shape (s, B, r, n): shape (s, B, r, r), the upper triangle alone beyond r = 64.

    BLAS syrk makes one triangle; numpy's own product spends a third again on copying it to the other.
    """
    s, B, r, _ = X.shape
    if r > FULL_UP_TO:
        from scipy.linalg import blas  # 0.1 s of start-up that small problems never pay

        out = np.zeros((s, B, r, r))
        for i, b in np.ndindex(s, B):
            # Row-major upper is BLAS's column-major lower; written in place.
            blas.dsyrk(1.0, X[i, b].T, trans=1, lower=1, beta=0.0, c=out[i, b].T, overwrite_c=1)
        return out
    transposed = np.swapaxes(X, -1, -2)
    # A single product goes to syrk; stacks of small ones are faster as plain products.
    return np.asarray(X @ (np.ascontiguousarray(transposed) if s * B > 1 else transposed))


def squared_frobenius(U: Array) -> float:
    """‖G‖_F² of the symmetric matrix whose upper triangle U is, with zeros below."""
    diagonal = np.einsum("ii->i", U)
    return 2.0 * float(np.vdot(U, U)) - float(diagonal @ diagonal)
