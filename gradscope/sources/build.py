"""From a parsed SOURCE to a network with its weights, its record, and what theory reads of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from gradscope.cells import CELLS
from gradscope.cells.activations import find_activation
from gradscope.cells.base import Cell
from gradscope.cells.rnn import Rnn
from gradscope.errors import InputError, UsageError
from gradscope.jacobians.base import Array
from gradscope.networks.base import Network
from gradscope.networks.dropout import SeededDropout
from gradscope.networks.independent import Independent
from gradscope.networks.layer import Layer
from gradscope.networks.seq2seq import Seq2Seq
from gradscope.networks.stack import Stack
from gradscope.sources.build_seq2seq import draw_seq2seq, one_layer, read_seq2seq
from gradscope.sources.drawing import draw_cell
from gradscope.sources.ensembles import ENSEMBLES
from gradscope.sources.layer_weights import LayerWeights
from gradscope.sources.seeding import generator
from gradscope.sources.spec import FILE_FORMATS, SourceSpec

#: Weights larger than this are refused before anything is allocated, unless --memory says otherwise.
DEFAULT_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class RecurrentBlock:
    """One square recurrent matrix: what ``spectrum`` decomposes."""

    param: str
    gate: str | None
    matrix: Array


@dataclass(frozen=True)
class Source:
    """A network (or ready Jacobians) with everything a verb needs to know of where it came from.

    Attributes
    ----------
    spec : SourceSpec
    record : dict
        The ``source`` object of the contract.
    network : Network or None
        What runs; None for ready Jacobians, a bidirectional pair (``directions``) or an encoder–decoder.
    seq2seq : Seq2Seq or None
    jacobians : ndarray, shape (K, n, n), or None
    directions : tuple of (forward, backward) cells, bottom layer first, or ()
    blocks : tuple of RecurrentBlock
    warnings : tuple of str
    """

    spec: SourceSpec
    record: Mapping[str, Any]
    network: Network | None = None
    seq2seq: Seq2Seq | None = None
    jacobians: Array | None = None
    directions: tuple[tuple[Cell, Cell], ...] = ()
    dropout: SeededDropout | None = None
    backward: bool = False
    blocks: tuple[RecurrentBlock, ...] = ()
    warnings: tuple[str, ...] = ()
    classes: int = 10
    arrays: Mapping[str, Array] = field(default_factory=dict)


def build_source(spec: SourceSpec, *, seed: int, dtype: str = "float64", memory: int = DEFAULT_MEMORY) -> Source:
    """Build or read what a SOURCE names.

    Raises
    ------
    UsageError
        A size that would not fit in ``memory`` (said before allocating), keys that do not go together.
    InputError
        A file that cannot be read.
    """
    if spec.kind == "cell":
        return _built(spec, seed, np.dtype(dtype), memory)
    suffix = spec.path.suffix.lower()
    if suffix not in FILE_FORMATS:
        raise InputError(f"{spec.name}: '{suffix}' is no format gradscope reads. Wanted: {', '.join(FILE_FORMATS)}.")
    if suffix == ".npy":
        return _from_matrices(spec, np.dtype(dtype))
    return _from_weights(spec, seed, np.dtype(dtype))


# --- built networks -----------------------------------------------------------------------------------------


def _check_size(spec: SourceSpec, gates: int, memory: int) -> None:
    H, layers = spec["hidden"], spec["layers"] if "layers" in _keys_of(spec) else 1
    n_bytes = 8 * gates * H * (H + spec["inputs"]) * layers
    if n_bytes > memory:
        raise UsageError(
            f"'{spec.text}' would hold {n_bytes / 2**30:.3g} GiB of weights; the limit is {memory / 2**30:.3g} GiB.\n"
            "Choose a smaller hidden or inputs, or raise --memory."
        )


def _keys_of(spec: SourceSpec) -> Mapping[str, Any]:
    from gradscope.sources.spec import known_keys

    return known_keys(spec.kind, spec.name, spec.given)


def _built(spec: SourceSpec, seed: int, dtype: Any, memory: int) -> Source:
    if spec.name == "seq2seq":
        _check_size(spec, 2 * len(CELLS[spec["cell"]].gates), memory)
        return _of_seq2seq(spec, draw_seq2seq(spec, seed, dtype), None)
    if spec.name == "dnn":
        _check_size(spec, 1, memory)
        return _independent(spec, seed, dtype)
    _check_size(spec, len(CELLS[spec.name].gates), memory)
    n_layers, both = spec["layers"], spec["bidirectional"]
    pairs: list[tuple[Cell, ...]] = []
    width = spec["inputs"]
    for index in range(n_layers):
        names = ("forward", "backward") if both else ("forward",)
        pairs.append(
            tuple(draw_cell(spec, spec.name, width, generator(seed, "weights", index, name), dtype) for name in names)
        )
        width = spec["hidden"] * len(names)
    blocks: list[RecurrentBlock] = []
    for index, cells in enumerate(pairs):
        for cell, ending in zip(cells, ("", "_reverse"), strict=False):
            blocks += _blocks(cell, f"weight_hh_l{index}{ending}")
    record = _record(spec, spec.name, spec["hidden"], n_layers, pairs[0][0].state_size * n_layers, pairs)
    dropout = SeededDropout(spec["dropout"], seed) if spec["dropout"] else None
    shared: dict[str, Any] = {"blocks": tuple(blocks), "classes": spec["classes"], "warnings": _built_warnings(spec)}
    if both:
        directions = tuple((forward, backward) for forward, backward in pairs)
        return Source(spec, record, directions=directions, dropout=dropout, **shared)
    return Source(spec, record, stack_of(tuple(cells[0] for cells in pairs), dropout=dropout), **shared)


def _independent(spec: SourceSpec, seed: int, dtype: Any) -> Source:
    """The control: W_t of step t from the same ensemble and gain, each step with a stream of its own."""
    cell = draw_cell(spec, "rnn", spec["inputs"], generator(seed, "weights", 0, "forward"), dtype)
    assert isinstance(cell, Rnn)
    ensemble, n, gain = ENSEMBLES[spec["init"]], spec["hidden"], spec["gain"]
    network = Independent.from_draws(cell, lambda t: ensemble(generator(seed, "weights", "step", t), n, gain))
    record = _record(spec, "dnn", n, 1, n, ((network.cell,),))
    blocks = (RecurrentBlock("weight_hh_l0[step 1]", None, network.cell.weight_hh),)
    return Source(spec, record, network, blocks=blocks, classes=spec["classes"])


def _of_seq2seq(
    spec: SourceSpec, model: Seq2Seq, sha256: str | None, names: tuple[str, str] = ("encoder", "decoder")
) -> Source:
    """An encoder–decoder as a source."""
    cells = (model.encoder, model.decoder)
    record = _record(spec, "seq2seq", model.decoder.hidden_size, 1, model.decoder.state_size, (cells,), sha256)
    record |= {"encoder": model.encoder.name, "decoder": model.decoder.name, "symbols": model.n_symbols}
    record["feedback"] = model.feedback
    blocks: list[RecurrentBlock] = []
    for name, cell in zip(names, cells, strict=True):
        blocks += _blocks(cell, name if "w" in name.rsplit(".", 1)[-1] else f"{name}.weight_hh_l0")
    return Source(spec, record, seq2seq=model, blocks=tuple(blocks), classes=model.n_symbols)


def _built_warnings(spec: SourceSpec) -> tuple[str, ...]:
    """Keys that are accepted and have no effect are said to have none."""
    out = []
    known = _keys_of(spec)
    if "norm" in known and spec["norm"] == "layer" and (spec["bias"] or spec.given.get("forget_bias")):
        out.append(
            "norm=layer takes a bias that is equal across units away with the mean: bias and forget_bias have no effect"
        )
    if "dropout" in known and spec["dropout"] and spec["layers"] == 1:
        out.append("dropout acts between layers and there is one: say layers=2, or drop it")
    return tuple(out)


def stack_of(cells: tuple[Cell, ...], *, dropout: SeededDropout | None = None) -> Network:
    """One layer as itself, several as a stack with a dropout mask between layers."""
    return Layer(cells[0]) if len(cells) == 1 else Stack(cells, dropout=dropout)


def _blocks(cell: Cell, param: str) -> list[RecurrentBlock]:
    """The recurrent blocks of one cell, gate None when there is one only."""
    blocks = cell.recurrent_blocks()
    return [RecurrentBlock(param, gate if len(blocks) > 1 else None, matrix) for gate, matrix in blocks.items()]


def _record(
    spec: SourceSpec, cell: str, hidden: int, layers: int, state_size: int, cells: Any, sha256: str | None = None
) -> dict[str, Any]:
    return {
        "name": source_name(spec),
        "cell": cell,
        "hidden": hidden,
        "layers": layers,
        "state_size": state_size,
        "sha256": sha256 or hash_of_weights(cells),
    }


def source_name(spec: SourceSpec) -> str:
    """The source as written; an absolute path is cut to its file name, so that results can be committed."""
    return os.path.basename(spec.text) if os.path.isabs(spec.name) else spec.text


def hash_of_weights(groups: Any) -> str:
    """sha256 over the weights of a built network, so that two runs can be seen to have had the same one."""
    digest = hashlib.sha256()
    for cells in groups:
        for cell in cells:
            for array in (cell.weight_ih, cell.weight_hh, cell.bias):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


# --- files --------------------------------------------------------------------------------------------------


def _from_matrices(spec: SourceSpec, dtype: Any) -> Source:
    from gradscope.sources.files import read_matrices

    matrices = read_matrices(spec.path)
    if matrices.are_jacobians:
        return _from_jacobians(spec, matrices.values, matrices.sha256)
    W = matrices.values.astype(dtype)
    n = W.shape[0]
    cell = CELLS["rnn"].from_layer(
        np.zeros((n, 0), dtype=dtype),
        W,
        np.full(n, spec["bias"], dtype=dtype),
        None,
        activation=find_activation(spec["activation"] or "tanh"),
    )
    record = _record(spec, "rnn", n, 1, n, (), matrices.sha256)
    blocks = (RecurrentBlock("W_hh", None, W),)
    warnings: tuple[str, ...] = ()
    if "activation" not in spec.given:
        warnings = ("a matrix alone does not name its activation: tanh was assumed; say :activation=identity for W^k",)
    return Source(spec, record, Layer(cell), blocks=blocks, warnings=warnings)


def _from_jacobians(spec: SourceSpec, matrices: Array, sha256: str) -> Source:
    if spec.given:
        raise UsageError(f"'{spec.text}' holds ready Jacobians, which take no keys: drop :{next(iter(spec.given))}=.")
    n = int(matrices.shape[-1])
    record = _record(spec, "jacobians", n, 1, n, (), sha256)
    return Source(spec, record, jacobians=matrices)


def cell_of_layer(layer: LayerWeights, dtype: Any) -> Cell:
    """A cell from a layer as a file holds it."""
    settings: dict[str, Any] = {
        "activation": find_activation(layer.activation),
        "gate_activation": find_activation(layer.gate_activation, gate=True),
    }
    if layer.reset is not None:
        settings["reset"] = layer.reset
    biases = [None if b is None else b.astype(dtype) for b in (layer.bias_ih, layer.bias_hh)]
    return CELLS[layer.cell].from_layer(
        layer.weight_ih.astype(dtype), layer.weight_hh.astype(dtype), biases[0], biases[1], **settings
    )


def recurrent_parameter(layer: LayerWeights) -> str:
    """The file's own name for W_hh, or PyTorch's where the file's format has none that would be understood."""
    for name in layer.parameters:
        if ("hh" in name.rsplit(".", 1)[-1] and "weight" in name) or name.endswith("w_hh"):
            return name
    ending = "_reverse" if layer.direction == "backward" else ""
    prefix = f"{layer.module}." if layer.module else ""
    return f"{prefix}weight_hh_l{layer.layer}{ending}"


def _from_weights(spec: SourceSpec, seed: int, dtype: Any) -> Source:
    from gradscope.sources.files import read_matrices, read_weights, select_layers

    if spec["cell"] == "seq2seq":
        return _seq2seq_from_weights(spec, dtype)
    if spec["cell"] == "dnn":
        raise UsageError("cell=dnn has a W of its own at every step: give its step Jacobians as a 3-D .npy instead.")
    try:
        weights = read_weights(
            spec.path,
            cell=spec["cell"],
            activation=spec["activation"],
            gate_activation=spec["gate_activation"],
            reset=spec["reset"],
        )
    except InputError:
        if spec.path.suffix.lower() != ".npz" or spec.given:
            raise
        try:
            matrices = read_matrices(spec.path)
        except InputError:
            matrices = None
        if matrices is None or not matrices.are_jacobians:
            raise
        return _from_jacobians(spec, matrices.values, matrices.sha256)
    layers = select_layers(weights, param=spec["param"], layer=spec["layer"], direction=spec["direction"])
    return source_of_layers(spec, layers, weights.sha256, dtype, arrays=weights.other_arrays)


def _seq2seq_from_weights(spec: SourceSpec, dtype: Any) -> Source:
    """An encoder–decoder from one file: the modules, head and embedding that the keys name."""
    from gradscope.sources.files import read_weights, select_layers

    for key in ("param", "layer", "direction"):
        if spec[key] is not None:
            raise UsageError(f"{key}= has no meaning with cell=seq2seq: encoder= and decoder= name the modules.")
    given = {key: spec[key] for key in ("activation", "gate_activation", "reset")}
    weights = read_weights(spec.path, **given)
    parts = {part: one_layer(spec, select_layers(weights, param=spec[part]), part) for part in ("encoder", "decoder")}
    cells = [cell_of_layer(layer, dtype) for layer in parts.values()]
    model, warnings = read_seq2seq(spec, weights, cells[0], cells[1], dtype)
    names = [recurrent_parameter(layer) for layer in parts.values()]
    source = _of_seq2seq(spec, model, weights.sha256, (names[0], names[1]))
    assumed = dict.fromkeys(sentence for layer in parts.values() for sentence in layer.assumptions)
    return replace(source, warnings=(*assumed, *warnings), arrays=weights.other_arrays)


def source_of_layers(
    spec: SourceSpec, layers: tuple[LayerWeights, ...], sha256: str, dtype: Any, *, arrays: Mapping[str, Array]
) -> Source:
    """A network from one module's layers: a single layer, a stack, or a bidirectional pair of each."""
    cells = [cell_of_layer(layer, dtype) for layer in layers]
    first = layers[0]
    n_layers = len({layer.layer for layer in layers})
    state_size = sum(cell.state_size for cell in cells) // (2 if len(cells) > n_layers else 1)
    record = _record(spec, first.cell, first.hidden_size, n_layers, state_size, (), sha256)
    record["module"] = first.module
    blocks: list[RecurrentBlock] = []
    for layer, cell in zip(layers, cells, strict=True):
        blocks += _blocks(cell, recurrent_parameter(layer))
    warnings = tuple(dict.fromkeys(sentence for layer in layers for sentence in layer.assumptions))
    shared: dict[str, Any] = {"blocks": tuple(blocks), "warnings": warnings, "arrays": arrays}
    directions = {layer.direction for layer in layers}
    if len(directions) == 2:
        pairs = tuple((cells[i], cells[i + 1]) for i in range(0, len(cells), 2))
        return Source(spec, record, directions=pairs, **shared)
    if directions == {"backward"}:
        record["direction"] = "backward"
        if n_layers > 1:
            raise InputError(
                f"{spec.name}: the backward direction of {n_layers} layers is fed by both directions below.\n"
                f"Drop direction=, or pick one with layer=N."
            )
        return Source(spec, record, Layer(cells[0]), backward=True, **shared)
    if spec["layer"] is not None:
        record["layer"] = spec["layer"]
    if spec["direction"] is not None:
        record["direction"] = spec["direction"]
    _check_chain(spec, layers)
    return Source(spec, record, stack_of(tuple(cells)), **shared)


def _check_chain(spec: SourceSpec, layers: tuple[LayerWeights, ...]) -> None:
    """Each layer must read what the one below puts out; a forward half of a bidirectional stack does not."""
    for below, above in pairwise(layers):
        if above.input_size != below.hidden_size:
            raise InputError(
                f"{spec.name}: layer {above.layer} reads {above.input_size} inputs, layer {below.layer} puts out "
                f"{below.hidden_size}: they are no stack by themselves.\nPick one with layer=N."
            )
