"""The largest eigenvalue of symmetric matrices, many of them side by side."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array

#: Up to this size all eigenvalues of a stack are as cheap as one, and need no scipy.
ALL_UP_TO = 64


def largest_eigenvalues(G: Array) -> Array:
    """λ_max of every matrix, shape (...) for G of shape (..., r, r), finite and symmetric.

    LAPACK's divide and conquer for small matrices; for larger ones its bisection for the one eigenvalue (``syevr``).
    Exact to rounding, r·eps·‖G‖.
    """
    r = G.shape[-1]
    if r == 1:
        return np.asarray(G[..., 0, 0])
    if r <= ALL_UP_TO:
        return np.asarray(np.linalg.eigvalsh(G)[..., -1])
    return np.array([_one(g) for g in G.reshape(-1, r, r)]).reshape(G.shape[:-2])


def _one(G: Array) -> float:
    from scipy.linalg import LinAlgError, eigh

    last = len(G) - 1
    try:
        found = eigh(G, eigvals_only=True, subset_by_index=[last, last], check_finite=False, driver="evr")
    except LinAlgError:
        # Bisection gives up on some matrices that are a multiple of the identity but for rounding.
        found = np.linalg.eigvalsh(G)
    return float(found[-1])
