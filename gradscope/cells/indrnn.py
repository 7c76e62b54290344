"""The independently recurrent network: every unit reads itself alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradscope.cells.cell import Cell, Linearisation, RecurrentWeights, Traces
from gradscope.jacobians.per_unit import PerUnitJacobian
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class IndRnn(Cell):
    """h_t = φ(a_t), a_t = W_xh x_t + b + w⊙h_{t−1} (Li, Li, Cook, Zhu and Gao 2018, eq. 2).

    J_t = diag(φ′(a_t)⊙w): units meet in the layers above only. ``weight_hh`` holds w as a column.
    """

    name: ClassVar[str] = "indrnn"
    gates: ClassVar[tuple[str, ...]] = ("u",)
    closed_form: ClassVar[str] = "Π φ′ w of each unit, its largest (exact)"
    recurrent: ClassVar[RecurrentWeights] = "own"
    inits: ClassVar[tuple[str, ...] | None] = ("gaussian", "orthogonal", "identity", "uniform", "pytorch", "keras")

    @property
    def path_weights(self) -> tuple[float, float]:
        """J_t = diag(φ′) diag(w)."""
        return 0.0, 1.0

    def weights_by_eigenvalue(self) -> Array:
        """1: w are the eigenvalues of diag(w)."""
        return np.ones(self.weight_hh.shape[:-1])

    def recurrent_blocks(self) -> dict[str, Array]:
        """diag(w), for whoever asks about eigenvalues and norms of the one block."""
        return {"u": np.asarray(self.weight_hh * np.eye(self.hidden_size))}

    def recurrent_products(self, h_prev: Array) -> Array:
        """w⊙h_{t−1}."""
        return np.asarray(h_prev * self.weight_hh[..., None, :, 0])

    def step(self, s_prev: Array, drive: Array) -> Array:
        """h_t."""
        return self.activation.value(self.normalised(drive + self.recurrent_products(s_prev)))

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """diag(φ′(a)) N diag(w)."""
        p = drive + self.recurrent_products(s_prev)
        log_slope, norm = self.activation.log_slope(self.normalised(p)), self.norm_jacobian(p)
        w = np.asarray(self.weight_hh[..., 0], dtype=np.float64)
        # (networks…, H) → (time 1, networks…, batch 1, G, H)
        weights: Any = w[None] if w.ndim == 1 else w[None, ..., None, None, :]
        jacobian = PerUnitJacobian(np.exp(log_slope)[..., None, :], None, weights, s_prev, norm)
        underflow = self.loses(log_slope)
        if norm is not None:
            # N mixes the units: there is no path of a unit's own.
            return Linearisation(jacobian, Traces(log_slope + np.log(norm.inverse_scale), None, {}, underflow))
        with np.errstate(divide="ignore"):
            log_direct = log_slope + np.log(np.abs(weights[..., 0, :]))
        return Linearisation(jacobian, Traces(log_slope, log_direct, {}, underflow))

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """γ max|w|, attained at a = 0; over √ε under a layer norm."""
        return self.activation.max_slope * self.normalised_norms(block_norms)["u"]

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """γ, over √ε under a layer norm."""
        return self.activation.max_slope * self.norm_gain
