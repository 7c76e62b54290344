"""The control for "worse because W is shared": the plain recurrence with a W of its own at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gradscope.cells.cell import Traces, underflows
from gradscope.cells.rnn import Rnn
from gradscope.errors import UsageError
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled, RowScaledSum
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.network import Linearised
from gradscope.networks.one_cell import OneCell

#: W_t for a step t = 1, 2, …, the same whenever it is asked for: shape (..., H, H).
StepWeights = Callable[[int], Array]


@dataclass(frozen=True)
class Independent(OneCell):
    """h_t = φ(W_xh x_t + b + W_t h_{t−1}), W_1, W_2, … independent;  J_t = diag(φ′(a_t)) W_t.

    Everything but the recurrent weight is shared over the steps, as in the rnn it is the control of. The weights
    are drawn when a stretch is run or linearised, and never held for the whole run.

    Attributes
    ----------
    cell : Rnn
        Input weights, bias and activation; its ``weight_hh`` must be W_1, for whoever asks one cell about its shape.
    weights : callable
        W_t from t; it must give the same matrix each time (a generator seeded per step).
    """

    cell: Rnn
    weights: StepWeights

    def __post_init__(self) -> None:
        """Refuse a layer norm: the control is for the plain recurrence."""
        if self.cell.norm != "none":
            raise UsageError("norm=layer is not defined for 'dnn', the control of the plain recurrence")

    @classmethod
    def from_draws(cls, cell: Rnn, weights: StepWeights) -> Independent:
        """Take W_1 as the cell's own."""
        return cls(replace(cell, weight_hh=np.asarray(weights(1), dtype=cell.weight_ih.dtype)), weights)

    @property
    def name(self) -> str:
        """``dnn``."""
        return "dnn"

    @property
    def step_weight_bytes(self) -> int:
        """Bytes of one step's own weights, drawn in float64."""
        return int(8 * self.cell.weight_hh.size)

    def step_weight(self, t: int) -> Array:
        """W_t in the cell's dtype, shape (..., H, H)."""
        return np.asarray(self.weights(t), dtype=self.cell.weight_hh.dtype)

    def step_norms(self, first: int, last: int) -> Array:
        """σ₁(W_t) for t = first … last, shape (steps, ...): Π γσ₁(W_t) is the bound that holds for every input."""
        return np.array([np.linalg.norm(self.step_weight(t), 2, axis=(-2, -1)) for t in range(first, last + 1)])

    def advance(self, state: Array, x: Array, *, first: int = 1) -> Array:
        """Run over x with W_first, W_first+1, …."""
        drive = self.cell.drive(x)
        states = np.empty((x.shape[0] + 1, *state.shape), dtype=np.result_type(state, drive))
        states[0] = state
        for t in range(x.shape[0]):
            W = self.step_weight(first + t)
            states[t + 1] = self.cell.activation.value(drive[t] + states[t] @ np.swapaxes(W, -1, -2))
        return states

    def linearise(self, states: Array, x: Array, *, first: int = 1) -> Linearised:
        """diag(φ′(a_t)) W_t for every step of the stretch."""
        steps, H = x.shape[0], self.state_size
        weights = np.empty((steps, *self.weight_axes, H, H))
        drive = self.cell.drive(x)
        log_slope = np.empty(states[1:].shape)
        for t in range(steps):
            W = self.step_weight(first + t)
            weights[t] = W
            log_slope[t] = self.cell.activation.log_slope(drive[t] + states[t] @ np.swapaxes(W, -1, -2))
        blocks = weights[..., None, None, :, :]  # beside (time, networks…, batch), one gate
        jacobian = DiagonalPlusRowScaled(None, RowScaledSum(np.exp(log_slope)[..., None, :], blocks), states[:-1])
        return Linearised(jacobian, (Traces(log_slope, None, {}, underflows(log_slope)),))
