"""The article's third step: the new state gets a gate of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, Traces, product_bound
from gradscope.cells.domination import Block, Domination
from gradscope.cells.intervals import Interval, carried, image, largest_slope
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class InputGate(Cell):
    """h_t = f⊙h_{t−1} + i⊙u with i = σ(a_i), f = σ(a_f), u = φ(a_u).

    J_t = diag(f) + diag(u σ′(a_i)) W_i + diag(h_{t−1} σ′(a_f)) W_f + diag(i φ′(a_u)) W_u.
    """

    name: ClassVar[str] = "input-gate"
    gates: ClassVar[tuple[str, ...]] = ("i", "f", "u")
    closed_form: ClassVar[str] = "the direct path Π f, its largest unit"
    memory_gate: ClassVar[str | None] = "f"
    write_gate: ClassVar[str | None] = "i"

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        a_i, a_f, a_u = self.split(self.normalised(drive + self.recurrent_products(s_prev)))
        sigma = self.gate_activation.value
        return np.asarray(sigma(a_f) * s_prev + sigma(a_i) * self.activation.value(a_u))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """diag(f) + diag(u σ′) N_i W_i + diag(h σ′) N_f W_f + diag(i φ′) N_u W_u."""
        p = drive + self.recurrent_products(s_prev)
        a_i, a_f, a_u = self.split(self.normalised(p))
        sigma = self.gate_activation
        i, f, u = (
            np.asarray(v, dtype=np.float64) for v in (sigma.value(a_i), sigma.value(a_f), self.activation.value(a_u))
        )
        log_i_slope, log_f_slope = sigma.log_slope(a_i), sigma.log_slope(a_f)
        log_slope = self.activation.log_slope(a_u)
        jacobian = DiagonalPlusRowScaled(
            f,
            self.row_scaled(
                u * np.exp(log_i_slope),
                s_prev * np.exp(log_f_slope),
                i * np.exp(log_slope),
                norm=self.norm_jacobian(p),
            ),
            s_prev,
        )
        log_f = sigma.log_value(a_f)
        underflow = self.loses(log_slope, log_i_slope, log_f_slope, log_f, sigma.log_value(a_i) + log_slope)
        return Linearisation(jacobian, Traces(log_slope, log_f, {"i": i, "f": f}, underflow))

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """1 + sup σ′ (sup|φ| σ₁(W_i) + sup|h| σ₁(W_f)) + γ σ₁(W_u); sup|h| grows with t (theory.md C13).

        A layer norm divides each W by √ε at most.
        """
        block_norms = self.normalised_norms(block_norms)
        s, gamma = self.gate_activation.max_slope, self.activation.max_slope
        through_i = product_bound(self.activation.max_value, s, block_norms["i"])
        through_f = product_bound(state_bound, s, block_norms["f"])
        return 1.0 + through_i + through_f + gamma * block_norms["u"]

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """‖[sup|φ| sup σ′, sup|h| sup σ′, γ]‖: one row per unit, one entry per gate; over √ε under a layer norm."""
        s, gamma = self.gate_activation.max_slope, self.activation.max_slope
        return float(np.linalg.norm([self.activation.max_value * s, state_bound * s, gamma])) * self.norm_gain

    def next_state_bound(self, state_bound: float) -> float:
        """|h_t| ≤ |h_{t−1}| + sup|φ|."""
        return state_bound + self.activation.max_value

    def domination(self, drive: Interval, start: Interval) -> Domination | None:
        """diag(f) and three blocks from gate bounds over the reachable set; None where some f reaches 1.

        h is not bounded before the gates are, so a box is grown from h_0 until the gates over it keep h within it; then
        no h ever leaves it.
        """
        if self.norm != "none" or self.weight_hh.ndim != 2 or not np.isfinite(self.activation.max_value):
            return None
        sigma, W, U = self.gate_activation, self.recurrent_blocks(), self.input_blocks()
        h = start
        for _ in range(60):
            a_i, a_f, a_u = self.gate_intervals(drive, h)
            i, f, u = image(sigma, a_i), image(sigma, a_f), image(self.activation, a_u)
            if not (f.high < 1.0).all():
                return None
            reached = carried(f, np.asarray(sigma.value(-a_f.high)), i * u, start).outward(self.outward_rounding)
            if (reached.low >= h.low).all() and (reached.high <= h.high).all():
                break
            h = h.hull(reached).outward(0.01)
        else:
            return None
        coefficients = (
            u.magnitude * largest_slope(sigma, a_i),
            h.magnitude * largest_slope(sigma, a_f),
            i.high * largest_slope(self.activation, a_u),
        )
        into = Block(coefficients, (W["i"], W["f"], W["u"]))

        def norms(norm: Callable[[Block], float]) -> Array:
            return np.array([[float(f.high.max()) + norm(into)]])

        heard = Block(coefficients, (U["i"], U["f"], U["u"]))
        return Domination(into.entrywise() + np.diag(f.high), None, None, norms, h, (((heard,),),))
