"""A step whose input is a linear readout of the state before it."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.jacobians.step_jacobian import (
    Array,
    StepJacobian,
    Steps,
    WeightCotangent,
    shared_matmul,
    shared_matmul_left,
)


@dataclass(frozen=True)
class LinearFeedback(StepJacobian):
    """J_t = ∂s_t/∂s_{t−1} at fixed input + ∂s_t/∂drive_t · F, where F = U W_out E maps s_{t−1} to the drive.

    Attributes
    ----------
    inner : StepJacobian
    feedback : ndarray, shape (drive_size, n)
        F.
    """

    inner: StepJacobian
    feedback: Array

    @property
    def state_size(self) -> int:
        return self.inner.state_size

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    def __getitem__(self, steps: Steps) -> LinearFeedback:
        return LinearFeedback(self.inner[steps], self.feedback)

    def pull(self, R: Array) -> Array:
        return self.inner.pull(R) + shared_matmul(self.inner.pull_drive(R), self.feedback)

    def push(self, Q: Array) -> Array:
        return self.inner.push(Q) + self.inner.push_drive(shared_matmul_left(self.feedback, Q))

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """Those of the recurrent copies; the readout's are not recurrent weights."""
        return self.inner.weight_cotangents(g)
