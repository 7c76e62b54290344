"""∂L/∂h_t and ∂L/∂c_t at every step by the adjoint recursion, from ∂L/∂output and the weights.

Every sample's gradient carries a power of two of its own, so that what has shrunk to 10^-2000 is still a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LOG10_2
from gradscope.torch.layer_steps import VisitedLayer

#: Powers of two that the largest number of a step and sample may reach before it is scaled: squares stay in range.
FAR = 100
#: The exponent of an exact zero: below every other, and the difference of two still fits an int32.
NOTHING = -(2**28)


@dataclass(frozen=True)
class Graded:
    """Gradients as ``values · 2^exponents``, an exponent for each step and sample.

    Attributes
    ----------
    values : ndarray, shape (T, batch, n)
    exponents : ndarray of int, shape (T, batch)
    """

    values: Array
    exponents: Array

    @classmethod
    def of(cls, values: Array) -> Graded:
        """Numbers as they are."""
        return cls.scaled(values, np.zeros(values.shape[:-1], dtype=np.int64))

    @classmethod
    def scaled(cls, values: Array, exponents: Array) -> Graded:
        """The same numbers, those of a step and sample scaled whose largest has left 2^±FAR; zeros at NOTHING."""
        top = np.maximum(values.max(axis=-1, initial=0.0), -values.min(axis=-1, initial=0.0))
        power = np.frexp(top)[1].astype(np.int64)
        shift = np.where((np.abs(power) > FAR) & (top > 0), power, 0)
        return cls(_times_power(values, -shift), np.where(top > 0, exponents + shift, NOTHING))

    def __add__(self, other: Graded) -> Graded:
        """The sum, at the larger exponent."""
        if (other.exponents == NOTHING).all():
            return self
        top = np.maximum(self.exponents, other.exponents)
        values = _times_power(self.values, self.exponents - top) + _times_power(other.values, other.exponents - top)
        return Graded.scaled(values, top)

    def log10_norms(self) -> list[float | None]:
        """log10 of the Frobenius norm over the batch, step by step; None for an exact zero."""
        out: list[float | None] = []
        for values, exponents in zip(self.values, self.exponents, strict=True):
            top = int(exponents.max(initial=NOTHING))
            norm = float(np.linalg.norm(_times_power(values, exponents - top)))
            out.append(float(np.log10(norm)) + top * LOG10_2 if norm > 0 else None)
        return out


def _times_power(values: Array, exponents: Array) -> Array:
    if not exponents.any():
        return values
    # Below 2^-1200 nothing is left of a float64; ldexp wants an int32.
    return np.ldexp(values, np.clip(exponents, -1200, 1200)[..., None].astype(np.int32))


@dataclass(frozen=True)
class LayerAdjoint:
    """Total derivatives of the loss by the states of one layer and direction, in processing order.

    Attributes
    ----------
    h : Graded, (T, batch, P)
        ∂L/∂h_t, everything that h_t reaches counted: later steps and the layers above at the same step.
    c : Graded, (T, batch, H)
        ∂L/∂c_t, its way through h_t counted; no columns where there is no c.
    x : Graded, (T, batch, I)
        ∂L/∂x_t through this layer and direction.
    output : Graded, (T, batch, P)
        What came in: ∂L/∂h_t past the recurrence, ∂L/∂h_n with it at the last step.
    log10_weight_norm : float or None
        log10 ‖∂L/∂W_hh‖_F of the whole batch; None for an exact zero.
    """

    h: Graded
    c: Graded
    x: Graded
    output: Graded
    log10_weight_norm: float | None


def carry_back(layer: VisitedLayer, output: Graded, last_h: Array, last_c: Array) -> LayerAdjoint:
    """Run the recursion from the last step to the first.

    Parameters
    ----------
    output : Graded, (T, batch, P)
        ∂L/∂h_t past the recurrence: by the module's output or through the layer above.
    last_h, last_c : ndarray, shape (batch, P), (batch, H)
        ∂L/∂h_n and ∂L/∂c_n, by what the module returns as its last state.
    """
    T, batch, P = output.values.shape
    if T:
        # By h_n the loss sees the last state, which is h_T as well.
        output = output + Graded.of(np.concatenate([np.zeros((T - 1, batch, P)), last_h[None]]))
    H = layer.c.shape[-1]
    h, c = np.zeros((T, batch, P)), np.zeros((T, batch, H))
    a_ih, a_hh = (np.zeros((T, batch, len(layer.weights.W_ih))) for _ in range(2))
    exponents = np.full((T, batch), NOTHING)
    state = Graded.of(np.concatenate([np.zeros_like(last_h), last_c], axis=-1))
    nothing = np.zeros((batch, H))
    for t in range(T - 1, -1, -1):
        state = state + Graded(np.concatenate([output.values[t], nothing], axis=-1), output.exponents[t])
        g_h, g_c = state.values[:, :P], state.values[:, P:]
        back, live = layer.back(t, g_h, g_c), layer.live[t][:, None]
        h[t], c[t] = np.where(live, g_h, 0.0), np.where(live, back.c, 0.0)
        a_ih[t], a_hh[t] = np.where(live, back.a_ih, 0.0), np.where(live, back.a_hh, 0.0)
        exponents[t] = state.exponents
        handed_on = np.concatenate([np.where(live, back.h_prev, g_h), np.where(live, back.c_prev, g_c)], axis=-1)
        state = Graded.scaled(handed_on, state.exponents)
    return LayerAdjoint(
        Graded.scaled(h, exponents),
        Graded.scaled(c, exponents),
        Graded.scaled(a_ih @ layer.weights.W_ih, exponents),
        output,
        _log10_weight_norm(Graded.scaled(a_hh, exponents), layer.h[:-1]),
    )


def _log10_weight_norm(a: Graded, h_prev: Array) -> float | None:
    """log10 of the Frobenius norm of Σ_t a_t h_{t−1}ᵀ."""
    top = int(a.exponents.max(initial=NOTHING))
    rows = _times_power(a.values, a.exponents - top)
    total = rows.reshape(-1, rows.shape[-1]).T @ h_prev.reshape(-1, h_prev.shape[-1])
    norm = float(np.linalg.norm(total))
    return float(np.log10(norm)) + top * LOG10_2 if norm > 0 else None
