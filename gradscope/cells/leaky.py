"""The leaky integrator of neuroscience and of echo state networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from gradscope.cells.keys import Key, share
from gradscope.cells.one_path import OnePath
from gradscope.errors import UsageError


@dataclass(frozen=True)
class Leaky(OnePath):
    """h_t = (1−α) h_{t−1} + α φ(a_t), a_t = W_xh x_t + b + W_hh h_{t−1}, with the leak α (Jaeger et al. 2007, eq. 1).

    J_t = (1−α) I + α diag(φ′(a_t)) W_hh; α = 1 is the plain recurrence.

    Attributes
    ----------
    leak : float
        α, from 0 to 1.
    """

    leak: float = field(default=0.5)

    name: ClassVar[str] = "leaky"
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
    def path_weights(self) -> tuple[float, float]:
        """J_t = (1−α) I + α diag(φ′) W."""
        return 1 - self.leak, self.leak

    def next_state_bound(self, state_bound: float) -> float:
        """A convex combination never leaves [−M, M], M = max(|h_0|, sup|φ|)."""
        return max(state_bound, self.activation.max_value)
