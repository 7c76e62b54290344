"""The projected lstm's step Jacobian on the state (h, c), h of P components and c of H.

With G = diag(∂c/∂a_i) W_i + diag(∂c/∂a_f) W_f + diag(∂c/∂a_g) W_g, blocks of size H × P, and h = W_hr m:

    J = [ W_hr (diag(a) G + diag(b) W_o)   W_hr diag(a f) ]      a = o φ′(c_t),  b = φ(c_t) σ′(a_o)
        [ G                                diag(f)        ]
"""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.jacobians.four_gates import LstmSteps
from gradscope.jacobians.step_jacobian import Array, Steps, WeightCotangent, shared_matmul, shared_matmul_left


@dataclass(frozen=True)
class ProjectedLstmJacobian(LstmSteps):
    """J_t of an lstm with a projection, h_t = W_hr m_t; blocks of ``gates`` are H × P.

    Attributes
    ----------
    projection : ndarray, shape (P, H), or (1, ..., 1, P, H)
        W_hr; two axes mean shared by every leading axis, otherwise the first is time, of length 1.
    output : ndarray, shape (..., H)
        m_t.
    """

    projection: Array
    output: Array

    def __getitem__(self, steps: Steps) -> ProjectedLstmJacobian:
        projection = self.projection[0] if self.projection.ndim > 2 and isinstance(steps, int) else self.projection
        return ProjectedLstmJacobian(
            self.forget[steps],
            self.readout_slope[steps],
            self.gates[steps],
            self.h_prev[steps],
            projection,
            self.output[steps],
        )

    def _pull_output(self, R: Array) -> Array:
        return shared_matmul(R, self.projection)

    def _push_output(self, Q: Array) -> Array:
        return shared_matmul_left(self.projection, Q)

    def projection_cotangents(self, g: Array) -> tuple[WeightCotangent | None, ...]:
        """∂L/∂W_hr = (∂L/∂h_t) m_tᵀ."""
        return (WeightCotangent(g[..., : self.h_prev.shape[-1]], self.output),)
