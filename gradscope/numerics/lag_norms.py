"""What is known of a Jacobian product at every lag."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class LagNorms:
    """Norms of P_k at lags k = 0 … T; every array has shape (T + 1, *batch_shape).

    End anchor: P_k = ∂s_T/∂s_{T−k} = J_T ⋯ J_{T−k+1}. Start anchor: P_k = ∂s_k/∂s_0 = J_k ⋯ J_1.

    Attributes
    ----------
    log10_norm : ndarray
        log10 ‖P_k‖₂; NaN where ``zero`` or ``nonfinite``, never −inf.
    zero : ndarray of bool
        P_k is exactly zero (and so at every longer lag).
    log10_norm_h : ndarray
        log10 of the spectral norm of the corner ∂h/∂h; NaN where it is zero or when the state is h alone.
    zero_h : ndarray of bool
        The corner is exactly zero. It may be non-zero again at a longer lag.
    stable_rank : ndarray
        ‖P_k‖_F²/‖P_k‖₂²; NaN where ``zero`` or ``nonfinite``.
    rank : ndarray of int
        Singular values above n·eps·‖P_k‖₂ (eps = 2.2e−16): the directions that still carry digits. Zero where ``zero``.
    nonfinite : ndarray of bool
        P_k holds infinities or NaN (because some factor does).
    flushed : ndarray of bool
        A direction that fell out of float64's range may have come back and decide the norm.
    doubtful : ndarray of bool
        Rounding may have taken most digits of the norm (estimated).
    """

    log10_norm: Array
    zero: Array
    log10_norm_h: Array
    zero_h: Array
    stable_rank: Array
    rank: Array
    nonfinite: Array
    doubtful: Array
    flushed: Array
