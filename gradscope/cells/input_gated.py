"""What recurrences have in common whose gates hear the input alone: a convex combination, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradscope.cells.cell import Cell, RecurrentWeights
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class InputGated(Cell):
    """h_t = k⊙h_{t−1} + (1−k)⊙φ(a_u), every pre-activation from x_t alone; ``weight_hh`` has no rows."""

    recurrent: ClassVar[RecurrentWeights] = "none"

    def recurrent_blocks(self) -> dict[str, Array]:
        """None."""
        return {}

    def recurrent_products(self, h_prev: Array) -> Array:
        """0: no pre-activation hears the state."""
        return np.zeros((*h_prev.shape[:-1], self.n_gates * self.hidden_size), dtype=h_prev.dtype)

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """1: the share that is kept, for every input; neared by an open gate."""
        return 1.0

    def next_state_bound(self, state_bound: float) -> float:
        """A convex combination never leaves [−M, M], M = max(|h_0|, sup|φ|)."""
        return max(state_bound, self.activation.max_value)
