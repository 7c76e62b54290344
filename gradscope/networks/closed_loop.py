"""A network that reads its own output: x_t = W_out h_{t−1} + b_out, the autonomous dynamics of a trained generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.errors import ShapeError
from gradscope.jacobians.linear_feedback import LinearFeedback
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.network import Linearised, Wrapping


@dataclass(frozen=True)
class ClosedLoop(Wrapping):
    """A network whose next input is its readout's output.

    Attributes
    ----------
    network : Network
    weight : ndarray, shape (I, H)
        W_out, from the top layer's h to an input.
    bias : ndarray, shape (I,)
    """

    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        """Refuse a readout whose output is no input.

        Raises
        ------
        ShapeError
        """
        wanted = (self.network.input_size, len(self.network.output_components))
        if self.weight.shape != wanted or self.bias.shape != wanted[:1]:
            raise ShapeError(
                f"--closed-loop: the readout must put out what the network reads: wanted weight {wanted} and bias "
                f"{wanted[:1]}, got {self.weight.shape} and {self.bias.shape}."
            )

    @property
    def input_size(self) -> int:
        """0: nothing comes from outside."""
        return 0

    def input_matrix(self, first: int, last: int) -> Array:
        """No input reaches the drive."""
        return self.network.input_matrix(first, last)[..., :0]

    def _output(self, states: Array) -> Array:
        return np.asarray(states[..., self.output_components] @ self.weight.T + self.bias)

    def layer_inputs(self, states: Array, x: Array, *, first: int = 1) -> list[Array]:
        """What each layer reads: at the bottom W_out h_{t−1} + b_out, whatever x is."""
        h = states[:-1, ..., self.network.output_components]
        return self.network.layer_inputs(states, h @ self.weight.T + self.bias, first=first)

    def advance(self, state: Array, x: Array, *, first: int = 1) -> Array:
        """Run as many steps as x has; its values (none) are not read."""
        states = np.empty((x.shape[0] + 1, *state.shape), dtype=state.dtype)
        states[0] = state
        for t in range(x.shape[0]):
            states[t + 1] = self.network.advance(states[t], self._output(states[t])[None], first=first + t)[1]
        return states

    def linearise(self, states: Array, x: Array, *, first: int = 1) -> Linearised:
        """The network's linearisation, plus the way through its own output."""
        inner = self.network.linearise(states, self._output(states[:-1]), first=first)
        U = np.asarray(self.network.input_matrix(first, first + x.shape[0] - 1), dtype=np.float64)
        feedback = np.zeros((U.shape[-2], self.state_size))
        feedback[:, self.output_components] = U @ self.weight
        return Linearised(LinearFeedback(inner.jacobian, feedback), inner.traces)
