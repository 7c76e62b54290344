"""The loss side: what reads the last (or every) h, and its gradient there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array


class Loss(ABC):
    """L(h), per sample: leading axes are kept, a batch is not summed over."""

    @property
    @abstractmethod
    def description(self) -> str:
        """One line for the report."""

    @abstractmethod
    def value(self, h: Array) -> Array:
        """L, shape (...)."""

    @abstractmethod
    def output_gradient(self, h: Array) -> Array:
        """∂L/∂y, y = W_hy h + b_hy before the softmax, shape (..., V)."""

    @abstractmethod
    def gradient(self, h: Array) -> Array:
        """∂L/∂h, shape (..., H)."""


@dataclass(frozen=True)
class ReadoutLoss(Loss):
    """A loss of y = W_hy h + b_hy against a target.

    Attributes
    ----------
    weight : ndarray, shape (V, H)
    bias : ndarray, shape (V,)
    target : ndarray
    """

    weight: Array
    bias: Array
    target: Array

    def gradient(self, h: Array) -> Array:
        """W_hyᵀ ∂L/∂y."""
        return np.asarray(self.output_gradient(h) @ self.weight)


class SoftmaxCrossEntropy(ReadoutLoss):
    """L = −ln y_target, y = softmax(W_hy h + b_hy), as in the article; target: class numbers, () or (batch,)."""

    @property
    def description(self) -> str:
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


class MeanSquaredError(ReadoutLoss):
    """L = mean over outputs of (y − target)², y = W_hy h + b_hy; the target has shape (V,) or (batch, V)."""

    @property
    def description(self) -> str:
        return f"mean squared error over {self.weight.shape[0]} output{'s' * (self.weight.shape[0] != 1)}"

    def _error(self, h: Array) -> Array:
        return np.asarray(h @ self.weight.T + self.bias - self.target)

    def value(self, h: Array) -> Array:
        """The mean of the squared errors."""
        return np.asarray(np.square(self._error(h)).mean(axis=-1))

    def output_gradient(self, h: Array) -> Array:
        """(2/outputs) (y − target)."""
        return np.asarray(self._error(h) * (2.0 / self.weight.shape[0]))


@dataclass(frozen=True)
class LinearLoss(Loss):
    """L = vᵀ h."""

    vector: Array

    @property
    def description(self) -> str:
        return "linear loss vᵀh"

    def value(self, h: Array) -> Array:
        """vᵀ h."""
        return np.asarray(h @ self.vector)

    def output_gradient(self, h: Array) -> Array:
        """1: y = vᵀ h is the loss itself."""
        return np.ones((*h.shape[:-1], 1))

    def gradient(self, h: Array) -> Array:
        return np.broadcast_to(self.vector, h.shape).astype(np.float64)
