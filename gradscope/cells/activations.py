"""Activations: value, slope in the log domain, and the constants that bounds need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gradscope.errors import UsageError, did_you_mean
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import log_sech_squared, log_sigmoid, log_sigmoid_slope


def log_of_unsigned(value: Array) -> Array:
    """Stand in for ln φ where φ takes both signs: no product of such values is a direct path."""
    raise UsageError("only a gate's activation has a logarithm")


@dataclass(frozen=True)
class Activation:
    """φ with what theory needs of it.

    Attributes
    ----------
    value : callable
        φ(a). Analytic ones accept complex a, so that complex-step derivatives can check everything built on them.
    log_slope : callable
        ln φ′(a) from the pre-activation, −inf where the slope is exactly zero.
    max_slope : float
        γ = sup φ′.
    max_value : float
        sup |φ|, inf when unbounded.
    log_value : callable
        ln φ(a), for gates: a direct path is a product of them.
    """

    name: str
    value: Callable[[Array], Array]
    log_slope: Callable[[Array], Array]
    max_slope: float
    max_value: float
    log_value: Callable[[Array], Array] = field(default=log_of_unsigned)

    def slope(self, a: Array) -> Array:
        """φ′(a) in float64; a saturated slope is as small as it is, not 0 (until float64 ends)."""
        return np.exp(self.log_slope(a))


def sigmoid(a: Array) -> Array:
    """σ(a) = 1/(1 + e^{−a}), relative precision kept on both tails, analytic (complex a allowed)."""
    a = np.asarray(a)
    positive = a.real >= 0
    decay = np.exp(np.where(positive, -a, a))
    return np.where(positive, 1.0, decay) / (1.0 + decay)


def analytic_log_sigmoid(a: Array) -> Array:
    """ln σ(a) = −ln(1 + e^{−a}) in a's own dtype, analytic (complex a allowed)."""
    a = np.asarray(a)
    positive = a.real >= 0
    return np.asarray(np.where(positive, 0.0, a).astype(a.dtype) - np.log1p(np.exp(np.where(positive, -a, a))))


def _relu(a: Array) -> Array:
    return np.maximum(a, 0.0)


def _identity(a: Array) -> Array:
    return np.asarray(a)


def _log_step(a: Array, low: float, high: float, log_height: float) -> Array:
    """ln of a slope that is constant on (low, high) and zero elsewhere."""
    a = np.asarray(a, dtype=np.float64)
    return np.where((a > low) & (a < high), log_height, -np.inf)


def _log(value: Array) -> Array:
    """ln, −inf at an exactly closed gate."""
    with np.errstate(divide="ignore"):
        return np.log(value)


def _log_one(a: Array) -> Array:
    return np.zeros(np.shape(a))


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("tanh", np.tanh, log_sech_squared, 1.0, 1.0),
        Activation("sigmoid", sigmoid, log_sigmoid_slope, 0.25, 1.0, log_sigmoid),
        Activation("relu", _relu, lambda a: _log_step(a, 0.0, np.inf, 0.0), 1.0, np.inf),
        Activation("identity", _identity, _log_one, 1.0, np.inf),
    )
}

#: Gates of files: Keras 2's hard sigmoid clips 0.2 a + 0.5; Keras 3's is relu6(a + 3)/6.
GATE_ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": ACTIVATIONS["sigmoid"],
    "hard_sigmoid": Activation(
        "hard_sigmoid",
        lambda a: np.clip(0.2 * a + 0.5, 0.0, 1.0),
        lambda a: _log_step(a, -2.5, 2.5, float(np.log(0.2))),
        0.2,
        1.0,
        lambda a: _log(np.clip(0.2 * a + 0.5, 0.0, 1.0)),
    ),
    "hard_sigmoid_keras3": Activation(
        "hard_sigmoid_keras3",
        lambda a: np.clip(a + 3.0, 0.0, 6.0) / 6.0,
        lambda a: _log_step(a, -3.0, 3.0, float(-np.log(6.0))),
        1.0 / 6.0,
        1.0,
        lambda a: _log(np.clip(a + 3.0, 0.0, 6.0) / 6.0),
    ),
}


def find_activation(name: str, *, gate: bool = False) -> Activation:
    """Look an activation up by name.

    Raises
    ------
    UsageError
        For a name gradscope does not know.
    """
    known = GATE_ACTIVATIONS if gate else ACTIVATIONS
    if name not in known:
        key = "gate_activation" if gate else "activation"
        raise UsageError(f"unknown {key} '{name}': choose from {', '.join(known)}.{did_you_mean(name, known)}")
    return known[name]
