"""The normal control: a matrix with the same eigenvalues and no departure from normality."""

from __future__ import annotations

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.schur import diagonal_blocks, power_of_two_scale, schur_form, square_matrix, times_power_of_two


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
    return times_power_of_two(form.Q @ diagonal_blocks(form) @ form.Q.conj().T, exponent)
