"""The slstm of xLSTM: exponential gates, with a normaliser in the place of bounded ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gradscope.cells.activations import analytic_log_sigmoid, sigmoid
from gradscope.cells.cell import Cell, Linearisation, Traces
from gradscope.cells.keys import Key, one_of
from gradscope.errors import UsageError
from gradscope.jacobians.slstm_jacobian import SlstmJacobian
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import log_sigmoid


@dataclass(frozen=True)
class Slstm(Cell):
    """c_t = f⊙c_{t−1} + i⊙φ(a_g), n_t = f⊙n_{t−1} + i, h_t = o⊙c_t/n_t (Beck et al. 2024, eq. 8 to 14), i = exp(a_i).

    f is σ(a_f), as trained, or exp(a_f); o = σ(a_o). The state is [h; ln n; y] with y = c/n: the stabiliser m_t of the
    paper's eq. 15, which changes no output and has no gradient, is the maximum that a sum of exponentials is taken
    relative to, and c and n themselves, which overflow, are never formed. From y_t = k⊙y_{t−1} + (1−k)⊙φ(a_g) with the
    share k = f n_{t−1}/n_t, |y| and |h| stay below sup|φ|. A start of zeros is c_0 = 0, n_0 = 1.

    Attributes
    ----------
    forget : {"sigmoid", "exp"}
    """

    forget: str = field(default="sigmoid")

    name: ClassVar[str] = "slstm"
    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    state_parts: ClassVar[tuple[str, ...]] = ("h", "ln n", "c/n")
    closed_form: ClassVar[str] = "the direct path ∂y/∂y = Π f n₋₁/n of y = c/n, its largest unit"
    memory_gate: ClassVar[str | None] = "f"
    write_gate: ClassVar[str | None] = "i"
    own_keys: ClassVar[Mapping[str, Key]] = {
        "forget": Key(one_of("sigmoid", "exp"), "sigmoid", "the forget gate of an slstm")
    }

    def __post_init__(self) -> None:
        """Refuse other gates: they are combined in the log domain."""
        super().__post_init__()
        if self.forget not in ("sigmoid", "exp"):
            raise UsageError(f"forget is 'sigmoid' or 'exp', not '{self.forget}'")
        if self.gate_activation.name != "sigmoid":
            raise UsageError(f"the gates of an slstm are exponential or sigmoid, not {self.gate_activation.name}")

    def _lead(self, a_i: Array, a_f: Array, log_n: Array) -> Array:
        """ln(f n_{t−1}/i): k = σ(lead)."""
        log_f = a_f if self.forget == "exp" else analytic_log_sigmoid(a_f)
        return np.asarray(log_f + log_n - a_i)

    def step(self, s_prev: Array, drive: Array) -> Array:
        """[h_t; ln n_t; y_t]."""
        h_prev, log_n, y = np.split(s_prev, 3, axis=-1)
        a_i, a_f, a_g, a_o = self.split(self.normalised(drive + self.recurrent_products(h_prev)))
        lead = self._lead(a_i, a_f, log_n)
        y = sigmoid(lead) * y + sigmoid(-lead) * self.activation.value(a_g)
        # ln(f n + i) = a_i + ln(1 + e^lead).
        return np.concatenate([sigmoid(a_o) * y, a_i - analytic_log_sigmoid(-lead), y], axis=-1)

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """The block form of :class:`~gradscope.jacobians.slstm_jacobian.SlstmJacobian`."""
        h_prev, log_n, y_prev = np.split(s_prev, 3, axis=-1)
        p = np.asarray(drive + self.recurrent_products(h_prev), dtype=np.float64)
        a_i, a_f, a_g, a_o = self.split(self.normalised(p))
        lead = self._lead(a_i, a_f, log_n)
        log_kept, log_new = log_sigmoid(lead), log_sigmoid(-lead)
        # ∂ln f/∂a_f: σ(−a_f), or 1.
        log_forget_slope = np.zeros_like(a_f) if self.forget == "exp" else log_sigmoid(-a_f)
        candidate, log_slope = self.activation.value(a_g), self.activation.log_slope(a_g)
        kept, both, o = np.exp(log_kept), np.exp(log_kept + log_new), sigmoid(a_o)
        apart = y_prev - candidate
        y = kept * y_prev + np.exp(log_new) * candidate
        log_output_slope = self.gate_activation.log_slope(a_o)
        gates = self.row_scaled(
            -apart * both,
            apart * np.exp(log_kept + log_new + log_forget_slope),
            np.exp(log_new + log_slope),
            y * np.exp(log_output_slope),
            norm=self.norm_jacobian(p),
        )
        normaliser = np.stack([np.exp(log_new), np.exp(log_kept + log_forget_slope)], axis=-2)
        jacobian = SlstmJacobian(kept, apart * both, o, gates, normaliser, h_prev)
        underflow = self.loses(log_slope, log_kept + log_new + log_forget_slope, log_new + log_slope, log_output_slope)
        return Linearisation(jacobian, Traces(log_slope, log_kept, {"kept": kept, "o": o}, underflow))

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """‖[[κ + M σ₁(W_o)/4, D/4, 1], [ν, 1, 0], [κ, D/4, 1]]‖₂ over norms of blocks.

        M = max(|y|, sup|φ|), D = |y| + sup|φ|, κ = D(σ₁(W_i) + σ₁(W_f))/4 + γσ₁(W_g), ν = √(σ₁(W_i)² + σ₁(W_f)²),
        since k(1−k) ≤ ¼ and (1−k, k) is no longer than 1.
        """
        norms = self.normalised_norms(block_norms)
        apart = state_bound + self.activation.max_value
        if not np.isfinite(apart):
            return float("inf")
        into_y = 0.25 * apart * (norms["i"] + norms["f"]) + self.activation.max_slope * norms["g"]
        into_n = math.hypot(norms["i"], norms["f"])
        into_h = into_y + 0.25 * self.next_state_bound(state_bound) * norms["o"]
        blocks = np.array([[into_h, 0.25 * apart, 1.0], [into_n, 1.0, 0.0], [into_y, 0.25 * apart, 1.0]])
        return float(np.linalg.norm(blocks, 2))

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """√(2α² + 1 + (M/4)²), α = ‖[D/4, D/4, γ]‖, over √ε under a layer norm."""
        apart, most = state_bound + self.activation.max_value, self.next_state_bound(state_bound)
        into_y = float(np.linalg.norm([0.25 * apart, 0.25 * apart, self.activation.max_slope]))
        return float(np.linalg.norm([into_y, into_y, 1.0, 0.25 * most])) * self.norm_gain

    def next_state_bound(self, state_bound: float) -> float:
        """Of y: a convex combination never leaves [−M, M]."""
        return max(state_bound, self.activation.max_value)
