"""The article's first step towards the LSTM: an identity path around the plain recurrence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.cells.one_path import OnePath


@dataclass(frozen=True)
class Skip(OnePath):
    """h_t = h_{t−1} + u_t, u_t = φ(W_xh x_t + b + W_hh h_{t−1});  J_t = I + diag(φ′(a_t)) W_hh."""

    name: ClassVar[str] = "skip"
    closed_form: ClassVar[str] = "the identity path: 1 at every lag"

    @property
    def path_weights(self) -> tuple[float, float]:
        """J_t = I + diag(φ′) W."""
        return 1.0, 1.0

    def next_state_bound(self, state_bound: float) -> float:
        """|h_t| ≤ |h_{t−1}| + sup |φ|: nothing keeps h bounded as t grows (theory.md C09)."""
        return state_bound + self.activation.max_value
