"""A cell whose input is its own softmax output of the step before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.around import AroundJacobian
from gradscope.jacobians.step_jacobian import Array, Steps, shared_matmul, shared_matmul_left


@dataclass(frozen=True)
class FeedbackJacobian(AroundJacobian):
    """J_t = J_cell + B_t M (diag(p) − p pᵀ) W_head E_h, with x_t = Eᵀ p, p = softmax((W_head h_{t−1} + b)/τ).

    Attributes
    ----------
    inner : StepJacobian
        J_cell at fixed input, and B_t = ∂s_t/∂drive_t.
    probabilities : ndarray, shape (..., V)
        p, what the step before put out; 0 at a step that reads no output (the first).
    drive_weight : ndarray, shape (G·H, V)
        M = U Eᵀ/τ, how probabilities enter the drive.
    head : ndarray, shape (V, H)
        W_head.
    """

    probabilities: Array
    drive_weight: Array
    head: Array

    def __getitem__(self, steps: Steps) -> FeedbackJacobian:
        return FeedbackJacobian(self.inner[steps], self.probabilities[steps], self.drive_weight, self.head)

    def pull(self, R: Array) -> Array:
        out = self.inner.pull(R)
        p = self.probabilities[..., None, :]
        to_p = shared_matmul(self.inner.pull_drive(R), self.drive_weight)
        to_logits = p * (to_p - (to_p * p).sum(axis=-1, keepdims=True))
        H = self.head.shape[-1]
        return np.concatenate([out[..., :H] + shared_matmul(to_logits, self.head), out[..., H:]], axis=-1)

    def push(self, Q: Array) -> Array:
        p = self.probabilities[..., :, None]
        logits = shared_matmul_left(self.head, Q[..., : self.head.shape[-1], :])
        probabilities = p * (logits - (logits * p).sum(axis=-2, keepdims=True))
        return self.inner.push(Q) + self.inner.push_drive(shared_matmul_left(self.drive_weight, probabilities))
