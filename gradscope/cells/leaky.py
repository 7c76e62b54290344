"""The leaky integrator of neuroscience and of echo state networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, Traces
from gradscope.cells.keys import Key, share
from gradscope.errors import UsageError
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class Leaky(Cell):
    """h_t = (1−α) h_{t−1} + α φ(a_t), a_t = W_xh x_t + b + W_hh h_{t−1}, with the leak α (Jaeger et al. 2007, eq. 1).

    J_t = (1−α) I + α diag(φ′(a_t)) W_hh; α = 1 is the plain recurrence.

    Attributes
    ----------
    leak : float
        α, from 0 to 1.
    """

    leak: float = field(default=0.5)

    name: ClassVar[str] = "leaky"
    gates: ClassVar[tuple[str, ...]] = ("u",)
    closed_form: ClassVar[str] = "the direct path (1−leak)^k; at leak=1 (φ′)^k W^k, the plain recurrence's"
    own_keys: ClassVar[Mapping[str, Key]] = {
        "leak": Key(share, 0.5, "α of h = (1−α) h₋₁ + α φ(a): the share that is new", in_files=True)
    }

    def __post_init__(self) -> None:
        """Refuse a leak that is no share."""
        super().__post_init__()
        if not 0 <= self.leak <= 1:
            raise UsageError(f"leak is a share from 0 to 1, not {self.leak}")

    @property
    def is_slope_times_weight(self) -> bool:
        """At α = 1, unless the pre-activations are normalised."""
        return self.leak == 1 and self.norm == "none"

    @property
    def path_weights(self) -> tuple[float, float]:
        """J_t = (1−α) I + α diag(φ′) W."""
        return 1 - self.leak, self.leak

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        a = self.normalised(drive + self.recurrent_products(s_prev))
        return np.asarray((1 - self.leak) * s_prev + self.leak * self.activation.value(a))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """(1−α) I + α diag(φ′(a)) N W_hh."""
        p = drive + self.recurrent_products(s_prev)
        log_slope, norm = self.activation.log_slope(self.normalised(p)), self.norm_jacobian(p)
        recurrent = self.row_scaled(self.leak * np.exp(log_slope), norm=norm)
        if self.leak == 1:
            kept = log_kept = None
            log_slope = log_slope if norm is None else log_slope + np.log(norm.inverse_scale)
        else:
            kept = np.full_like(log_slope, 1 - self.leak)
            log_kept = np.log(kept)
        jacobian = DiagonalPlusRowScaled(kept, recurrent, s_prev)
        return Linearisation(jacobian, Traces(log_slope, log_kept, {}, self.loses(log_slope)))

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """(1−α) + α γ σ₁(W), attained by W = wI, w > 0, at a = 0; over √ε under a layer norm."""
        return 1 - self.leak + self.leak * self.activation.max_slope * self.normalised_norms(block_norms)["u"]

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """α γ, over √ε under a layer norm."""
        return self.leak * self.activation.max_slope * self.norm_gain

    def next_state_bound(self, state_bound: float) -> float:
        """A convex combination never leaves [−M, M], M = max(|h_0|, sup|φ|)."""
        return max(state_bound, self.activation.max_value)
