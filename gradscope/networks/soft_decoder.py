"""A decoder that reads its own output probabilities: Markov in its state, hence a network by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.feedback import FeedbackJacobian
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.network import Linearised
from gradscope.networks.one_cell import OneCell


def softmax(logits: Array) -> Array:
    """Exp(z)/Σ exp(z) over the last axis, analytic (the largest real part is taken out first)."""
    z = np.exp(logits - np.max(logits.real, axis=-1, keepdims=True))
    return np.asarray(z / z.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class SoftDecoder(OneCell):
    """x_1 = the start symbol, x_t = Eᵀ softmax((W_head h_{t−1} + b_head)/τ): every output probability is fed back.

    Attributes
    ----------
    cell : Cell
    head_weight : ndarray, shape (V, H)
    head_bias : ndarray, shape (V,)
    embedding : ndarray, shape (V, I), or None
        None: symbols are read one-hot, I = V.
    start : ndarray, shape (I,)
        The start symbol as it is read.
    temperature : float
        τ.
    """

    head_weight: Array
    head_bias: Array
    embedding: Array | None
    start: Array
    temperature: float

    @property
    def input_size(self) -> int:
        """0: it reads nothing but itself."""
        return 0

    @property
    def weight_axes(self) -> tuple[int, ...]:
        """None: one network at a time."""
        return ()

    @property
    def step_weight_bytes(self) -> int:
        """Probabilities are V numbers a step; the weights are shared."""
        return int(8 * self.head_bias.size)

    def input_matrix(self, first: int, last: int) -> Array:
        """No input, no matrix."""
        return np.zeros((self.cell.n_gates * self.cell.gate_size, 0))

    def probabilities(self, h: Array) -> Array:
        """Softmax of the logits over τ, shape (..., V)."""
        return softmax((h @ self.head_weight.T + self.head_bias) / self.temperature)

    def _read(self, p: Array) -> Array:
        return p if self.embedding is None else np.asarray(p @ self.embedding)

    def _input_after(self, h: Array, t: int) -> Array:
        """x_t, given h_{t−1}."""
        if t == 1:
            return np.broadcast_to(self.start, (*h.shape[:-1], len(self.start)))
        return self._read(self.probabilities(h))

    def advance(self, state: Array, x: Array, *, first: int = 1) -> Array:
        """Decode as many steps as x has; x itself is empty."""
        H = self.cell.hidden_size
        states = np.empty((x.shape[0] + 1, *state.shape), dtype=state.dtype)
        states[0] = state
        for t in range(x.shape[0]):
            read = self._input_after(states[t][..., :H], first + t)
            states[t + 1] = self.cell.step(states[t], self.cell.drive(read))
        return states

    def layer_inputs(self, states: Array, x: Array, *, first: int = 1) -> list[Array]:
        """What it reads: the start symbol, then its own probabilities."""
        read = self._read(self.probabilities(np.asarray(states[:-1, ..., : self.cell.hidden_size], dtype=np.float64)))
        if first == 1 and len(read):
            read = np.array(np.broadcast_to(read, (*read.shape[:-1], len(self.start))))
            read[0] = self.start
        return [read]

    def linearise(self, states: Array, x: Array, *, first: int = 1) -> Linearised:
        """The cell's own linearisation, and the path h_{t−1} → p_{t−1} → x_t."""
        H = self.cell.hidden_size
        h_prev = np.asarray(states[:-1, ..., :H], dtype=np.float64)
        p = self.probabilities(h_prev)
        (read,) = self.layer_inputs(states, x, first=first)
        if first == 1 and len(p):
            p[0] = 0.0
        line = self.cell.linearise(states[:-1], self.cell.drive(read))
        U = np.asarray(self.cell.weight_ih, dtype=np.float64) / self.temperature
        drive_weight = U if self.embedding is None else U @ np.asarray(self.embedding, dtype=np.float64).T
        jacobian = FeedbackJacobian(line.jacobian, p, drive_weight, np.asarray(self.head_weight, dtype=np.float64))
        return Linearised(jacobian, (line.traces,))
