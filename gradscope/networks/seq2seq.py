"""Encoder and decoder: the encoder's last state is the decoder's first, and the decoder reads what it put out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.errors import ShapeError, UsageError, did_you_mean
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.networks.soft_decoder import SoftDecoder
from gradscope.networks.trajectory import GivenSteps, Inputs, run_network

Feedback = Literal["teacher", "soft", "greedy"]


@dataclass(frozen=True)
class Seq2Seq:
    """An encoder–decoder with a softmax head (theory.md C17).

    Attributes
    ----------
    encoder, decoder : Cell
        Of one kind and size: the state is handed over whole (h and c of an lstm).
    head_weight, head_bias : ndarray, shapes (V, H) and (V,)
    embedding : ndarray, shape (V, I), or None
        What the decoder reads for each symbol; None: one-hot.
    feedback : {"teacher", "soft", "greedy"}
        The decoder reads the target's previous symbol; the probabilities it put out; or its most likely symbol,
        which passes no gradient.
    start, end : int
        The symbol read first; the one that ends a greedy decoding (−1: the last).
    max_steps : int
        Where a greedy decoding ends at the latest.
    temperature : float
        τ of the softmax that is fed back (``soft``); the loss scores the head's own softmax, τ = 1.
    """

    encoder: Cell
    decoder: Cell
    head_weight: Array
    head_bias: Array
    embedding: Array | None = field(default=None)
    feedback: Feedback = field(default="greedy")
    start: int = field(default=0)
    end: int = field(default=-1)
    max_steps: int = field(default=32)
    temperature: float = field(default=1.0)

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        if self.feedback not in get_args(Feedback):
            known = get_args(Feedback)
            hint = did_you_mean(self.feedback, known)
            raise UsageError(f"unknown feedback '{self.feedback}': choose from {', '.join(known)}.{hint}")
        if not self.temperature > 0:
            raise UsageError(f"temperature is above 0, not {self.temperature:g}; greedy feedback is its limit 0")
        if self.max_steps < 1:
            raise UsageError(f"max_steps is at least 1, not {self.max_steps}: a decoder makes one step to say End")
        encoder, decoder = self.encoder, self.decoder
        handed_over, taken = ((cell.state_parts, cell.hidden_size, cell.state_size) for cell in (encoder, decoder))
        if handed_over != taken:
            raise ShapeError(
                f"the encoder ({encoder.name}, {encoder.hidden_size} units) cannot hand its state to the decoder "
                f"({decoder.name}, {decoder.hidden_size} units): both need the same kind of state and size"
            )
        V, H = self.n_symbols, decoder.hidden_size
        if self.head_weight.shape != (V, H):
            raise ShapeError(
                f"the head's weight is (symbols, units) = ({V}, {H}), this one is {self.head_weight.shape}"
            )
        width = (V, decoder.input_size) if self.embedding is None else self.embedding.shape
        if width != (V, decoder.input_size):
            raise ShapeError(f"the embedding is (symbols, inputs) = ({V}, {decoder.input_size}), this one is {width}")
        if self.embedding is None and decoder.input_size != V:
            raise ShapeError(
                f"without an embedding the decoder reads one-hot symbols, but it has {decoder.input_size} inputs and "
                f"the head {V} symbols: name the embedding"
            )
        for key, symbol in (("start", self.start), ("end", self.end)):
            if not -V <= symbol < V:
                raise UsageError(f"{key}={symbol} is no symbol: there are {V}, counted from 0")

    @property
    def n_symbols(self) -> int:
        return int(self.head_bias.shape[-1])

    @property
    def end_symbol(self) -> int:
        """The End symbol, counted from 0."""
        return self.end % self.n_symbols

    def embed(self, symbols: Array) -> Array:
        """What the decoder reads for symbols: shape (..., I)."""
        dtype = self.decoder.weight_ih.dtype
        if self.embedding is not None:
            return np.asarray(self.embedding[symbols], dtype=dtype)
        return np.asarray(np.asarray(symbols)[..., None] == np.arange(self.n_symbols), dtype=dtype)

    def logits(self, h: Array) -> Array:
        """W_head h + b_head."""
        return np.asarray(h @ self.head_weight.T + self.head_bias)

    def check_target(self, target: Array, batch: int) -> Array:
        """The target as (S, batch): symbols in range; a (S,) target serves every sample, (batch, S) has one each.

        Raises
        ------
        ShapeError, UsageError
        """
        target = np.asarray(target)
        if target.ndim == 1:
            target = np.broadcast_to(target, (batch, len(target)))
        if target.ndim != 2 or target.shape[0] != batch or target.shape[1] == 0:
            raise ShapeError(
                f"a target is (S,) or (batch, S) = ({batch}, S) symbols, S ≥ 1; this one is {target.shape}"
            )
        if not np.issubdtype(target.dtype, np.integer):
            raise UsageError(f"a target holds symbols (integers), these are {target.dtype}")
        if target.min() < 0 or target.max() >= self.n_symbols:
            raise UsageError(
                f"the target holds symbols {target.min()} … {target.max()}; the head knows 0 … {self.n_symbols - 1}"
            )
        return target.T

    def decode_greedily(self, state: Array) -> Array:
        """The most likely symbol at each step until every sample has said End, or ``max_steps``: (S, batch)."""
        H = self.decoder.hidden_size
        symbols = np.full(state.shape[:-1], self.start % self.n_symbols)
        ended = np.zeros(state.shape[:-1], dtype=bool)
        out = []
        for _ in range(self.max_steps):
            state = self.decoder.step(state, self.decoder.drive(self.embed(symbols)))
            symbols = np.argmax(self.logits(state[..., :H]), axis=-1)
            out.append(symbols)
            ended |= symbols == self.end_symbol
            if ended.all():
                break
        return np.array(out)


def run_seq2seq(
    model: Seq2Seq,
    inputs: Inputs,
    initial_state: Array,
    target: Array,
    *,
    memory: int = 2**30,
    progress: Callable[[int, int], None] | None = None,
) -> Seq2SeqTape:
    """Encode the inputs, decode, and return one tape over both: encoder steps 1 … T, decoder steps T+1 … T+S.

    Parameters
    ----------
    inputs : Inputs
        What the encoder reads, T steps of (batch, I).
    initial_state : ndarray, shape (batch, n)
        The encoder's s_0.
    target : ndarray of int, shape (S,) or (batch, S)
        What the loss compares each decoder step with. ``teacher`` and ``soft`` decode S steps; ``greedy`` until End
        or ``max_steps``, and is scored on the steps that it has in common with the target, up to its own End.
    """
    symbols = model.check_target(target, inputs.batch)
    encoder = run_network(Layer(model.encoder), inputs, initial_state, memory=memory, progress=progress)
    state = encoder.state(encoder.n_steps)
    scored = np.ones(symbols.shape, dtype=bool)
    decoded: Array | None = None
    if model.feedback == "soft":
        start = model.embed(np.asarray(model.start % model.n_symbols))
        head = model.head_weight, model.head_bias
        network = SoftDecoder(model.decoder, *head, model.embedding, start, model.temperature)
        empty = GivenSteps(np.zeros((len(symbols), *state.shape[:-1], 0), dtype=state.dtype))
        decoder = run_network(network, empty, state, memory=memory)
    else:
        read = symbols
        if model.feedback == "greedy":
            read = decoded = model.decode_greedily(state)
            common = min(len(decoded), len(symbols))
            ended = np.cumsum(decoded == model.end_symbol, axis=0) - (decoded == model.end_symbol)
            scored, symbols = (ended == 0)[:common], symbols[:common]
        first = np.full((1, *read.shape[1:]), model.start % model.n_symbols)
        fed = GivenSteps(model.embed(np.concatenate([first, read[:-1]])))
        decoder = run_network(Layer(model.decoder), fed, state, memory=memory)
    return Seq2SeqTape(encoder, decoder, model.head_weight, model.head_bias, symbols, scored, decoded)
