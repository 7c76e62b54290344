"""The article's first step towards the LSTM: an identity path around the plain recurrence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, Traces
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class Skip(Cell):
    """h_t = h_{t−1} + u_t, u_t = φ(W_xh x_t + b + W_hh h_{t−1});  J_t = I + diag(φ′(a_t)) W_hh."""

    name: ClassVar[str] = "skip"
    gates: ClassVar[tuple[str, ...]] = ("u",)
    closed_form: ClassVar[str] = "the identity path: 1 at every lag"

    @property
    def path_weights(self) -> tuple[float, float]:
        """J_t = I + diag(φ′) W."""
        return 1.0, 1.0

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        return s_prev + self.activation.value(self.normalised(drive + self.recurrent_products(s_prev)))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """I + diag(φ′(a)) N W_hh."""
        p = drive + self.recurrent_products(s_prev)
        log_slope, norm = self.activation.log_slope(self.normalised(p)), self.norm_jacobian(p)
        identity = np.ones_like(log_slope)
        jacobian = DiagonalPlusRowScaled(identity, self.row_scaled(np.exp(log_slope), norm=norm), s_prev)
        return Linearisation(jacobian, Traces(log_slope, np.zeros_like(log_slope), {}, self.loses(log_slope)))

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """1 + γ σ₁(W), W over √ε under a layer norm."""
        return 1.0 + self.activation.max_slope * self.normalised_norms(block_norms)["u"]

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """γ, over √ε under a layer norm."""
        return self.activation.max_slope * self.norm_gain

    def next_state_bound(self, state_bound: float) -> float:
        """|h_t| ≤ |h_{t−1}| + sup |φ|: nothing keeps h bounded as t grows (theory.md C09)."""
        return state_bound + self.activation.max_value
