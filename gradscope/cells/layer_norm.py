"""Layer normalisation of pre-activations: per sample, per step and per gate block, without gain or shift.

The variant, by name: *joint pre-activation layer norm*. For each gate, p = W h_{t−1} + U x_t + b is brought to mean 0
and variance 1 over the layer's H units (Ba, Kiros and Hinton 2016, eq. 4, with gain 1 and bias 0); nothing else is
normalised (not c_t of an lstm). In a gru whose reset comes after the product, the candidate's p holds r⊙(W_n h + b_hn).
A bias that is the same for all units of a gate is therefore taken out again: ``forget_bias`` does nothing here.
"""

from __future__ import annotations

import numpy as np

from gradscope.jacobians.norm_jacobian import NormJacobian
from gradscope.jacobians.step_jacobian import Array

#: ε under the root, PyTorch's default.
EPSILON = 1e-5


def layer_normalise(p: Array) -> tuple[Array, Array]:
    """(p − mean p)/s and 1/s, s = √(var p + ε) over the last axis; analytic, so complex p is allowed.

    >>> layer_normalise(np.array([[1.0, 3.0]]))[0].round(4)
    array([[-1.,  1.]])
    """
    centred = p - p.mean(axis=-1, keepdims=True)
    inverse_scale = 1.0 / np.sqrt((centred * centred).mean(axis=-1) + p.dtype.type(EPSILON))
    return centred * inverse_scale[..., None], inverse_scale


def normalise_blocks(p: Array, hidden_size: int) -> Array:
    """Normalise each gate's block of p (..., G·H)."""
    value, _ = layer_normalise(p.reshape(*p.shape[:-1], p.shape[-1] // hidden_size, hidden_size))
    return value.reshape(p.shape)


def norm_jacobian(p: Array, hidden_size: int) -> NormJacobian:
    """∂â/∂p of every block of p (..., G·H)."""
    blocks = np.asarray(p, dtype=np.float64).reshape(*p.shape[:-1], p.shape[-1] // hidden_size, hidden_size)
    value, inverse_scale = layer_normalise(blocks)
    # Where all units have nearly the same pre-activation, p − mean p is rounding and has a mean of its own. N is
    # symmetric only for a direction without one, so it is taken out again at the direction's own size, twice.
    direction = _unit(value)
    for _ in range(2):
        direction = _unit(direction - direction.mean(axis=-1, keepdims=True))
    return NormJacobian(direction, EPSILON * inverse_scale**2, inverse_scale)


def _unit(v: Array) -> Array:
    """v/‖v‖ over the last axis; what is zero, or no more than rounding of a unit vector, gives 0."""
    length = np.sqrt(np.square(v).sum(axis=-1, keepdims=True))
    rounding = 8 * np.finfo(np.float64).eps
    return np.asarray(np.divide(v, length, out=np.zeros_like(v), where=length > rounding * np.sqrt(v.shape[-1])))
