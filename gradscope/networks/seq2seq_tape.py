"""One tape over an encoder and the decoder that starts from its last state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.jacobians.spans import SpanJacobian
from gradscope.jacobians.step_jacobian import Array, StepJacobian
from gradscope.networks.readout import SoftmaxCrossEntropy
from gradscope.networks.trajectory import Anchor, Segment, Trajectory
from gradscope.numerics.tape import Tape

Phase = Literal["encoder", "decoder"]


@dataclass
class Seq2SeqTape(Tape):
    """Steps 1 … T are the encoder's, T+1 … T+S the decoder's; s_T belongs to both.

    Attributes
    ----------
    encoder, decoder : Trajectory
    head_weight, head_bias : ndarray, shapes (V, H) and (V,)
    target : ndarray of int, shape (≤ S, batch)
        The symbol that each decoder step is scored on.
    scored : ndarray of bool, same shape
        False after a sample's own End (a batch decodes until all have ended).
    decoded : ndarray of int, shape (S, batch), or None
        What greedy decoding put out.
    """

    encoder: Trajectory
    decoder: Trajectory
    head_weight: Array
    head_bias: Array
    target: Array
    scored: Array
    decoded: Array | None

    @property
    def encoder_steps(self) -> int:
        return self.encoder.n_steps

    @property
    def decoder_steps(self) -> int:
        return self.decoder.n_steps

    @property
    def n_steps(self) -> int:
        """T + S."""
        return self.encoder_steps + self.decoder_steps

    @property
    def state_size(self) -> int:
        """n, the same for both."""
        return self.encoder.state_size

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.encoder.batch_shape

    @property
    def h_components(self) -> Array | None:
        """Indices of the h components; None if the state is h alone."""
        return self.encoder.h_components

    @property
    def layers(self) -> tuple[Cell, Cell]:
        """The encoder's cell and the decoder's."""
        return self.encoder.network.layers[0], self.decoder.network.layers[0]

    def phases(self) -> list[Phase]:
        """The phase of each lag k = 0 … T+S: ``decoder`` below S, ``encoder`` from the shared state on."""
        return ["decoder" if lag < self.decoder_steps else "encoder" for lag in range(self.n_steps + 1)]

    def _at(self, t: int) -> tuple[Trajectory, int]:
        """Whose step t is, and its number there."""
        T = self.encoder_steps
        return (self.encoder, t) if t <= T else (self.decoder, t - T)

    def state(self, t: int) -> Array:
        trajectory, step = self._at(t)
        return trajectory.state(step)

    def jacobians(self, first: int, last: int) -> StepJacobian:
        """J_first … J_last, across the hand-over too."""
        T = self.encoder_steps
        if last <= T:
            return self.encoder.jacobians(first, last)
        if first > T:
            return self.decoder.jacobians(first - T, last - T)
        return SpanJacobian((self.encoder.jacobians(first, T), self.decoder.jacobians(1, last - T)))

    def segments(self, anchor: Anchor) -> Iterator[Segment]:
        """Every stretch once, numbered over both."""
        order = (self.decoder, self.encoder) if anchor == "end" else (self.encoder, self.decoder)
        for trajectory in order:
            offset = 0 if trajectory is self.encoder else self.encoder_steps
            for segment in trajectory.segments(anchor):
                yield replace(segment, first=segment.first + offset, last=segment.last + offset)

    def _loss(self, step: int) -> SoftmaxCrossEntropy:
        return SoftmaxCrossEntropy(self.head_weight, self.head_bias, self.target[step - 1])

    def _h(self, step: int) -> Array:
        return self.decoder.state(step)[..., : self.head_weight.shape[-1]]

    def loss_value(self) -> Array:
        """L = Σ_s −ln y_s[target_s] over the scored decoder steps, shape (batch,)."""
        total = np.zeros(self.batch_shape)
        for step in range(1, len(self.target) + 1):
            total = total + np.where(self.scored[step - 1], self._loss(step).value(self._h(step)), 0.0)
        return total

    def direct_term(self, t: int) -> Array | None:
        """∂L_t/∂s_t of the cross-entropy at step t alone; None where nothing is scored (every encoder step)."""
        step = t - self.encoder_steps
        if not 1 <= step <= len(self.target):
            return None
        gradient = np.zeros((*self.batch_shape, self.state_size))
        at_h = self._loss(step).gradient(np.asarray(self._h(step), dtype=np.float64))
        gradient[..., : at_h.shape[-1]] = np.where(self.scored[step - 1][..., None], at_h, 0.0)
        return gradient

    @property
    def loss_description(self) -> str:
        """One line for the report."""
        return f"cross-entropy over {self.head_bias.shape[-1]} symbols, summed over {len(self.target)} decoder steps"
