"""What recurrences with one pre-activation a unit have in common: the old state and φ(W h + …), in fixed shares."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, Traces
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class OnePath(Cell):
    """h_t = d h_{t−1} + c φ(a_t), a_t = W_xh x_t + b + W_hh h_{t−1};  J_t = d I + c diag(φ′(a_t)) W_hh.

    (d, c) are its :attr:`path_weights`; a cell says them, its closed form and what bounds its state.
    """

    gates: ClassVar[tuple[str, ...]] = ("u",)

    @property
    @abstractmethod
    def path_weights(self) -> tuple[float, float]:
        """(d, c)."""

    @property
    def is_slope_times_weight(self) -> bool:
        """Where nothing is kept, unless the pre-activations are normalised."""
        return self.path_weights == (0.0, 1.0) and self.norm == "none"

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        kept, new = self.path_weights
        u = self.activation.value(self.normalised(drive + self.recurrent_products(s_prev)))
        return u if (kept, new) == (0.0, 1.0) else np.asarray(kept * s_prev + new * u)

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """d I + c diag(φ′(a)) N W_hh; theory sees φ′(a), with a norm and d = 0 φ′(a)/s, N's leading part."""
        kept, new = self.path_weights
        p = drive + self.recurrent_products(s_prev)
        log_slope, norm = self.activation.log_slope(self.normalised(p)), self.norm_jacobian(p)
        recurrent = self.row_scaled(new * np.exp(log_slope), norm=norm)
        diagonal = np.full_like(log_slope, kept) if kept else None
        if norm is not None and not kept:
            log_slope = log_slope + np.log(norm.inverse_scale)
        log_direct = None if diagonal is None else np.log(diagonal)
        jacobian = DiagonalPlusRowScaled(diagonal, recurrent, s_prev)
        return Linearisation(jacobian, Traces(log_slope, log_direct, {}, self.loses(log_slope)))

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """d + c γ σ₁(W), γ = sup φ′ (Pascanu, Mikolov and Bengio 2013 for d = 0); W over √ε under a layer norm.

        Attained by W = wI, w > 0, at a = 0.
        """
        kept, new = self.path_weights
        return kept + new * self.activation.max_slope * self.normalised_norms(block_norms)["u"]

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """c γ, over √ε under a layer norm."""
        _, new = self.path_weights
        return new * self.activation.max_slope * self.norm_gain
