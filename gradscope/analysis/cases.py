"""From a source and a request to trajectories: one case per result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.analysis.lengths import refuse_lengths, with_lengths
from gradscope.analysis.request import RunRequest
from gradscope.analysis.tokens import embedded_tokens
from gradscope.cells.cell import Cell
from gradscope.errors import InputError, ShapeError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.bidirectional import probe_last_output, split_bidirectional
from gradscope.networks.layer import Layer
from gradscope.networks.network import Network
from gradscope.networks.padded import Padded, turned
from gradscope.networks.seq2seq import Seq2Seq, run_seq2seq
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.networks.stack import Stack, split_stack
from gradscope.networks.trajectory import Inputs, Trajectory, run_network
from gradscope.numerics.tape import StoredTape, Tape, tape_of_matrices
from gradscope.remarks import GENERATED_INPUT
from gradscope.sources.file_format import read_start, sniff
from gradscope.sources.given_arrays import GivenArray
from gradscope.sources.inputs import (
    ArrayInputs,
    GeneratedInputs,
    InputsAfter,
    arrange_inputs,
    array_of,
    ask_order,
    check_inputs_name,
    is_generated,
    load_numeric_array,
)
from gradscope.sources.kinds import BidirectionalSource, EncoderDecoderSource, JacobianSource, NetworkSource
from gradscope.sources.seeding import generator
from gradscope.sources.source import Source

#: Steps on which a bidirectional network's last output is taken apart.
TRAP_STEPS = 8


@dataclass(frozen=True)
class Beside:
    """The other direction of a bidirectional layer, whose output a head reads beside this one's.

    Attributes
    ----------
    tape : Tape
        The other direction's run, in its own order.
    components : ndarray of int
        Where its h stands.
    own_first : bool
        Whether this direction is the forward one, which stands first.
    """

    tape: Tape
    components: Array
    own_first: bool

    @property
    def width(self) -> int:
        """Units of the other direction."""
        return len(self.components)

    def output(self, t: int) -> Array:
        """The other direction's h after its own step t, shape (batch, H)."""
        return np.asarray(self.tape.state(t)[..., self.components])


@dataclass(frozen=True)
class Case:
    """One trajectory to measure.

    Attributes
    ----------
    record : mapping
        The ``source`` object of the result.
    tape : Tape
    network : Network or None
        None for ready Jacobians: then nothing is known but the tape.
    initial_bound : float
        max |s_0|, from which state-dependent bounds start.
    starts : ndarray of int, shape (batch,), or None
        Steps before each sequence's first where they have different lengths.
    """

    source: Source
    record: Mapping[str, Any]
    settings: Mapping[str, Any]
    tape: Tape
    network: Network | None
    initial_bound: float
    warnings: tuple[str, ...]
    beside: Beside | None = None
    above: tuple[Case, ...] = ()
    starts: Array | None = None

    def ended(self, n_rows: int) -> Array | None:
        """Which samples are too short for a lag, shape (n_rows, batch); None where all have one length."""
        if self.starts is None:
            return None
        return np.arange(n_rows)[:, None] > self.tape.n_steps - self.starts

    def other_direction(self) -> Case | None:
        """The other direction of the same bidirectional layer, or None."""
        if self.beside is None or self.network is None or not isinstance(self.beside.tape, Trajectory):
            return None
        beside = Beside(self.tape, self.network.output_components, own_first=not self.beside.own_first)
        direction = "forward" if self.record.get("direction") == "backward" else "backward"
        record = {**self.record, "direction": direction}
        tape = self.beside.tape
        return replace(self, record=record, tape=tape, network=tape.network, beside=beside)

    def time_of(self, t: int) -> int:
        """Where the run's step t stands in the sequence: from the end for a backward direction."""
        return self.tape.n_steps + 1 - t if self.record.get("direction") == "backward" else t

    @property
    def trajectory(self) -> Trajectory | Seq2SeqTape | None:
        """The tape as something that was run (and can be gone through in stretches); None for ready Jacobians."""
        return self.tape if isinstance(self.tape, Trajectory | Seq2SeqTape) else None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that theory reads weights from, bottom layer first; none for ready Jacobians or seq2seq."""
        return () if self.network is None else self.network.layers


def open_inputs(request: RunRequest, source: Source, width: int) -> ArrayInputs | GeneratedInputs:
    """x_1 … x_T (transient included): generated, read from a file and checked against the width, or embedded tokens."""
    return with_lengths(request, _opened(request, source, width))


def _opened(request: RunRequest, source: Source, width: int) -> ArrayInputs | GeneratedInputs:
    tokens = embedded_tokens(request, source.file_head, source=source.spec.text)
    if tokens is not None:
        if tokens.n_steps < request.transient:
            raise InputError(f"{tokens.n_steps} tokens, fewer than --transient {request.transient}.")
        return tokens
    if is_generated(request.inputs):
        total = request.steps + request.transient
        return GeneratedInputs(request.inputs, total, request.batch, width, request.seed, np.dtype(request.dtype))
    if isinstance(request.inputs, GivenArray):
        array, name = array_of(request.inputs, purpose="inputs")
    else:
        check_inputs_name(request.inputs)
        array, name = read_inputs_file(request.inputs)
        if array.shape[-1] == width:
            ask_order(array.shape, request.time_major, purpose=f"--inputs {name}")
    time_major = bool(request.time_major) and array.ndim == 3
    arranged = arrange_inputs(array, width, purpose=f"--inputs {name}", time_major=time_major)
    if arranged.shape[0] < request.transient:
        raise InputError(f"--inputs {name} has {arranged.shape[0]} steps, fewer than --transient {request.transient}.")
    said = f"{name} (time-major)" if time_major else name
    return ArrayInputs(arranged.astype(request.dtype), said)


def read_inputs_file(text: str) -> tuple[Array, str]:
    """The array of ``--inputs FILE`` (npy, csv, or npz and safetensors with ``FILE:NAME``), and what to call it."""
    from gradscope.sources.named_arrays import read_named

    path = Path(text)
    if path.is_file():
        with path.open("rb") as stream:
            several = sniff(read_start(stream), path.stat().st_size) in ("zip", "safetensors")
    else:
        several = Path(text.rpartition(":")[0]).is_file()
    if several:
        return read_named(text, purpose="--inputs")
    return load_numeric_array(path, purpose="--inputs"), path.name


def initial_state(request: RunRequest, network: Network, batch: int, start: Array | None = None) -> Array:
    """s_0, shape (*networks, batch, n): the file of --state, seeded N(0, 1), what a model starts from, or zeros."""
    shape = (*network.weight_axes, batch, network.state_size)
    if request.state is None:
        return np.broadcast_to(0.0 if start is None else start, shape).astype(request.dtype)
    if request.state == "normal":
        return generator(request.seed, "state").standard_normal(shape).astype(request.dtype)
    array, name = array_of(request.state, purpose="--state")
    n = network.state_size
    if array.shape not in ((n,), (batch, n)):
        raise ShapeError(
            f"--state {name}: wanted ({n},) or ({batch}, {n}), got {array.shape}"
            + ("; an lstm's state is [h; c]." if network.h_components is not None else ".")
        )
    return np.broadcast_to(array, shape).astype(request.dtype)


def run_case(
    source: Source,
    request: RunRequest,
    network: Network,
    inputs: ArrayInputs | GeneratedInputs,
    record: Mapping[str, Any],
    *,
    name: str,
    start: Array | None = None,
) -> Case:
    """Run the transient, then the measured steps."""
    state = initial_state(request, network, inputs.batch, start)
    measured: Inputs = inputs
    if request.transient:
        warmup = replace(inputs, n_steps=request.transient) if isinstance(inputs, GeneratedInputs) else inputs
        for first in range(1, request.transient + 1, 4096):
            last = min(first + 4095, request.transient)
            state = network.advance(state, warmup.read(first, last), first=first)[-1]
        measured = InputsAfter(inputs, request.transient)
    starts = inputs.starts if isinstance(inputs, ArrayInputs) else None
    if starts is not None and network.step_weight_bytes:
        refuse_lengths(request, f"{network.name}, whose every step has weights of its own")
    running = network if starts is None else Padded(network, starts, state)
    trajectory = run_network(running, measured, state, memory=request.memory, progress=request.track(f"{name}: run"))
    read = inputs.description if network.input_size else "none"
    settings = _settings(source, request, trajectory, inputs.batch, read)
    warnings = (*source.warnings, *_noise_warning(source, request, network.input_size))
    return Case(source, record, settings, trajectory, network, _largest(state), warnings, starts=starts)


def _settings(source: Source, request: RunRequest, tape: Tape, batch: int, inputs: str) -> dict[str, Any]:
    """The ``settings`` object of a run's results: what was asked, and what there was in fact."""
    return {**request.settings(), **source.settings, "steps": tape.n_steps, "batch": batch, "inputs": inputs}


def _largest(state: Array) -> float:
    """max |s_0|."""
    return float(np.max(np.abs(state), initial=0.0))


def _noise_warning(source: Source, request: RunRequest, width: int) -> tuple[str, ...]:
    """Trained weights on generated inputs: the numbers are right and may be about another network than in use."""
    if source.spec.kind != "file" or width == 0 or not is_generated(request.inputs) or request.tokens is not None:
        return ()
    return (f"{GENERATED_INPUT} ({request.inputs}): give real features, --inputs FILE.npy",)


@singledispatch
def cases_of(source: Source, request: RunRequest) -> list[Case]:
    """Run a source: one case, or one per layer and direction of a bidirectional network."""
    raise TypeError(f"no way to run a {type(source).__name__}")


@cases_of.register
def _network_case(source: NetworkSource, request: RunRequest) -> list[Case]:
    inputs = open_inputs(request, source, source.network.input_size)
    if source.backward:
        inputs = reversed_inputs(inputs)
    name, start = source.spec.text, source.start()
    return [run_case(source, request, source.network, inputs, source.record, name=name, start=start)]


def layer_cases(case: Case, request: RunRequest) -> list[Case]:
    """Each layer of a stack by itself, driven by what it reads in the stack; nothing for a single layer."""
    network, trajectory = case.network, case.tape
    if not isinstance(network, Stack) or not isinstance(trajectory, Trajectory):
        return []
    x = trajectory.inputs.read(1, trajectory.n_steps)
    out = []
    for part in split_stack(network, x, trajectory.state(0)):
        record = {**case.record, "layer": part.layer, "layers": 1, "state_size": part.network.state_size}
        tape = run_network(part.network, ArrayInputs(part.inputs), part.initial_state, memory=request.memory)
        bound = _largest(part.initial_state)
        out.append(replace(case, record=record, tape=tape, network=part.network, initial_bound=bound, warnings=()))
    return out


def reversed_inputs(inputs: ArrayInputs | GeneratedInputs) -> ArrayInputs:
    """The same inputs read from their end."""
    x, starts = inputs.read(1, inputs.n_steps), inputs.starts if isinstance(inputs, ArrayInputs) else None
    return ArrayInputs(turned(x, starts), inputs.description, starts)


@cases_of.register
def _ready_case(source: JacobianSource, request: RunRequest) -> list[Case]:
    for name, given in (("--state", request.state is not None), ("--transient", request.transient != 0)):
        if given:
            raise UsageError(f"{name} has no meaning for ready Jacobians: '{source.spec.text}' is already linearised.")
    refuse_lengths(request, "ready Jacobians, which are one sequence")
    tape: StoredTape = tape_of_matrices(source.jacobians)
    settings = _settings(source, request, tape, 1, "none")
    return [Case(source, source.record, settings, tape, None, 0.0, source.warnings)]


@cases_of.register
def _bidirectional_cases(source: BidirectionalSource, request: RunRequest) -> list[Case]:
    width = source.directions[0][0].input_size
    inputs = open_inputs(request, source, width)
    cases = []
    x = inputs.read(1, inputs.n_steps)
    starts = None
    if source.starts:
        starts = [np.broadcast_to(start, (x.shape[1], len(start))).astype(x.dtype) for start in source.starts]
    begin = inputs.starts if isinstance(inputs, ArrayInputs) else None
    parts = split_bidirectional(source.directions, x, starts, dropout=source.dropout, begin=begin)
    for index, part in enumerate(parts):
        if source.spec.given.get("direction") not in (None, part.direction):
            continue
        record = {**source.record, "direction": part.direction, "layers": 1, "state_size": part.network.state_size}
        cell = part.network.layers[0]
        record |= {"cell": cell.name, "hidden": cell.gate_size}  # of a mixed stack, each layer's own
        record.setdefault("layer", part.layer)  # layer=N of a file runs alone and stays layer N
        name = f"{source.spec.text} layer {record['layer']} {part.direction}"
        layer_inputs = ArrayInputs(part.inputs, inputs.description, begin)
        start = source.start(index, index + 1)
        case = run_case(source, request, part.network, layer_inputs, record, name=name, start=start)
        if part.direction == "backward" and part.layer == len(source.directions) - 1:
            case = replace(case, warnings=(*case.warnings, *_last_output_trap(source, inputs)))
        cases.append(case)
    return _beside_one_another(cases)


def _beside_one_another(cases: list[Case]) -> list[Case]:
    """Tell the two directions of each layer of each other, and a lower layer of what leads to the loss."""
    above: tuple[Case, ...] = ()
    out: list[Case] = []
    for layer in sorted({case.record["layer"] for case in cases}, reverse=True):
        here = tuple(replace(case, above=above) for case in cases if case.record["layer"] == layer)
        if len(here) == 2:
            here = (_beside(here[0], here[1], own_first=True), _beside(here[1], here[0], own_first=False))
        out[:0] = here
        above = here
    return out


def _beside(case: Case, other: Case, *, own_first: bool) -> Case:
    assert other.network is not None
    return replace(case, beside=Beside(other.tape, other.network.output_components, own_first))


def _last_output_trap(source: BidirectionalSource, inputs: ArrayInputs | GeneratedInputs) -> tuple[str, ...]:
    """What the last output's backward half has seen, measured on the first few steps (theory.md C16)."""
    steps = min(inputs.n_steps, TRAP_STEPS)
    if steps < 2:
        return ()
    rng = generator(0, "last output")  # any direction will do: no number depends on it
    x = inputs.read(1, steps)[:, :1]
    found = probe_last_output(source.directions, x, rng=rng, dropout=source.dropout).warning
    return () if found is None else (f"{found} (measured on the first {steps} steps, T = {steps} there)",)


@cases_of.register
def _seq2seq_case(source: EncoderDecoderSource, request: RunRequest) -> list[Case]:
    """Encode the inputs, decode, and measure over both."""
    model = source.seq2seq
    if request.transient:
        raise UsageError("--transient has no meaning for seq2seq: the encoder starts where its input starts.")
    refuse_lengths(request, "seq2seq")
    inputs = open_inputs(request, source, model.encoder.input_size)
    if inputs.n_steps == 0:
        raise UsageError("seq2seq needs at least one encoder step: raise -T.")
    state = initial_state(request, Layer(model.encoder), inputs.batch)
    target = _decoder_target(request, model, inputs.n_steps)
    tape = run_seq2seq(model, inputs, state, target, memory=request.memory)
    settings = _settings(source, request, tape, inputs.batch, inputs.description)
    settings |= {"encoder_steps": tape.encoder_steps, "decoder_steps": tape.decoder_steps, "feedback": model.feedback}
    warnings = (*source.warnings, *_noise_warning(source, request, model.encoder.input_size))
    if tape.decoded is not None and tape.decoder_steps == model.max_steps:
        warnings = (*warnings, f"decoding did not reach End within max_steps={model.max_steps}: raise max_steps=")
    return [Case(source, source.record, settings, tape, None, _largest(state), warnings)]


def _decoder_target(request: RunRequest, model: Seq2Seq, n_steps: int) -> Array:
    """Symbols the decoder is scored on: ``--target`` as an array, a file or ``3,1,4``, or T seeded ones."""
    text: str | GivenArray | None = getattr(request, "target", None)
    if text is None:
        return generator(request.seed, "target").integers(0, model.n_symbols, n_steps)
    if isinstance(text, str) and re.fullmatch(r"[0-9]+(\s*,\s*[0-9]+)*", text.strip()):
        return np.array([int(part) for part in text.split(",")])
    if isinstance(text, str) and not Path(text).suffix:
        raise UsageError(f"--target {text}: wanted a sequence of symbols, FILE.npy or 3,1,4.")
    values, name = array_of(text, purpose="--target")
    if np.any(values != np.round(values)):
        raise ShapeError(f"--target {name}: wanted whole numbers, the decoder's symbols.")
    return values.astype(np.int64)
