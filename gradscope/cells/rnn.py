"""The article's plain recurrence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, Traces
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class Rnn(Cell):
    """h_t = φ(a_t), a_t = W_xh x_t + b + W_hh h_{t−1};  J_t = diag(φ′(a_t)) W_hh."""

    name: ClassVar[str] = "rnn"
    gates: ClassVar[tuple[str, ...]] = ("u",)
    closed_form: ClassVar[str] = "(φ′)^k W^k: the product of mean slopes times ‖W^k‖₂ (the article's formula)"

    @property
    def is_slope_times_weight(self) -> bool:
        """True unless the pre-activations are normalised."""
        return self.norm == "none"

    @property
    def path_weights(self) -> tuple[float, float]:
        """J_t = diag(φ′) W."""
        return 0.0, 1.0

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        return self.activation.value(self.normalised(drive + self.recurrent_products(s_prev)))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """diag(φ′(a)) N W_hh; with a norm, the slope that theory sees is φ′(a)/s, N's leading part."""
        p = drive + self.recurrent_products(s_prev)
        log_slope, norm = self.activation.log_slope(self.normalised(p)), self.norm_jacobian(p)
        jacobian = DiagonalPlusRowScaled(None, self.row_scaled(np.exp(log_slope), norm=norm), s_prev)
        if norm is not None:
            log_slope = log_slope + np.log(norm.inverse_scale)
        return Linearisation(jacobian, Traces(log_slope, None, {}, self.loses(log_slope)))

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """γ σ₁(W), γ = sup φ′ (Pascanu, Mikolov and Bengio 2013); divided by √ε under a layer norm."""
        return self.activation.max_slope * self.normalised_norms(block_norms)["u"]

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """γ, over √ε under a layer norm."""
        return self.activation.max_slope * self.norm_gain
