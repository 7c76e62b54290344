"""A cell whose input is its own softmax output of the step before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import (
    Array,
    StepJacobian,
    Steps,
    WeightCotangent,
    shared_matmul,
    shared_matmul_left,
)


@dataclass(frozen=True)
class FeedbackJacobian(StepJacobian):
    """J_t = J_cell + B_t M (diag(p) − p pᵀ) W_head E_h, with x_t = Eᵀ p, p = softmax((W_head h_{t−1} + b)/τ).

    Attributes
    ----------
    cell : StepJacobian
        J_cell at fixed input, and B_t = ∂s_t/∂drive_t.
    probabilities : ndarray, shape (..., V)
        p, what the step before put out; 0 at a step that reads no output (the first).
    drive_weight : ndarray, shape (G·H, V)
        M = U Eᵀ/τ, how probabilities enter the drive.
    head : ndarray, shape (V, H)
        W_head.
    """

    cell: StepJacobian
    probabilities: Array
    drive_weight: Array
    head: Array

    @property
    def state_size(self) -> int:
        return self.cell.state_size

    @property
    def shape(self) -> tuple[int, ...]:
        return self.cell.shape

    def __getitem__(self, steps: Steps) -> FeedbackJacobian:
        return FeedbackJacobian(self.cell[steps], self.probabilities[steps], self.drive_weight, self.head)

    def pull(self, R: Array) -> Array:
        out = self.cell.pull(R)
        p = self.probabilities[..., None, :]
        to_p = shared_matmul(self.cell.pull_drive(R), self.drive_weight)
        to_logits = p * (to_p - (to_p * p).sum(axis=-1, keepdims=True))
        H = self.head.shape[-1]
        return np.concatenate([out[..., :H] + shared_matmul(to_logits, self.head), out[..., H:]], axis=-1)

    def push(self, Q: Array) -> Array:
        p = self.probabilities[..., :, None]
        logits = shared_matmul_left(self.head, Q[..., : self.head.shape[-1], :])
        probabilities = p * (logits - (logits * p).sum(axis=-2, keepdims=True))
        return self.cell.push(Q) + self.cell.push_drive(shared_matmul_left(self.drive_weight, probabilities))

    @property
    def drive_size(self) -> int:
        return self.cell.drive_size

    def pull_drive(self, R: Array) -> Array:
        return self.cell.pull_drive(R)

    def push_drive(self, Q: Array) -> Array:
        return self.cell.push_drive(Q)

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """The cell's: the recurrent weights enter only there."""
        return self.cell.weight_cotangents(g)
