"""The article's second step: one gate that trades the old state against the new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, Traces, product_bound
from gradscope.cells.domination import Block, Domination
from gradscope.cells.intervals import Interval, image, largest_slope
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class ForgetGate(Cell):
    """h_t = f⊙h_{t−1} + (1−f)⊙u with f = σ(a_f), u = φ(a_u), both pre-activations from x_t and h_{t−1}.

    J_t = diag(f) + diag((h_{t−1}−u) σ′(a_f)) W_f + diag((1−f) φ′(a_u)) W_u (theory.md C13).
    """

    name: ClassVar[str] = "forget-gate"
    gates: ClassVar[tuple[str, ...]] = ("f", "u")
    closed_form: ClassVar[str] = "the direct path Π f, its largest unit"
    memory_gate: ClassVar[str | None] = "f"

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        a_f, a_u = self.split(self.normalised(drive + self.recurrent_products(s_prev)))
        f = self.gate_activation.value(a_f)
        # σ(−a) = 1 − σ(a) for every gate here, and keeps its digits when the gate is open.
        return np.asarray(f * s_prev + self.gate_activation.value(-a_f) * self.activation.value(a_u))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """diag(f) + diag((h−u) σ′) N_f W_f + diag((1−f) φ′) N_u W_u."""
        p = drive + self.recurrent_products(s_prev)
        a_f, a_u = self.split(self.normalised(p))
        f, u = self.gate_activation.value(a_f), self.activation.value(a_u)
        log_gate_slope = self.gate_activation.log_slope(a_f)
        log_slope = self.activation.log_slope(a_u)
        f = np.asarray(f, dtype=np.float64)
        jacobian = DiagonalPlusRowScaled(
            f,
            self.row_scaled(
                (s_prev - u) * np.exp(log_gate_slope),
                np.asarray(self.gate_activation.value(-a_f), dtype=np.float64) * np.exp(log_slope),
                norm=self.norm_jacobian(p),
            ),
            s_prev,
        )
        log_f = self.gate_activation.log_value(a_f)
        return Linearisation(
            jacobian,
            Traces(
                log_slope,
                log_f,
                {"f": f},
                self.loses(log_slope, log_gate_slope, log_f, self.gate_activation.log_value(-a_f) + log_slope),
            ),
        )

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """√(1 + γ²σ₁(W_u)²) + (sup|h| + sup|φ|) sup σ′ σ₁(W_f).

        A row of [diag(f), diag(1−f)] has norm ≤ 1, so ‖diag(f) + diag(1−f) X‖ ≤ ‖[I; X]‖; with one unit open and
        another closed this is attained (max(1, ‖X‖) would be too small). A layer norm divides each W by √ε at most.
        """
        block_norms = self.normalised_norms(block_norms)
        sup_difference = state_bound + self.activation.max_value
        through_gate = product_bound(sup_difference, self.gate_activation.max_slope, block_norms["f"])
        return float(np.hypot(1.0, self.activation.max_slope * block_norms["u"])) + through_gate

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """‖[(sup|h| + sup|φ|) sup σ′, γ]‖: one row per unit, one entry per gate; over √ε under a layer norm."""
        through_gate = (state_bound + self.activation.max_value) * self.gate_activation.max_slope
        return float(np.hypot(through_gate, self.activation.max_slope)) * self.norm_gain

    def next_state_bound(self, state_bound: float) -> float:
        """A convex combination never leaves [−M, M], M = max(|h_0|, sup|φ|)."""
        return max(state_bound, self.activation.max_value)

    def domination(self, drive: Interval, start: Interval) -> Domination | None:
        """diag(f) + diag(1−f) X + Y, X and Y from gate bounds over the reachable set: h stays between h_0 and sup u."""
        M, H = self.activation.max_value, self.hidden_size
        if self.norm != "none" or self.weight_hh.ndim != 2 or not np.isfinite(M):
            return None
        W, U = self.recurrent_blocks(), self.input_blocks()
        h = start.hull(Interval.around(np.zeros(H), M))
        for _ in range(12):
            a_f, a_u = self.gate_intervals(drive, h)
            u = image(self.activation, a_u)
            h = start.hull(u.outward(self.outward_rounding).within(h))
        f, slope = image(self.gate_activation, a_f), largest_slope(self.activation, a_u)
        through_f = Block(((h - u).magnitude * largest_slope(self.gate_activation, a_f),), (W["f"],))
        new = Block(((1.0 - f.low) * slope,), (W["u"],))

        def norms(norm: Callable[[Block], float]) -> Array:
            return np.array([[float(f.high.max()) + norm(new) + norm(through_f)]])

        heard = Block((*through_f.coefficients, *new.coefficients), (U["f"], U["u"]))
        return Domination(through_f.entrywise(), f, Block((slope,), (W["u"],)).entrywise(), norms, h, (((heard,),),))
