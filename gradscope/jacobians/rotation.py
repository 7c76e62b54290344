"""J of a linear diagonal complex recurrence, written in real pairs: every unit turns and shrinks its own pair."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from gradscope.jacobians.norm_jacobian import NormJacobian
from gradscope.jacobians.step_jacobian import Array, StepJacobian, Steps, WeightCotangent


@dataclass(frozen=True)
class RotationJacobian(StepJacobian):
    """[re′; im′] = [a re − b im; b re + a im] with λ = a + ib of each unit, the same at every step.

    The first ⌈n/2⌉ components are real parts, the rest imaginary parts; of an odd n the last real part is a unit with a
    real λ. Arrays of a and b with more than one axis have time first, of length 1.

    Attributes
    ----------
    real : ndarray, shape (⌈n/2⌉,) or (..., ⌈n/2⌉)
        a.
    imaginary : ndarray, shape (⌊n/2⌋,) or (..., ⌊n/2⌋)
        b.
    log_decay_slope : ndarray, shape as ``real``
        d ln|λ|/dν of the parameter ν that the cell holds.
    s_prev : ndarray, shape (..., n)
        s_{t−1}: for weight gradients, and for the leading axes.
    norm : NormJacobian or None
        ∂(normalised drive)/∂drive; None means I.
    """

    real: Array
    imaginary: Array
    log_decay_slope: Array
    s_prev: Array
    norm: NormJacobian | None = field(default=None)

    @property
    def state_size(self) -> int:
        return int(self.s_prev.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.s_prev.shape[:-1])

    @property
    def drive_size(self) -> int:
        return self.state_size

    def __getitem__(self, steps: Steps) -> RotationJacobian:
        own = {name: getattr(self, name) for name in ("real", "imaginary", "log_decay_slope")}
        if isinstance(steps, int):
            own = {name: value[0] if value.ndim > 1 else value for name, value in own.items()}
        norm = None if self.norm is None else self.norm[steps]
        return replace(self, **own, s_prev=self.s_prev[steps], norm=norm)

    def _turn(self, vectors: Array, b: Array, *, axes: int) -> Array:
        """[a re − b im; b re + a im] of vectors (..., n) with ``axes`` axes between the leading ones and the last."""
        spread = (..., *(None,) * axes, slice(None))
        a, b = self.real[spread], b[spread]
        c, m = a.shape[-1], b.shape[-1]
        re, im = vectors[..., :c], vectors[..., c:]
        new_re = a * re
        new_re[..., :m] -= b * im
        return np.concatenate([new_re, b * re[..., :m] + a[..., :m] * im], axis=-1)

    @property
    def magnitudes(self) -> Array:
        """|λ| of each unit, for its one or two components."""
        modulus = np.hypot(self.real[..., : self.imaginary.shape[-1]], self.imaginary)
        alone = np.abs(self.real[..., self.imaginary.shape[-1] :])
        return np.broadcast_to(np.concatenate([modulus, alone, modulus], axis=-1), (*self.shape, self.state_size))

    def pull(self, R: Array) -> Array:
        """R·J: the transpose turns back."""
        out = self._turn(R, -self.imaginary, axes=1)
        return np.broadcast_to(out, (*self._leading(R), *R.shape[-2:]))

    def push(self, Q: Array) -> Array:
        rows = np.swapaxes(Q, -1, -2)
        out = np.broadcast_to(self._turn(rows, self.imaginary, axes=1), (*self._leading(Q), *rows.shape[-2:]))
        return np.swapaxes(out, -1, -2)

    def _leading(self, block: Array) -> tuple[int, ...]:
        return np.broadcast_shapes(self.shape, block.shape[:-2])

    def pull_drive(self, R: Array) -> Array:
        """R·∂s_t/∂drive_t = R, or R·N."""
        if self.norm is not None:
            return np.asarray(self.norm.pull(R[..., None, :])[..., 0, :])
        return np.broadcast_to(R, (*self._leading(R), *R.shape[-2:]))

    def push_drive(self, Q: Array) -> Array:
        """∂s_t/∂drive_t·Q = Q, or N·Q."""
        if self.norm is not None:
            return np.asarray(self.norm.push(Q[..., None, :, :])[..., 0, :, :])
        return np.broadcast_to(Q, (*self._leading(Q), *Q.shape[-2:]))

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """∂L/∂ν = (d ln|λ|/dν) ⟨g, λs⟩ and ∂L/∂θ = ⟨g, iλs⟩ of each unit, one below the other."""
        c, m = self.real.shape[-1], self.imaginary.shape[-1]
        turned = self._turn(self.s_prev, self.imaginary, axes=0)
        re, im = turned[..., :c], turned[..., c:]
        along = g[..., :c] * re
        along[..., :m] += g[..., c:] * im
        across = g[..., c:] * re[..., :m] - g[..., :m] * im
        rows = np.concatenate([along * self.log_decay_slope, across], axis=-1)
        return ((WeightCotangent(rows, np.ones((*rows.shape[:-1], 1))),),)
