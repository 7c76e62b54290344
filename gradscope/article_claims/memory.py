"""Fisher memory of a linear recurrence: what h_t still tells of an input k steps ago, against its own noise."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_discrete_lyapunov

from gradscope.jacobians.step_jacobian import Array


def fisher_memory(W: Array, v: Array, lags: int) -> Array:
    """J(k) = (W^k v)ᵀ C⁻¹ W^k v, C = Σ_j W^j (W^j)ᵀ, k = 0 … lags − 1, for unit noise on every unit and step.

    References
    ----------
    Ganguli, Huh and Sompolinsky, PNAS 105 (2008) 18970: Σ_k J(k) = 1 for normal W, ≤ N always.
    """
    factor = cho_factor(solve_discrete_lyapunov(W, np.eye(len(W))))
    memory = np.empty(lags)
    for k in range(lags):
        memory[k] = v @ cho_solve(factor, v)
        v = W @ v
    return memory
