"""Step Jacobians that come ready-made, as dense matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array, StepJacobian, Steps


@dataclass(frozen=True)
class ReadyJacobian(StepJacobian):
    """Dense J of shape (..., n, n); the form in which anybody's model can be brought."""

    matrix: Array

    @property
    def state_size(self) -> int:
        """Number of state components n."""
        return int(self.matrix.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.matrix.shape[:-2])

    def __getitem__(self, steps: Steps) -> ReadyJacobian:
        return ReadyJacobian(self.matrix[steps])

    def pull(self, R: Array) -> Array:
        return np.asarray(R @ self.matrix)

    def push(self, Q: Array) -> Array:
        return np.asarray(self.matrix @ Q)

    def dense(self) -> Array:
        """J itself."""
        return self.matrix
