"""A call of a fused module as plain arrays, layer by layer, and ∂L/∂h_t, ∂L/∂c_t of every layer and direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.errors import UntrustedNumbersError
from gradscope.jacobians.step_jacobian import Array
from gradscope.torch.adjoint import Graded, LayerAdjoint, carry_back
from gradscope.torch.layer_steps import LayerWeights, VisitedLayer

#: How far one step of the float64 equations may lie from the module's own, relative to the state, by bytes of a number.
STEP_TOLERANCE = {8: 1e-9, 4: 2e-4, 2: 5e-2}


@dataclass(frozen=True, kw_only=True)
class CallInLayers:
    """Float64 arrays, time first, batches in the order of the kernel, zeros where a sequence has ended.

    Attributes
    ----------
    weights : list of LayerWeights
        Bottom layer first, forward before backward.
    directions : int
        D.
    live : ndarray of bool, shape (T, batch)
        Where a sequence is there.
    heard, left : list of ndarray, shape (T, batch, …)
        What each layer read and gave, both directions side by side.
    masks : list of (ndarray or None)
        Dropout between the layer below and this one, scale included.
    h0, c0 : ndarray, shape (L·D, batch, n); ``c0`` None where there is no c
    output : ndarray, shape (T, batch, D·P), or None
        ∂L/∂output.
    last_h, last_c : ndarray, shape (L·D, batch, n), or None
        ∂L/∂h_n, ∂L/∂c_n.
    first : int
        Where the caller's first sequence stands in the batch.
    bytes_of_number : int
        Of the narrowest number the module computed with.
    """

    weights: list[LayerWeights]
    directions: int
    live: Array
    heard: list[Array]
    masks: list[Array | None]
    left: list[Array]
    h0: Array
    c0: Array | None
    output: Array | None
    last_h: Array | None
    last_c: Array | None
    first: int
    bytes_of_number: int


@dataclass(frozen=True)
class LayerOfCall:
    """One layer and direction of a call.

    Attributes
    ----------
    layer, direction : int, {"forward", "backward"}
    visited : VisitedLayer
        In processing order.
    x : ndarray, shape (T, batch, I)
        What it read, in processing order.
    adjoint : LayerAdjoint
        In processing order.
    """

    layer: int
    direction: str
    visited: VisitedLayer
    x: Array
    adjoint: LayerAdjoint


def differentiate(call: CallInLayers) -> list[LayerOfCall]:
    """∂L/∂h_t and ∂L/∂c_t of every layer and direction, bottom first.

    Raises
    ------
    UntrustedNumbersError
        The module does not compute what its weights say (other dropout masks than could be found again, a kernel of
        another function).
    """
    found: list[LayerOfCall] = []
    D = call.directions
    above = Graded.of(np.zeros_like(call.left[-1]) if call.output is None else call.output)
    for layer in range(len(call.left) - 1, -1, -1):
        x, states = call.heard[layer], call.left[layer]
        P = states.shape[-1] // D
        here = []
        for d in range(D):
            index, turn = layer * D + d, slice(None, None, -1 if d else 1)
            own, live = slice(d * P, (d + 1) * P), call.live[turn]
            h = _with_start(call.h0[index], states[turn, :, own], live)
            c0 = np.zeros((x.shape[1], 0)) if call.c0 is None else call.c0[index]
            visited = VisitedLayer.at(call.weights[index], x[turn], h, c0, live)
            _check(call, visited, layer)
            last_h = np.zeros_like(h[0]) if call.last_h is None else call.last_h[index]
            last_c = np.zeros_like(c0) if call.last_c is None else call.last_c[index]
            into = Graded(above.values[turn, :, own], above.exponents[turn])
            adjoint = carry_back(visited, into, last_h, last_c)
            here.append(LayerOfCall(layer, "backward" if d else "forward", visited, x[turn], adjoint))
        found[:0] = here
        above = _in_time(here[0].adjoint.x, 1)
        if D == 2:
            above = above + _in_time(here[1].adjoint.x, -1)
        mask = call.masks[layer]
        if mask is not None:
            above = Graded(above.values * mask, above.exponents)
    return found


def _in_time(found: Graded, turn: int) -> Graded:
    return Graded(found.values[::turn], found.exponents[::turn])


def _with_start(h0: Array, states: Array, live: Array) -> Array:
    """h_0 … h_T, copied where a sequence is not there."""
    h = np.concatenate([h0[None], states])
    if not live.all():
        for t in range(len(states)):
            h[t + 1] = np.where(live[t][:, None], h[t + 1], h[t])
    return h


def _check(call: CallInLayers, visited: VisitedLayer, layer: int) -> None:
    tolerance, error = STEP_TOLERANCE[call.bytes_of_number], visited.step_error()
    if not error <= tolerance:
        raise UntrustedNumbersError(
            f"layer {layer}: a step of the weights lies {error:.1e} from what the module computed (at most "
            f"{tolerance:.0e} is rounding): its dropout masks cannot be drawn again here, or it is not what its class "
            "says"
        )
