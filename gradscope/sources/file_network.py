"""Networks read from files: a matrix, ready Jacobians, or the layers of a weights file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np

from gradscope.cells import ALL_CELLS, CELLS, keys_of_cells
from gradscope.cells.activations import find_activation
from gradscope.cells.cell import Cell
from gradscope.cells.keys import Key
from gradscope.errors import InputError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.sources.build_seq2seq import one_layer, read_seq2seq
from gradscope.sources.edits import Edits
from gradscope.sources.files import read_matrices, read_weights, select_layers
from gradscope.sources.heads import FileHead, find_head
from gradscope.sources.held import HeldWeights
from gradscope.sources.kinds import BidirectionalSource, JacobianSource, NetworkSource, source_of_seq2seq
from gradscope.sources.layer_weights import LayerWeights, WeightFile
from gradscope.sources.matrices import Matrices
from gradscope.sources.source import RecurrentBlock, Source, blocks_of, record_of, stack_of
from gradscope.sources.spec import SourceSpec


def source_of_matrices(spec: SourceSpec, dtype: Any) -> Source:
    """Read a ``.npy``: W_hh alone as an autonomous rnn, or ready step Jacobians."""
    matrices = spec.held if isinstance(spec.held, Matrices) else read_matrices(spec.path)
    if matrices.are_jacobians:
        return _from_jacobians(spec, matrices.values, matrices.sha256)
    edits = Edits.of(spec.given)
    W = (matrices.values * edits.gain).astype(dtype)
    n = W.shape[0]
    cell = CELLS["rnn"].from_layer(
        np.zeros((n, 0), dtype=dtype),
        W,
        np.full(n, spec["bias"], dtype=dtype),
        None,
        activation=find_activation(spec["activation"] or "tanh"),
    )
    record = record_of(spec, "rnn", n, 1, n, (), edits.sha256(matrices.sha256))
    blocks = (RecurrentBlock("W_hh", None, W, cell),)
    warnings: tuple[str, ...] = ()
    if "activation" not in spec.given:
        warnings = ("a matrix alone does not name its activation: tanh was assumed; say :activation=identity for W^k",)
    return NetworkSource(spec, record, network=Layer(cell), blocks=blocks, warnings=warnings, edits=edits.record)


def _from_jacobians(spec: SourceSpec, matrices: Array, sha256: str) -> Source:
    if spec.given:
        raise UsageError(f"'{spec.text}' holds ready Jacobians, which take no keys: drop :{next(iter(spec.given))}=.")
    n = int(matrices.shape[-1])
    record = record_of(spec, "jacobians", n, 1, n, (), sha256)
    return JacobianSource(spec, record, jacobians=matrices)


def weights_of(spec: SourceSpec, **said: str | None) -> WeightFile:
    """The recurrent layers of a file, or of the state dict that a Python caller holds.

    ``said`` are the keys of :func:`~gradscope.sources.files.read_weights`.
    """
    return spec.held.weights(**said) if isinstance(spec.held, HeldWeights) else read_weights(spec.path, **said)


def _said_of_cells(spec: SourceSpec) -> dict[str, str | None]:
    """What the user says of a module beside which cell it is."""
    return {key: spec[key] for key in ("activation", "gate_activation", "reset", "ignore", "norm")}


def source_of_weights(spec: SourceSpec, dtype: Any) -> Source:
    """Read a weights file and run the module that its keys pick."""
    if spec["cell"] == "seq2seq":
        return _seq2seq_from_weights(spec, dtype)
    if spec["cell"] == "dnn":
        raise UsageError("cell=dnn has a W of its own at every step: give its step Jacobians as a 3-D .npy instead.")
    try:
        weights = weights_of(spec, cell=spec["cell"], **_said_of_cells(spec))
    except InputError:
        if spec.given or spec.held is not None:
            raise
        try:
            matrices = read_matrices(spec.path)
        except InputError:
            matrices = None
        if matrices is None or not matrices.are_jacobians:
            raise
        return _from_jacobians(spec, matrices.values, matrices.sha256)
    wanted: dict[str, Any] = {key: spec[key] for key in ("param", "layer", "stack")}
    layers = select_layers(weights, **wanted, direction=spec["direction"])
    if len(layers) > 1 and spec["direction"] is not None:
        # Every layer of a bidirectional stack reads both directions below: all run, one direction is measured.
        layers = select_layers(weights, **wanted)
    return source_of_layers(spec, layers, weights, dtype)


def _seq2seq_from_weights(spec: SourceSpec, dtype: Any) -> Source:
    """An encoder–decoder from one file: the modules, head and embedding that the keys name."""
    for key in ("param", "layer", "direction", "stack"):
        if spec[key] is not None:
            raise UsageError(f"{key}= has no meaning with cell=seq2seq: encoder= and decoder= name the modules.")
    weights = weights_of(spec, **_said_of_cells(spec))
    parts = {part: one_layer(spec, select_layers(weights, param=spec[part]), part) for part in ("encoder", "decoder")}
    edits = Edits.of(spec.given)
    encoder, decoder = edits.apply(tuple(parts.values()), direction=None, file=spec.name)
    cells = [cell_of_layer(layer, dtype, spec.given) for layer in (encoder, decoder)]
    model, warnings = read_seq2seq(spec, weights, cells[0], cells[1], dtype)
    names = [recurrent_parameter(layer) for layer in parts.values()]
    source = source_of_seq2seq(spec, model, edits.sha256(weights.sha256), (names[0], names[1]))
    assumed = assumptions_of(spec, tuple(parts.values()))
    if any(layer.initial_state is not None for layer in parts.values()):
        warnings = (*warnings, "the file's own start state is left out: the encoder starts from zeros, or from --state")
    return replace(source, warnings=(*assumed, *warnings), arrays=weights.other_arrays, edits=edits.record)


def source_of_layers(spec: SourceSpec, layers: tuple[LayerWeights, ...], weights: WeightFile, dtype: Any) -> Source:
    """A network from one module's layers: a single layer, a stack, or a bidirectional pair of each."""
    edits = Edits.of(spec.given)
    layers = edits.apply(layers, direction=spec["direction"], file=spec.name)
    cells = [cell_of_layer(layer, dtype, spec.given) for layer in layers]
    first = layers[0]
    n_layers = len({layer.layer for layer in layers})
    state_size = sum(cell.state_size for cell in cells) // (2 if len(cells) > n_layers else 1)
    record = record_of(spec, first.cell, first.units, n_layers, state_size, (), edits.sha256(weights.sha256))
    record["module"] = first.module
    blocks: list[RecurrentBlock] = []
    for layer, cell in zip(layers, cells, strict=True):
        if spec["direction"] in (None, layer.direction):
            blocks += blocks_of(cell, recurrent_parameter(layer))
    warnings = assumptions_of(spec, layers)
    shared: dict[str, Any] = {"blocks": tuple(blocks), "warnings": warnings, "edits": edits.record}
    shared["arrays"] = weights.other_arrays
    shared["biases"] = sum(bias is not None for bias in (first.bias_ih, first.bias_hh))
    shared["file_head"] = _file_head(spec, layers, weights)
    if any(layer.initial_state is not None for layer in layers):
        shared["starts"] = tuple(
            np.zeros(cell.state_size) if layer.initial_state is None else layer.initial_state
            for layer, cell in zip(layers, cells, strict=True)
        )
    directions = {layer.direction for layer in layers}
    if spec["layer"] is not None:
        record["layer"] = spec["layer"]
    if len(directions) == 2:
        groups: dict[int, list[Cell]] = {}
        for layer, cell in zip(layers, cells, strict=True):
            groups.setdefault(layer.layer, []).append(cell)
        pairs = tuple(tuple(groups[number]) for number in sorted(groups))
        return BidirectionalSource(spec, record, directions=pairs, **shared)
    if directions == {"backward"}:
        record["direction"] = "backward"
        if n_layers > 1:
            raise InputError(
                f"{spec.name}: {n_layers} backward layers without the forward ones that feed them.\n"
                f"Pick one with layer=N."
            )
        return NetworkSource(spec, record, network=Layer(cells[0]), backward=True, **shared)
    if spec["direction"] is not None:
        record["direction"] = spec["direction"]
    _check_chain(spec, layers)
    return NetworkSource(spec, record, network=stack_of(tuple(cells)), **shared)


def _file_head(spec: SourceSpec, layers: tuple[LayerWeights, ...], weights: WeightFile) -> FileHead:
    """The file's readout and embedding, for the layers that were picked; a lower layer alone has no readout."""
    module = [layer for layer in weights.layers if layer.module == layers[-1].module]
    top = max(layer.layer for layer in layers)
    width = sum(layer.hidden_size for layer in layers if layer.layer == top)
    is_top = spec["layer"] is None or top == max(layer.layer for layer in module)
    return find_head(
        weights.other_arrays,
        output_width=width if is_top else 0,
        input_width=layers[0].input_size,
        container=weights.format,
        head=spec["head"],
        embedding=spec["embedding"],
        file=spec.name,
    )


def assumptions_of(spec: SourceSpec, layers: tuple[LayerWeights, ...]) -> tuple[str, ...]:
    """Each convention that was assumed once, with the key that settles it."""
    said = [sentence for layer in layers for sentence in layer.assumptions]
    for layer in layers:
        for name, key in _said_by_the_user(layer).items():
            if name not in spec.given:
                said.append(f"{name}={key.default} was assumed, as no file says it: {name}= settles it")
    return tuple(dict.fromkeys(said))


def _said_by_the_user(layer: LayerWeights) -> dict[str, Key]:
    """The cell's own keys that the file's reader has not settled."""
    keys = ALL_CELLS[layer.cell].own_keys.items()
    return {name: key for name, key in keys if key.in_files and getattr(layer, name, None) is None}


def cell_of_layer(layer: LayerWeights, dtype: Any, given: Mapping[str, Any] = MappingProxyType({})) -> Cell:
    """A cell from a layer as a file holds it, and what the user says of it (``given`` keys).

    Raises
    ------
    UsageError
        A key of another cell.
    """
    of_cell = ALL_CELLS[layer.cell].own_keys
    others = {name for name, key in keys_of_cells().items() if key.in_files}
    for name in given:
        if name not in of_cell and name in others:
            owners = " or ".join(cell for cell, kind in ALL_CELLS.items() if name in kind.own_keys)
            raise UsageError(f"{name}= is a key of {owners}, but the cell is {layer.cell}: leave {name}= out.")
    settings: dict[str, Any] = {
        "activation": find_activation(layer.activation),
        "gate_activation": find_activation(layer.gate_activation, gate=True),
    }
    if given.get("norm") == "layer":
        settings["norm"] = _norm_of(layer)
    if layer.reset is not None:
        settings["reset"] = layer.reset
    for name, key in _said_by_the_user(layer).items():
        settings[name] = given.get(name, key.default)
    if layer.leak is not None:
        if "leak" in given and given["leak"] != layer.leak:
            raise UsageError(f"leak={given['leak']} was asked for, but the file says {layer.leak}: leave leak= out.")
        settings["leak"] = layer.leak
    if layer.weight_hr is not None:
        settings["weight_hr"] = layer.weight_hr.astype(dtype)
    biases = [None if b is None else b.astype(dtype) for b in (layer.bias_ih, layer.bias_hh)]
    return ALL_CELLS[layer.cell].from_layer(
        layer.weight_ih.astype(dtype), layer.weight_hh.astype(dtype), biases[0], biases[1], **settings
    )


def _norm_of(layer: LayerWeights) -> str:
    """``layer``, for the cells that normalise.

    Raises
    ------
    UsageError
    """
    if "norm" not in ALL_CELLS[layer.cell].declared_keys():
        raise UsageError(f"norm=layer: the cell {layer.cell} has no layer norm here; leave norm= out.")
    return "layer"


def recurrent_parameter(layer: LayerWeights) -> str:
    """The file's own name for W_hh, or PyTorch's where the file's format has none that would be understood."""
    for name in layer.parameters:
        if ("hh" in name.rsplit(".", 1)[-1] and "weight" in name) or name.endswith("w_hh"):
            return name
    ending = "_reverse" if layer.direction == "backward" else ""
    prefix = f"{layer.module}." if layer.module else ""
    return f"{prefix}weight_hh_l{layer.layer}{ending}"


def _check_chain(spec: SourceSpec, layers: tuple[LayerWeights, ...]) -> None:
    """Each layer must read what the one below puts out; a forward half of a bidirectional stack does not."""
    for below, above in pairwise(layers):
        if above.input_size != below.hidden_size:
            raise InputError(
                f"{spec.name}: layer {above.layer} reads {above.input_size} inputs, layer {below.layer} puts out "
                f"{below.hidden_size}: they are no stack by themselves.\nPick one with layer=N."
            )
