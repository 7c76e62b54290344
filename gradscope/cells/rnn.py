"""The article's plain recurrence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradscope.cells.one_path import OnePath


@dataclass(frozen=True)
class Rnn(OnePath):
    """h_t = φ(a_t), a_t = W_xh x_t + b + W_hh h_{t−1};  J_t = diag(φ′(a_t)) W_hh."""

    name: ClassVar[str] = "rnn"
    closed_form: ClassVar[str] = "(φ′)^k W^k: the product of mean slopes times ‖W^k‖₂ (the article's formula)"

    @property
    def path_weights(self) -> tuple[float, float]:
        """J_t = diag(φ′) W."""
        return 0.0, 1.0
