"""Step Jacobians that are built around another one."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.jacobians.step_jacobian import Array, StepJacobian, WeightCotangent


@dataclass(frozen=True)
class AroundJacobian(StepJacobian):
    """What was added changes how a step carries the state on; drive and weights enter as in the step inside.

    Attributes
    ----------
    inner : StepJacobian
    """

    inner: StepJacobian

    @property
    def state_size(self) -> int:
        return self.inner.state_size

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    @property
    def drive_size(self) -> int:
        return self.inner.drive_size

    def pull_drive(self, R: Array) -> Array:
        return self.inner.pull_drive(R)

    def push_drive(self, Q: Array) -> Array:
        return self.inner.push_drive(Q)

    def drive_cotangents(self, g: Array) -> tuple[Array, ...]:
        """∂L/∂drive_t of every layer."""
        return self.inner.drive_cotangents(g)

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """Those of the recurrent copies; weights that the addition reads are none."""
        return self.inner.weight_cotangents(g)

    def projection_cotangents(self, g: Array) -> tuple[WeightCotangent | None, ...]:
        """∂L/∂W_hr."""
        return self.inner.projection_cotangents(g)
