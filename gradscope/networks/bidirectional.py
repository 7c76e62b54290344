"""Bidirectional layers: two recurrences that read the same sequence from its two ends, outputs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.errors import ShapeError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.dropout import SeededDropout
from gradscope.networks.layer import Layer
from gradscope.networks.padded import Padded, turned
from gradscope.networks.part import Direction, Part
from gradscope.networks.tangents import every_input_apart, push_inputs

#: (forward, backward) cells of one layer; of a mixed stack, (forward,) where a layer reads one way only.
Pair = tuple[Cell, ...]


def check_pairs(layers: Sequence[Pair]) -> None:
    """Refuse layers that do not fit on one another.

    Raises
    ------
    ShapeError
        When a layer does not read [forward h; backward h] of the one below, or its directions differ in what they read.
    """
    for number, cells in enumerate(layers):
        forward, backward = cells[0], cells[-1]
        if forward.input_size != backward.input_size:
            raise ShapeError(
                f"layer {number} reads inputs of width {forward.input_size} forward and {backward.input_size} "
                "backward: both directions read the same sequence"
            )
        if number and forward.input_size != (width := sum(cell.hidden_size for cell in layers[number - 1])):
            raise ShapeError(
                f"layer {number} reads inputs of width {forward.input_size}, layer {number - 1} puts out {width} (all "
                "its directions): these layers do not stack"
            )


def _masked(dropout: SeededDropout | None, layer: int, h: Array) -> Array:
    """What the next layer reads; masks are drawn in time order."""
    if dropout is None:
        return h
    return np.asarray(h * dropout.mask(layer, 1, h.shape[0], h.shape[1:-1], h.shape[-1])).astype(h.dtype)


def split_bidirectional(
    layers: Sequence[Pair],
    x: Array,
    initial_states: Sequence[Array] | None = None,
    *,
    dropout: SeededDropout | None = None,
    begin: Array | None = None,
) -> list[Part]:
    """Run a bidirectional network and hand out every layer and direction with what it reads.

    Parameters
    ----------
    layers : sequence of (forward Cell, backward Cell), or (forward Cell,)
        Bottom first.
    x : ndarray, shape (T, ..., batch, I)
    initial_states : sequence of ndarray, optional
        One per part, in the order of the result (PyTorch's: layer by layer, forward first); zeros by default. The
        backward one is the state *before the last* step.
    dropout : SeededDropout, optional
        Masks on what goes up, [forward h; backward h] in time order.
    begin : ndarray of int, shape (batch,), optional
        Steps of padding before each sequence's first; each is read backward from its own end.

    Returns
    -------
    list of Part
        Layer by layer, forward first. ``inputs`` and ``states`` are in processing order: backward parts start at T.
    """
    check_pairs(layers)
    parts: list[Part] = []
    for layer, pair in enumerate(layers):
        directions: tuple[Direction, Direction] = ("forward", "backward")
        for direction, cell in zip(directions, pair, strict=False):
            inputs = x if direction == "forward" else turned(x, begin)
            if initial_states is None:
                initial = np.zeros((*x.shape[1:-1], cell.state_size), dtype=x.dtype)
            else:
                initial = initial_states[len(parts)]
            network: Layer | Padded = Layer(cell) if begin is None else Padded(Layer(cell), begin, initial)
            states = network.advance(initial, inputs)
            parts.append(Part(layer, direction, Layer(cell), inputs, initial, states))
        x = layer_output(*parts[-len(pair) :], begin=begin)
        if layer + 1 < len(layers):
            x = _masked(dropout, layer, x)
    return parts


def layer_output(forward: Part, backward: Part | None = None, *, begin: Array | None = None) -> Array:
    """[forward h_t; backward h_t] for t = 1 … T in time order, as PyTorch's ``out``; shape (T, ..., batch, 2H)."""
    ahead = forward.states[1:, ..., forward.network.output_components]
    if backward is None:
        return np.asarray(ahead)
    behind = backward.states[1:, ..., backward.network.output_components]
    return np.concatenate([ahead, turned(behind, begin)], axis=-1)


def output_input_jacobians(
    layers: Sequence[Pair],
    x: Array,
    initial_states: Sequence[Array] | None = None,
    *,
    dropout: SeededDropout | None = None,
) -> Array:
    """∂out_t/∂x_j of the top layer for every t and j; of one layer, forward blocks with j > t are exactly zero.

    Likewise backward blocks with j < t (theory.md C16). On top of another bidirectional layer nothing is zero: the
    layer below has already read both ways.

    Returns
    -------
    ndarray, shape (T, T, ..., batch, 2H, I)
        Entry [t − 1, j − 1]; rows count the forward half first.
    """
    T, width = x.shape[0], x.shape[-1]
    tangents = _push_up(layers, x, every_input_apart(x), initial_states, dropout)
    return np.moveaxis(tangents.reshape(*tangents.shape[:-1], T, width), -2, 1)


def _push_up(
    layers: Sequence[Pair],
    x: Array,
    tangents: Array,
    initial_states: Sequence[Array] | None,
    dropout: SeededDropout | None,
) -> Array:
    """∂out_t/∂ξ of the top layer for every t, given ∂x_t/∂ξ of shape (T, ..., batch, I, K): (T, ..., batch, 2H, K)."""
    parts = split_bidirectional(layers, x, initial_states, dropout=dropout)
    for layer in range(len(layers)):
        halves = [
            push_inputs(part.network, part.states, part.inputs, tangents)
            if part.direction == "forward"
            else push_inputs(part.network, part.states, part.inputs, tangents[::-1])[::-1]
            for part in parts
            if part.layer == layer
        ]
        tangents = np.concatenate(halves, axis=-2)
        if dropout is not None and layer + 1 < len(layers):
            shape = (layer, 1, x.shape[0], x.shape[1:-1], tangents.shape[-2])
            tangents = tangents * dropout.mask(*shape)[..., None]
    return tangents


@dataclass(frozen=True)
class LastOutput:
    """What the two halves of out_T have seen of every input step (theory.md C16).

    Attributes
    ----------
    forward, backward : ndarray, shape (T, ..., batch)
        ‖∂out_T[:H]/∂x_j‖₂ and ‖∂out_T[H:]/∂x_j‖₂; from :func:`probe_last_output` their length in one direction.
    """

    forward: Array
    backward: Array

    @property
    def steps_seen_backward(self) -> int:
        """How many input steps reach the backward half of out_T at all."""
        reached = np.any(self.backward != 0, axis=tuple(range(1, self.backward.ndim)))
        return int(np.count_nonzero(reached))

    @property
    def warning(self) -> str | None:
        """The trap in one sentence, if it is there."""
        seen, T = self.steps_seen_backward, self.backward.shape[0]
        if T < 2 or seen > 1:
            return None
        return (
            f"the backward half of the last output has seen x_{T} only, not the other {T - 1} steps: "
            "a loss there trains the backward layer on one step; read h_n ([out_T forward; out_1 backward]) instead"
        )


def measure_last_output(jacobians: Array, forward_size: int) -> LastOutput:
    """Measure what out_T depends on, from :func:`output_input_jacobians`."""
    last = jacobians[-1]
    return LastOutput(
        np.linalg.norm(last[..., :forward_size, :], 2, axis=(-2, -1)),
        np.linalg.norm(last[..., forward_size:, :], 2, axis=(-2, -1)),
    )


def probe_last_output(
    layers: Sequence[Pair], x: Array, *, rng: np.random.Generator, dropout: SeededDropout | None = None
) -> LastOutput:
    """Which inputs out_T depends on at all, from one random direction v_j per input step.

    ‖∂out_T/∂x_j v_j‖ for v_j of independent normal components is exactly zero where ∂out_T/∂x_j is, and (with
    probability one) nowhere else. T columns are pushed through the network instead of T·I: for the article's own
    layers of 1024 inputs a thousandth of the work of :func:`output_input_jacobians`.
    """
    T, width = x.shape[0], x.shape[-1]
    directions = rng.standard_normal((T, width))
    tangents = np.zeros((*x.shape, T))
    steps = np.arange(T)
    tangents[steps, ..., steps] = directions.reshape(T, *(1,) * (x.ndim - 2), width)
    last = _push_up(layers, x, tangents, None, dropout)[-1]
    forward_size = layers[-1][0].hidden_size
    ahead = np.linalg.norm(last[..., :forward_size, :], axis=-2)
    behind = np.linalg.norm(last[..., forward_size:, :], axis=-2)
    return LastOutput(np.moveaxis(ahead, -1, 0), np.moveaxis(behind, -1, 0))
