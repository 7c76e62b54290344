"""The LSTM whose output is projected: ``nn.LSTM(proj_size=P)``, read from files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from gradscope.cells.cell import Linearisation
from gradscope.cells.domination import Domination
from gradscope.cells.intervals import Interval
from gradscope.cells.lstm import Lstm, norm_of_two_by_two
from gradscope.errors import ShapeError
from gradscope.jacobians.lstm_projected_jacobian import ProjectedLstmJacobian
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class LstmProjected(Lstm):
    """c_t = f⊙c_{t−1} + i⊙g, h_t = W_hr (o⊙φ(c_t)): an lstm of H units that hands on P numbers (Sak et al. 2014).

    The state is [h (P); c (H)]; ``weight_hh`` is (4H, P), since the gates hear h. In the units' own terms it is the
    lstm with the recurrent matrices W_g W_hr of rank P at most, which is what :meth:`square_blocks` gives.

    Attributes
    ----------
    weight_hr : ndarray, shape (..., P, H)

    References
    ----------
    Sak, Senior and Beaufays, Long short-term memory recurrent neural network architectures for large scale acoustic
    modeling, Interspeech 2014, eqs. 1–7 without peepholes, as in PyTorch.
    """

    weight_hr: Array = field(default_factory=lambda: np.zeros((0, 0)))

    name: ClassVar[str] = "lstm-projected"

    def __post_init__(self) -> None:
        """Refuse a projection that is none."""
        super().__post_init__()
        if self.weight_hr.shape[-2:] != (self.hidden_size, self.gate_size):
            raise ShapeError(
                f"weight_hr is (projected, units) = ({self.hidden_size}, {self.gate_size}) beside this weight_hh, "
                f"not {self.weight_hr.shape[-2:]}"
            )

    @property
    def state_size(self) -> int:
        """P + H."""
        return self.hidden_size + self.gate_size

    def domination(self, drive: Interval, start: Interval) -> Domination | None:
        """None: what a projection mixes is not followed by intervals."""
        return None

    def projections(self) -> tuple[Array, ...]:
        """W_hr."""
        return (self.weight_hr,)

    def square_blocks(self) -> dict[str, Array]:
        """W_g W_hr, each (..., H, H): how o⊙φ(c) of one step reaches a gate of the next."""
        return {gate: np.asarray(W @ self.weight_hr) for gate, W in self.recurrent_blocks().items()}

    def step(self, s_prev: Array, drive: Array) -> Array:
        """[h_t; c_t]."""
        P, H = self.hidden_size, self.gate_size
        h_prev, c_prev = s_prev[..., :P], s_prev[..., P:]
        a = self.normalised(drive + self.recurrent_products(h_prev))
        i, f, _, o = self.split(self.gate_activation.value(a))
        c = f * c_prev + i * self.activation.value(a[..., 2 * H : 3 * H])
        return np.concatenate([(o * self.activation.value(c)) @ np.swapaxes(self.weight_hr, -1, -2), c], axis=-1)

    def linearise(self, s_prev: Array, drive: Array) -> Linearisation:
        """The lstm's own coefficients, and W_hr on what it puts out."""
        P = self.hidden_size
        h_prev, c_prev = s_prev[..., :P], s_prev[..., P:]
        parts, traces = self.gate_derivatives(h_prev, c_prev, drive)
        W = np.asarray(self.weight_hr, dtype=np.float64)
        if W.ndim > 2:
            W = W[None, ..., None, :, :]  # (networks…, P, H) beside (time, networks…, batch)
        jacobian = ProjectedLstmJacobian(parts.forget, parts.readout_slope, parts.gates, h_prev, W, parts.output)
        return Linearisation(jacobian, traces)

    @cached_property
    def _projection_norm(self) -> float:
        """σ₁(W_hr), rounded up by the error bound of the SVD."""
        sigma = float(np.max(np.linalg.norm(np.asarray(self.weight_hr, dtype=np.float64), 2, axis=(-2, -1))))
        rounding: float = 4.0 * max(self.weight_hr.shape[-2:]) * float(np.finfo(np.float64).eps)
        return sigma * (1.0 + rounding)

    def step_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """The lstm's, its row of h multiplied by σ₁(W_hr)."""
        return self._projected(super().step_norm_blocks(block_norms, state_bound))

    def drive_norm_bound(self, block_norms: dict[str, float], state_bound: float) -> float:
        """The lstm's, its row of h multiplied by σ₁(W_hr)."""
        return self._projected(super().drive_norm_blocks(state_bound))

    def _projected(self, blocks: tuple[float, float, float, float] | None) -> float:
        if blocks is None:
            return float("inf")
        a, b, c, d = blocks
        return norm_of_two_by_two(self._projection_norm * a, self._projection_norm * b, c, d)
