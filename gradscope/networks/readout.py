"""The loss side: what reads the last (or every) h, and its gradient there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gradscope.jacobians.step_jacobian import Array


class Loss(Protocol):
    """L(h), per sample: leading axes are kept, a batch is not summed over."""

    @property
    def description(self) -> str:
        """One line for the report."""

    def value(self, h: Array) -> Array:
        """L, shape (...)."""

    def output_gradient(self, h: Array) -> Array:
        """∂L/∂y, y = W_hy h + b_hy before the softmax, shape (..., V)."""

    def gradient(self, h: Array) -> Array:
        """∂L/∂h, shape (..., H)."""


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """L = −ln y_target, y = softmax(W_hy h + b_hy), as in the article.

    Attributes
    ----------
    weight : ndarray, shape (classes, H)
    bias : ndarray, shape (classes,)
    target : ndarray of int, shape () or (batch,)
    """

    weight: Array
    bias: Array
    target: Array

    @property
    def description(self) -> str:
        """One line for the report."""
        return f"cross-entropy over {self.weight.shape[0]} classes"

    def _log_probabilities(self, h: Array) -> Array:
        logits = np.asarray(h @ self.weight.T + self.bias, dtype=np.result_type(h, np.float64))
        shifted = logits - np.max(logits.real, axis=-1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))

    def _one_hot(self, shape: tuple[int, ...]) -> Array:
        hot = np.zeros(shape)
        np.put_along_axis(hot, np.broadcast_to(self.target, shape[:-1])[..., None], 1.0, axis=-1)
        return hot

    def value(self, h: Array) -> Array:
        """−ln y_target."""
        log_y = self._log_probabilities(h)
        return np.asarray(-(log_y * self._one_hot(log_y.shape)).sum(axis=-1))

    def output_gradient(self, h: Array) -> Array:
        """softmax − 1_target; the target's own entry is taken as −Σ of the others, which keeps its digits near 0."""
        y = np.exp(self._log_probabilities(h))
        hot = self._one_hot(y.shape)
        others = y * (1.0 - hot)
        return np.asarray(others - hot * others.sum(axis=-1, keepdims=True))

    def gradient(self, h: Array) -> Array:
        """W_hyᵀ (softmax − 1_target)."""
        return np.asarray(self.output_gradient(h) @ self.weight)


@dataclass(frozen=True)
class MeanSquaredError:
    """L = mean over outputs of (y − target)², y = W_hy h + b_hy.

    Attributes
    ----------
    weight : ndarray, shape (outputs, H)
    bias : ndarray, shape (outputs,)
    target : ndarray, shape (outputs,) or (batch, outputs)
    """

    weight: Array
    bias: Array
    target: Array

    @property
    def description(self) -> str:
        """One line for the report."""
        return f"mean squared error over {self.weight.shape[0]} output{'s' * (self.weight.shape[0] != 1)}"

    def _error(self, h: Array) -> Array:
        return np.asarray(h @ self.weight.T + self.bias - self.target)

    def value(self, h: Array) -> Array:
        """The mean of the squared errors."""
        return np.asarray(np.square(self._error(h)).mean(axis=-1))

    def output_gradient(self, h: Array) -> Array:
        """(2/outputs) (y − target)."""
        return np.asarray(self._error(h) * (2.0 / self.weight.shape[0]))

    def gradient(self, h: Array) -> Array:
        """W_hyᵀ ∂L/∂y."""
        return np.asarray(self.output_gradient(h) @ self.weight)


@dataclass(frozen=True)
class LinearLoss:
    """L = vᵀ h."""

    vector: Array

    @property
    def description(self) -> str:
        """One line for the report."""
        return "linear loss vᵀh"

    def value(self, h: Array) -> Array:
        """vᵀ h."""
        return np.asarray(h @ self.vector)

    def output_gradient(self, h: Array) -> Array:
        """1: y = vᵀ h is the loss itself."""
        return np.ones((*h.shape[:-1], 1))

    def gradient(self, h: Array) -> Array:
        return np.broadcast_to(self.vector, h.shape).astype(np.float64)
