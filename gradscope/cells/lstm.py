"""The LSTM, in PyTorch's form: gates i, f, g, o and the state (h, c) together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, Traces
from gradscope.cells.domination import Block, Domination
from gradscope.cells.intervals import Interval, carried, image, largest_slope
from gradscope.jacobians.lstm_jacobian import LstmJacobian
from gradscope.jacobians.row_scaled import RowScaledSum
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import powers_of_two

#: Boxes within boxes until the reachable set is bounded as well as it will be.
_NESTED_BOXES = 12


class GateDerivatives(NamedTuple):
    """f; a = o φ′(c_t); the gates' coefficients over W_hh; m_t = o⊙φ(c_t); and what of a and b float64 cannot hold."""

    forget: Array
    readout_slope: Array
    gates: RowScaledSum
    output: Array
    lost_slope: tuple[Array, Array] | None
    lost_output: tuple[Array, Array] | None


@dataclass(frozen=True)
class Lstm(Cell):
    """c_t = f⊙c_{t−1} + i⊙g, h_t = o⊙φ(c_t), with i, f, o = σ(a) and g = φ(a_g); the state is [h; c]."""

    name: ClassVar[str] = "lstm"
    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    state_parts: ClassVar[tuple[str, ...]] = ("h", "c")
    closed_form: ClassVar[str] = "the direct path ∂c/∂c = Π f, its largest unit"
    memory_gate: ClassVar[str | None] = "f"
    write_gate: ClassVar[str | None] = "i"

    def step(self, s_prev: Array, drive: Array) -> Array:
        """[h_t; c_t]."""
        H = self.hidden_size
        h_prev, c_prev = s_prev[..., :H], s_prev[..., H:]
        a = self.normalised(drive + self.recurrent_products(h_prev))
        phi = self.activation.value
        # One call for all gates, the candidate's share of it unused: a call costs more than H numbers.
        i, f, _, o = self.split(self.gate_activation.value(a))
        c = f * c_prev + i * phi(a[..., 2 * H : 3 * H])
        return np.concatenate([o * phi(c), c], axis=-1)

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """The block form of :class:`~gradscope.jacobians.lstm_jacobian.LstmJacobian`."""
        H = self.hidden_size
        h_prev = s_prev[..., :H]
        parts, traces = self.gate_derivatives(h_prev, s_prev[..., H:], drive)
        lost = parts.lost_slope, parts.lost_output
        return Linearisation(LstmJacobian(parts.forget, parts.readout_slope, parts.gates, h_prev, *lost), traces)

    def gate_derivatives(self, h_prev: Array, c_prev: Array, drive: Array) -> tuple[GateDerivatives, Traces]:
        """How c_t and m_t = o⊙φ(c_t) depend on the pre-activations, in float64, and what theory may know of it."""
        p = np.asarray(drive + self.recurrent_products(h_prev), dtype=np.float64)
        a_i, a_f, a_g, a_o = self.split(self.normalised(p))
        sigma, phi = self.gate_activation, self.activation
        i, f, g, o = sigma.value(a_i), sigma.value(a_f), phi.value(a_g), sigma.value(a_o)
        c = f * c_prev + i * g
        log_gate_slopes = [sigma.log_slope(a) for a in (a_i, a_f, a_o)]
        slope_i, slope_f, slope_o = (np.exp(log) for log in log_gate_slopes)
        log_slope, log_output_slope = phi.log_slope(a_g), phi.log_slope(c)
        phi_c = phi.value(c)
        gates = self.row_scaled(
            g * slope_i, c_prev * slope_f, i * np.exp(log_slope), phi_c * slope_o, norm=self.norm_jacobian(p)
        )
        log_a = sigma.log_value(a_o) + log_output_slope
        lost = powers_of_two(log_a)
        slope = np.exp(log_a) if lost is None else np.where(lost[0] > 0, 0.0, np.exp(log_a))
        lost_output = _held_by_no_float(phi_c, log_gate_slopes[2])
        parts = GateDerivatives(f, slope, gates, o * phi_c, lost, lost_output)
        log_f = sigma.log_value(a_f)
        underflow = self.loses(log_slope, log_output_slope, log_f, sigma.log_value(a_i) + log_slope, *log_gate_slopes)
        return parts, Traces(log_slope, log_f, {"i": i, "f": f, "o": o}, underflow)

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """‖[[γκ + s M σ₁(W_o), γ], [κ, 1]]‖₂ over norms of blocks, κ = s(M σ₁(W_i) + sup|c| σ₁(W_f)) + γσ₁(W_g).

        s = sup σ′, γ = sup φ′, M = sup|φ|; a block matrix's norm is at most that of its blocks' norms.
        """
        blocks = self.step_norm_blocks(block_norms, state_bound)
        return float("inf") if blocks is None else norm_of_two_by_two(*blocks)

    def step_norm_blocks(
        self, block_norms: dict[str, float], state_bound: float
    ) -> tuple[float, float, float, float] | None:
        """Bounds on the norms of ∂m/∂h, ∂m/∂c, ∂c/∂h, ∂c/∂c (m = o⊙φ(c)), previous step to this; None if none."""
        s, gamma, M = self.gate_activation.max_slope, self.activation.max_slope, self.activation.max_value
        if not np.isfinite(M):
            return None
        block_norms = self.normalised_norms(block_norms)
        into_c = s * (M * block_norms["i"] + state_bound * block_norms["f"]) + gamma * block_norms["g"]
        return gamma * into_c + s * M * block_norms["o"], gamma, into_c, 1.0

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """‖[[γκ, s M], [κ, 0]]‖₂ with κ = ‖[s M, s sup|c|, γ]‖, over √ε under a layer norm."""
        blocks = self.drive_norm_blocks(state_bound)
        return float("inf") if blocks is None else norm_of_two_by_two(*blocks)

    def drive_norm_blocks(self, state_bound: float) -> tuple[float, float, float, float] | None:
        """Bounds on ∂m and ∂c by the drive of i, f, g (first) and of o, norm gain included; None if there are none."""
        s, gamma, M = self.gate_activation.max_slope, self.activation.max_slope, self.activation.max_value
        if not np.isfinite(M):
            return None
        into_c = self.norm_gain * float(np.linalg.norm([s * M, s * state_bound, gamma]))
        return gamma * into_c, s * M * self.norm_gain, into_c, 0.0

    def next_state_bound(self, state_bound: float) -> float:
        """|c_t| ≤ |c_{t−1}| + sup|φ| (reached without forgetting, theory.md C11)."""
        return state_bound + self.activation.max_value

    def domination(self, drive: Interval, start: Interval) -> Domination | None:
        """Gate bounds over the reachable set, and the blocks of |J_t| they allow; None where some f reaches 1.

        |h_t| ≤ sup o·sup|φ(c)|, c within sup|i g|/(1 − sup f): the gates' intervals over any box that holds every h
        give a smaller box that does, and so on.
        """
        M, H = self.activation.max_value, self.hidden_size
        if self.norm != "none" or self.weight_hh.ndim != 2 or not np.isfinite(M):
            return None
        sigma, phi = self.gate_activation, self.activation
        h_start, c_start = start[:H], start[H:]
        h = h_start.hull(Interval.around(np.zeros(H), M))
        for _ in range(_NESTED_BOXES):
            a_i, a_f, a_g, a_o = self.gate_intervals(drive, h)
            i, f, g, o = image(sigma, a_i), image(sigma, a_f), image(phi, a_g), image(sigma, a_o)
            if not (f.high < 1.0).all():
                return None
            c = carried(f, np.asarray(sigma.value(-a_f.high)), i * g, c_start).outward(self.outward_rounding)
            phi_c = image(phi, c)
            h = h_start.hull((o * phi_c).outward(self.outward_rounding).within(h))
        slope_i, slope_f, slope_o = (largest_slope(sigma, a) for a in (a_i, a_f, a_o))
        W, U = self.recurrent_blocks(), self.input_blocks()
        to_c = (g.magnitude * slope_i, c.magnitude * slope_f, i.high * largest_slope(phi, a_g))
        into_c = Block(to_c, (W["i"], W["f"], W["g"]))
        through_o = Block((phi_c.magnitude * slope_o,), (W["o"],))
        readout = o.high * largest_slope(phi, c)
        G = into_c.entrywise()
        fixed = np.block(
            [[readout[:, None] * G + through_o.entrywise(), np.diag(readout * f.high)], [G, np.diag(f.high)]]
        )

        def norms(norm: Callable[[Block], float]) -> Array:
            kappa, largest = norm(into_c), float(readout.max())
            return np.array([[largest * kappa + norm(through_o), (readout * f.high).max()], [kappa, f.high.max()]])

        to_h = (*(readout * d for d in to_c), phi_c.magnitude * slope_o)
        heard = ((Block(to_h, (U["i"], U["f"], U["g"], U["o"])),),), ((Block(to_c, (U["i"], U["f"], U["g"])),),)
        return Domination(fixed, None, None, norms, Interval(np.append(h.low, c.low), np.append(h.high, c.high)), heard)


def _held_by_no_float(value: Array, log_factor: Array) -> tuple[Array, Array] | None:
    """value·e^log_factor − its nearest float64, where that is below the normal range: mantissa and power of two."""
    with np.errstate(divide="ignore"):
        lost = powers_of_two(np.log(np.abs(value)) + log_factor)
    if lost is None:
        return None
    mantissa, bits = lost
    held = np.ldexp(np.abs(value) * np.exp(log_factor), np.minimum(-bits, 2000).astype(np.int32))
    return np.where(mantissa > 0, np.sign(value) * (mantissa - held), 0.0), bits


def norm_of_two_by_two(a: float, b: float, c: float, d: float) -> float:
    """‖[[a, b], [c, d]]‖₂ = (√((a + d)² + (b − c)²) + √((a − d)² + (b + c)²))/2, asked for at every step.

    >>> norm_of_two_by_two(3.0, 0.0, 0.0, -4.0)
    4.0
    """
    return 0.5 * (math.hypot(a + d, b - c) + math.hypot(a - d, b + c))
