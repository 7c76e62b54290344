"""The minimal lstm, whose gates and candidate hear the input alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradscope.cells.activations import analytic_log_sigmoid, sigmoid
from gradscope.cells.cell import Linearisation, Traces
from gradscope.cells.input_gated import InputGated
from gradscope.errors import UsageError
from gradscope.jacobians.per_unit import PerUnitJacobian
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import log_sigmoid


@dataclass(frozen=True)
class MinLstm(InputGated):
    """h_t = f′⊙h_{t−1} + i′⊙φ(a_u), f′ = f/(f+i), i′ = i/(f+i), f, i = σ(a) of x_t alone (Feng et al. 2024, eq. 13).

    J_t = diag(f′_t), whatever the state. The paper's candidate is linear: ``activation=identity``.
    """

    name: ClassVar[str] = "minlstm"
    gates: ClassVar[tuple[str, ...]] = ("f", "i", "u")
    closed_form: ClassVar[str] = "Π f/(f+i) of each unit, its largest (exact)"
    memory_gate: ClassVar[str | None] = "f"
    write_gate: ClassVar[str | None] = "i"

    def __post_init__(self) -> None:
        """Refuse gates that are not logistic: the shares are taken in the log domain."""
        super().__post_init__()
        if self.gate_activation.name != "sigmoid":
            raise UsageError(f"the gates of a minlstm are sigmoid, not {self.gate_activation.name}")

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        a_f, a_i, a_u = self.split(self.normalised(drive))
        # Two gates that are both shut still have shares.
        lead = analytic_log_sigmoid(a_f) - analytic_log_sigmoid(a_i)
        return np.asarray(sigmoid(lead) * s_prev + sigmoid(-lead) * self.activation.value(a_u))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """diag(f′), from ln f − ln i; ∂f′/∂a_f = f′ i′ (ln σ)′(a_f), ∂f′/∂a_i = −f′ i′ (ln σ)′(a_i)."""
        drive = np.asarray(drive, dtype=np.float64)
        a_f, a_i, a_u = self.split(self.normalised(drive))
        u, log_slope = self.activation.value(a_u), self.activation.log_slope(a_u)
        log_f, log_i = log_sigmoid(a_f), log_sigmoid(a_i)
        log_kept, log_new = log_sigmoid(log_f - log_i), log_sigmoid(log_i - log_f)
        # (ln σ)′(a) = σ(−a).
        through_f = log_kept + log_new + log_sigmoid(-a_f)
        through_i = log_kept + log_new + log_sigmoid(-a_i)
        coefficients = np.stack(
            [(s_prev - u) * np.exp(through_f), (u - s_prev) * np.exp(through_i), np.exp(log_new + log_slope)], axis=-2
        )
        jacobian = PerUnitJacobian(coefficients, np.exp(log_kept), norm=self.norm_jacobian(drive))
        underflow = self.loses(log_slope, log_kept, through_f, through_i, log_new + log_slope)
        gates = {"f": np.exp(log_f), "i": np.exp(log_i)}
        return Linearisation(jacobian, Traces(log_slope, log_kept, gates, underflow))

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """‖[D/4, D/4, γ]‖ with D = sup|h| + sup|φ|, since f′ i′ ≤ ¼ and (ln σ)′ ≤ 1; over √ε under a layer norm."""
        through_gate = 0.25 * (state_bound + self.activation.max_value)
        return float(np.linalg.norm([through_gate, through_gate, self.activation.max_slope])) * self.norm_gain
