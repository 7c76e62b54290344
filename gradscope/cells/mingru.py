"""The minimal gru, whose gate and candidate hear the input alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradscope.cells.cell import Linearisation, Traces
from gradscope.cells.input_gated import InputGated
from gradscope.jacobians.per_unit import PerUnitJacobian
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class MinGru(InputGated):
    """h_t = (1−z)⊙h_{t−1} + z⊙φ(a_u) with z = σ(a_z), a_g = W_g x_t + b_g (Feng et al. 2024, eq. 9).

    J_t = diag(1−z_t), whatever the state. The paper's candidate is linear: ``activation=identity``.
    """

    name: ClassVar[str] = "mingru"
    gates: ClassVar[tuple[str, ...]] = ("z", "u")
    closed_form: ClassVar[str] = "Π (1−z) of each unit, its largest (exact)"
    memory_gate: ClassVar[str | None] = "z"
    #: z lets in what is new.
    memory_sign: ClassVar[int] = -1

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        a_z, a_u = self.split(self.normalised(drive))
        sigma = self.gate_activation.value
        # σ(−a) = 1 − σ(a), with its digits when the gate is open.
        return np.asarray(sigma(-a_z) * s_prev + sigma(a_z) * self.activation.value(a_u))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """diag(1−z)."""
        drive = np.asarray(drive, dtype=np.float64)
        a_z, a_u = self.split(self.normalised(drive))
        sigma, phi = self.gate_activation, self.activation
        z, kept, u = sigma.value(a_z), sigma.value(-a_z), phi.value(a_u)
        log_z_slope, log_slope = sigma.log_slope(a_z), phi.log_slope(a_u)
        coefficients = np.stack([(u - s_prev) * np.exp(log_z_slope), z * np.exp(log_slope)], axis=-2)
        jacobian = PerUnitJacobian(coefficients, kept, norm=self.norm_jacobian(drive))
        log_kept = sigma.log_value(-a_z)
        underflow = self.loses(log_slope, log_z_slope, log_kept, sigma.log_value(a_z) + log_slope)
        return Linearisation(jacobian, Traces(log_slope, log_kept, {"z": z}, underflow))

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """‖[(sup|h| + sup|φ|) sup σ′, γ]‖: one row per unit, one entry per gate; over √ε under a layer norm."""
        through_gate = (state_bound + self.activation.max_value) * self.gate_activation.max_slope
        return float(np.hypot(through_gate, self.activation.max_slope)) * self.norm_gain
