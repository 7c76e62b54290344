"""One layer of a composition, taken out of it together with what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer

Direction = Literal["forward", "backward"]


@dataclass(frozen=True)
class Part:
    """One layer (and direction) of a composition, with what it reads, so that it can be measured on its own.

    Attributes
    ----------
    layer : int
        0 = bottom.
    direction : {"forward", "backward"}
    network : Layer
    inputs : ndarray, shape (T, ..., batch, I)
        In the part's own processing order: a backward part reads the last step first.
    initial_state : ndarray, shape (..., batch, n)
    states : ndarray, shape (T + 1, ..., batch, n)
        The part's run, in its own order.
    """

    layer: int
    direction: Direction
    network: Layer
    inputs: Array
    initial_state: Array
    states: Array
