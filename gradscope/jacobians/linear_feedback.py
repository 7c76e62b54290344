"""A step whose input is a linear readout of the state before it."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.jacobians.around import AroundJacobian
from gradscope.jacobians.step_jacobian import Array, Steps, shared_matmul, shared_matmul_left


@dataclass(frozen=True)
class LinearFeedback(AroundJacobian):
    """J_t = ∂s_t/∂s_{t−1} at fixed input + ∂s_t/∂drive_t · F, where F = U W_out E maps s_{t−1} to the drive.

    Attributes
    ----------
    inner : StepJacobian
    feedback : ndarray, shape (drive_size, n)
        F.
    """

    feedback: Array

    def __getitem__(self, steps: Steps) -> LinearFeedback:
        return LinearFeedback(self.inner[steps], self.feedback)

    def pull(self, R: Array) -> Array:
        return self.inner.pull(R) + shared_matmul(self.inner.pull_drive(R), self.feedback)

    def push(self, Q: Array) -> Array:
        return self.inner.push(Q) + self.inner.push_drive(shared_matmul_left(self.feedback, Q))
