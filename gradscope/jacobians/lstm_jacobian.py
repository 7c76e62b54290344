"""The lstm's step Jacobian on the state (h, c) together.

With c_t = f⊙c_{t−1} + i⊙g, h_t = o⊙φ(c_t) and G = diag(∂c/∂a_i) W_i + diag(∂c/∂a_f) W_f + diag(∂c/∂a_g) W_g:

    J = [ diag(a) G + diag(b) W_o   diag(a f) ]      a = o φ′(c_t),  b = φ(c_t) σ′(a_o)
        [ G                         diag(f)   ]

Two H × H products on a block instead of a dense 2H × 2H one: half the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradscope.jacobians.four_gates import LstmSteps
from gradscope.jacobians.row_scaled import RowScaledSum
from gradscope.jacobians.step_jacobian import Array, BelowRange, Steps


@dataclass(frozen=True)
class LstmJacobian(LstmSteps):
    """J_t of an lstm, h_t = m_t.

    Attributes
    ----------
    lost_slope : tuple of ndarray (..., H), or None
        Mantissa and power of two of those a that are positive and below float64's range (a saturated φ(c) falls as
        e^(−2|c|)); ``readout_slope`` is 0 there.
    lost_output : tuple of ndarray (..., H), or None
        The same of b, as far as its coefficient does not hold it (an output gate shut or open beyond e^±708).
    """

    lost_slope: tuple[Array, Array] | None = None
    lost_output: tuple[Array, Array] | None = None

    def __getitem__(self, steps: Steps) -> LstmJacobian:
        lost = [
            None if pair is None else (pair[0][steps], pair[1][steps]) for pair in (self.lost_slope, self.lost_output)
        ]
        return LstmJacobian(self.forget[steps], self.readout_slope[steps], self.gates[steps], self.h_prev[steps], *lost)

    def pulled_below_range(self, mantissa: Array, exponents: Array) -> tuple[BelowRange, ...]:
        """[0; g_h⊙a] for the a that are lost, what c's cotangent lacks, and g_h⊙b, what that of a_o lacks."""
        H = self.hidden_size
        h, powers = mantissa[..., :H], exponents[..., :H]
        found = []
        if self.lost_slope is not None and self.lost_slope[0].any():
            slope, bits = self.lost_slope
            found.append(_row_of((np.zeros_like(h), h * slope), powers + bits, self.pull))
        if self.lost_output is not None and self.lost_output[0].any():
            slope, bits = self.lost_output
            found.append(_row_of((h * slope, np.zeros_like(h)), powers + bits, self._pull_output_gate))
        return tuple(found)

    def _pull_output_gate(self, R: Array) -> Array:
        """R_h·N_o·W_o, from the output gate's pre-activations to h_{t−1}."""
        H = self.hidden_size
        sum_o = self.gates.gates(3, 4)
        one = RowScaledSum(np.ones_like(sum_o.coefficients), sum_o.weights, sum_o.norm)
        to_h = one.pull(R[..., :H])
        return np.concatenate([to_h, np.zeros_like(to_h)], axis=-1)

    def pull_through(self, R: Array) -> Array:
        """R·J_T, R·J_T·J_{T−1}, …, in place: the columns of h by one product per step, those of c by scaling."""
        weights = self.gates.weights
        if self.gates.norm is not None or (weights.ndim > 3 and weights.shape[0] > 1):
            return super().pull_through(R)
        T, H = self.shape[0], self.hidden_size
        W = weights if weights.ndim == 3 else weights[0]
        a, f, c = self.readout_slope[..., None, :], self.forget[..., None, :], self.gates.coefficients
        out = np.empty((T, *R.shape))
        # [R_h a + R_c, R_h b] meets [G; W_o], of which only G changes from step to step.
        rows = np.empty(R.shape)
        blocks = np.empty((*R.shape[:-2], 2 * H, H))
        blocks[..., H:, :] = W[..., 3, :, :]
        to_c, to_h = rows[..., :H], rows[..., H:]
        for i in range(T):
            t = T - 1 - i
            np.einsum("...gi,...gij->...ij", c[t, ..., :3, :], W[..., :3, :, :], out=blocks[..., :H, :])
            np.multiply(R[..., :H], a[t], out=to_c)
            to_c += R[..., H:]
            np.multiply(R[..., :H], c[t, ..., 3, None, :], out=to_h)
            np.matmul(rows, blocks, out=out[i, ..., :H])
            np.multiply(to_c, f[t], out=out[i, ..., H:])
            R = out[i]
        return out

    @cached_property
    def _coefficients_by_gate(self) -> Array:
        """The coefficients gate by gate, shape (4, steps·batch, H): what `square` asks for again and again."""
        H = self.hidden_size
        return np.ascontiguousarray(np.moveaxis(self.gates.coefficients.reshape(-1, 4, H), 1, 0))

    def square(self, R: Array) -> Array:
        """R·J·Jᵀ; for one row per step gate by gate, so that numpy meets long contiguous stretches only."""
        if R.shape[-2] > 1 or R.shape[:-2] != self.shape or self.gates.weights.ndim > 3 or self.gates.norm is not None:
            return super().square(R)
        H, W, c = self.hidden_size, self.gates.weights, self._coefficients_by_gate
        f, a = self.forget.reshape(-1, H), self.readout_slope.reshape(-1, H)
        rows = R.reshape(-1, 2 * H)
        R_h = np.ascontiguousarray(rows[:, :H])
        to_c = R_h * a
        to_c += rows[:, H:]
        scaled = np.empty_like(c)
        np.multiply(c[:3], to_c, out=scaled[:3])
        np.multiply(c[3], R_h, out=scaled[3])
        back = np.matmul(np.matmul(scaled, W).sum(axis=0), np.swapaxes(W, -1, -2))
        back *= c
        to_c *= f
        to_c *= f
        to_c += back[:3].sum(axis=0)
        back[3] += a * to_c
        return np.concatenate([back[3], to_c], axis=-1).reshape(R.shape)


def _row_of(parts: tuple[Array, Array], powers: Array, pull: Callable[[Array], Array]) -> BelowRange:
    """A row [h; c] of which both halves have the same powers of two."""
    return BelowRange(np.concatenate(parts, axis=-1), np.concatenate([powers, powers], axis=-1), pull)
