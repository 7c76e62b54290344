"""The normal control: a matrix with the same eigenvalues and no departure from normality."""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.schur import diagonal_blocks, power_of_two_scale, schur_form, square_matrix


def normal_surrogate(W: Array) -> Array:
    """The control: a normal matrix with W's eigenvalues, hence ‖Nᵏ‖ = ρᵏ and no transient.

    The Schur form with its strict upper part deleted, Q diag(T) Qᴴ; for a real W it is real, each 2×2 block of a
    complex pair replaced by the scaled rotation with the same eigenvalues.

    Returns
    -------
    ndarray, shape (n, n)
    """
    A, exponent = power_of_two_scale(square_matrix(W))
    form = schur_form(A)
    surrogate = form.Q @ diagonal_blocks(form) @ form.Q.conj().T
    return np.asarray(surrogate * 2.0 ** (exponent // 2) * 2.0 ** (exponent - exponent // 2))
