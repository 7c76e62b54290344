"""Recurrent nodes of an ONNX model: RNN, GRU and LSTM, in the main graph or in any sub-graph.

Gate order: lstm i,o,f,c; gru z,r,h. W is (directions, G·H, I), R (directions, G·H, H), B (directions, 2·G·H), the
biases of W before those of R [1]_.

References
----------
.. [1] https://onnx.ai/onnx/operators/ (RNN, GRU, LSTM)
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gradscope.errors import InputError, MissingExtraError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import Budget
from gradscope.sources.file_keys import FileKeys, settle
from gradscope.sources.layer_weights import Direction, LayerWeights, WeightFile, readout_widths
from gradscope.sources.onnx_activations import candidate_and_gate
from gradscope.sources.onnx_axes import chains_of
from gradscope.sources.onnx_constants import ConstantFolder, NotConstantError, tensor_shape
from gradscope.sources.onnx_dense import dense_layers
from gradscope.sources.onnx_external import ExternalData
from gradscope.sources.onnx_graph import STANDARD, OnnxNode, Walk
from gradscope.sources.onnx_states import start_of
from gradscope.sources.stored_tensor import StoredTensor, check_total, keep_beside, load_weights, shown

ONNX_GATES = {"RNN": ("u",), "GRU": ("z", "r", "h"), "LSTM": ("i", "o", "f", "c")}
_CELL = {"RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}
#: ONNX's blocks in gradscope's order (lstm i,f,g,o; gru r,z,n).
_TAKE = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
_DIRECTIONS: dict[str, tuple[Direction, ...]] = {
    "forward": ("forward",),
    "reverse": ("backward",),
    "bidirectional": ("forward", "backward"),
}
_ROUNDED = (
    "{}: its weights are kept in 8 bits and read as the model uses them, but it also rounds its inputs and states to "
    "8 bits at every step, which is not done here"
)


def onnx_weights(content: bytes, *, budget: Budget, keys: FileKeys, folder: Path | None = None) -> WeightFile:
    """Read every recurrent node of a serialised model, with what it keeps in a data file in the same folder.

    Parameters
    ----------
    folder : Path, optional
        The model's own; without it no second file is opened.

    Raises
    ------
    InputError
        If the bytes are no ONNX model, or it has no recurrent node.
    MissingExtraError
        If onnx is not installed.
    """
    file = budget.file
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(f"{file}: reading ONNX models needs onnx: pip install onnx") from error
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError, RecursionError) as error:
        raise InputError(
            f"{file}: should be an ONNX model, but it cannot be parsed; damaged or another format"
        ) from error
    if not model.HasField("graph") or not (model.graph.node or model.graph.initializer):
        raise InputError(f"{file}: should be an ONNX model, but it has no graph; damaged or another format")
    with closing(ExternalData(folder, file=file)) as external:
        found = _weights_of(model, ConstantFolder(len(content), external, file=file), budget, keys)
        return replace(found, sha256=external.sha256(hashlib.sha256(content).hexdigest()) or "")


def _weights_of(model: Any, folder: ConstantFolder, budget: Budget, keys: FileKeys) -> WeightFile:
    """Read the nodes of a parsed model, and the small tensors that belong to none; its hash is not taken yet."""
    file, walk = budget.file, Walk(model, budget)
    found: list[LayerWeights] = []
    questions: dict[str, InputError | UsageError] = {}
    for one in walk.nodes:
        try:
            layers = _node_layers(one, folder, file=file, keys=keys)
        except (InputError, UsageError) as question:
            questions[one.module] = question
            continue
        elsewhere = {other.module for other in walk.nodes if other.scope is not one.scope}
        if not _is_known(layers, [layer for layer in found if layer.module in elsewhere]):
            found += layers
    if not found and not questions:
        raise InputError(
            f"{file}: has no RNN, GRU or LSTM node ({_operators(walk.graphs)}){_decomposed(model)}; there is nothing "
            "to analyse"
        )
    kept = {layer.module for layer in found}
    chains = chains_of([one for one in walk.nodes if one.module in kept], found, folder)
    found.sort(key=lambda layer: (layer.module, layer.direction != "forward"))
    rest = [tensor for graph in walk.graphs for tensor in graph.initializer if tensor.name not in folder.used]
    stored = [_stored(tensor, folder, file=file) for tensor in rest]
    check_total((one for one, t in zip(stored, rest, strict=True) if t.data_location != 1), budget)
    # Small heads and embeddings are read while the second file is open.
    beside = dense_layers(walk.graphs, keep_beside(stored, readout_widths(found)))
    skipped = tuple(tensor.name for tensor in rest)
    return WeightFile(file, "onnx", "", tuple(found), beside, skipped, questions, chains)


def _decomposed(model: Any) -> str:
    """Say what an exporter may have made of the layer, if the model looks like it."""
    kinds = Counter(str(node.op_type) for node in model.graph.node)
    if kinds["Sigmoid"] >= 3 and kinds["Tanh"] >= 1:
        return (
            "; its gates may stand in it as single operators (a cell, or an unrolled layer): give the model's .pt, or "
            "export a layer with torch.onnx.export(..., dynamo=False)"
        )
    return ""


def _operators(graphs: list[Any]) -> str:
    kinds = sorted({str(node.op_type) for graph in graphs for node in graph.node})
    return f"its operators: {', '.join(kinds[:8])}{', …' if len(kinds) > 8 else ''}"


def _stored(tensor: Any, folder: ConstantFolder, *, file: str) -> StoredTensor:
    """A tensor that no recurrent node uses; of another file only where it can be read."""
    dtypes = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
    dtype = dtypes.get(tensor.data_type, f"onnx type {tensor.data_type}")
    if tensor.data_location == 1 and not folder.external.has(tensor):
        dtype = "external"
    shape = tensor_shape(tensor, file=file)
    return StoredTensor(tensor.name, shape, dtype, lambda: folder.tensor(tensor))


def _is_known(layers: list[LayerWeights], before: list[LayerWeights]) -> bool:
    """Tell whether the same weights were read already: both branches of an If often hold the same layer."""
    return any(
        all(
            (one.cell, one.direction, one.activation, one.gate_activation, one.reset)
            == (other.cell, other.direction, other.activation, other.gate_activation, other.reset)
            and np.array_equal(one.weight_ih, other.weight_ih)
            and np.array_equal(one.weight_hh, other.weight_hh)
            and _same(one.bias_ih, other.bias_ih)
            and _same(one.bias_hh, other.bias_hh)
            for one, other in zip(layers, group, strict=True)
        )
        for module in {layer.module for layer in before}
        if len(group := [layer for layer in before if layer.module == module]) == len(layers)
    )


def _same(one: Array | None, other: Array | None) -> bool:
    return one is other if one is None or other is None else bool(np.array_equal(one, other))


def _node_layers(one: OnnxNode, folder: ConstantFolder, *, file: str, keys: FileKeys) -> list[LayerWeights]:
    """Read one node's directions."""
    node, kind, where = one.node, one.kind, f"{file}: node {one.module}: "
    quantised = node.op_type == "DynamicQuantizeLSTM"
    if kind not in ONNX_GATES or (node.domain not in STANDARD and not quantised):
        raise InputError(
            f"{where}its operator is {node.domain or 'ai.onnx'}.{node.op_type}, and only RNN, GRU and LSTM of standard "
            "ONNX can be read; export without that extension"
        )
    attributes = one.scope.attributes(node)
    inputs = [*node.input, *[""] * 12]
    _refuse_extras(attributes, inputs[7], one, folder, where, keys)
    side = attributes["direction"].s.decode("utf-8", "replace") if "direction" in attributes else "forward"
    if side.lower() not in _DIRECTIONS:
        raise InputError(f"{where}its direction is '{side[:40]}', not forward, reverse or bidirectional; damaged")
    directions = _DIRECTIONS[side.lower()]
    cell, _ = settle("cell", keys.cell, _CELL[kind], "", where=where)
    keys.check_applies(cell, where=where)
    if quantised:
        (W, _), (R, dtype) = (
            _dequantised(inputs, i, scale, one, folder, where, file) for i, scale in ((1, 8), (2, 10))
        )
    else:
        (W, _), (R, dtype) = (_constant(inputs[i], role, one, folder, where, file) for i, role in ((1, "W"), (2, "R")))
    B = _constant(inputs[3], "B", one, folder, where, file)[0] if inputs[3] else None
    hidden = _check_shapes(W, R, B, len(directions), attributes, kind, where)
    activations = candidate_and_gate(attributes, kind, len(directions), keys=keys, where=where)
    reset: Literal["after", "before"] | None = None
    if cell == "gru":
        after = "linear_before_reset" in attributes and attributes["linear_before_reset"].i != 0
        stated = "after" if after else "before"
        reset = "after" if settle("reset", keys.reset, stated, "", where=where)[0] == "after" else "before"
    facts = dict.fromkeys(("cell", "gates", "layout", "activation"), "file")
    if cell != "rnn":
        facts["gate_activation"] = "file"
    if cell == "gru":
        facts["reset"] = "file"
    start = start_of(one, folder, len(directions), hidden, where)
    remarks = (*start.remarks, *((_ROUNDED.format(one.module),) if quantised else ()))
    if inputs[7] and keys.ignores(inputs[7]):
        remarks = (*remarks, f"{one.module}: its peephole weights '{inputs[7]}' are left out, as ignore= says")
    take = [gate * hidden + np.arange(hidden) for gate in _TAKE[kind]]
    rows = np.concatenate(take)
    n = len(rows)
    return [
        LayerWeights(
            module=one.module,
            cell=cell,
            layer=0,
            direction=direction,
            weight_ih=W[d][rows],
            weight_hh=R[d][rows],
            bias_ih=None if B is None else B[d, :n][rows],
            bias_hh=None if B is None else B[d, n:][rows],
            activation=activations[d][0],
            gate_activation=activations[d][1],
            reset=reset,
            dtype=dtype,
            gates_in_file=ONNX_GATES[kind],
            parameters=tuple(name for name in inputs[1:4] if name),
            facts_from=dict(facts),
            assumptions=remarks,
            initial_state=start.states[d],
        )
        for d, direction in enumerate(directions)
    ]


def _dequantised(
    inputs: list[str], index: int, scale: int, one: OnnxNode, folder: ConstantFolder, where: str, file: str
) -> tuple[Array, str]:
    """W or R of onnxruntime's 8-bit lstm, (directions, inputs, 4·H): (w - zero point) * scale, transposed."""
    role = "WR"[index - 1]
    values, by, zero = (_constant_values(inputs[i], role, one, folder, where) for i in (index, scale, scale + 1))
    if values.ndim != 3 or by.shape not in ((values.shape[0],), (values.shape[0], values.shape[2])):
        raise InputError(
            f"{where}its {role} and its scale do not fit ({shown(values.shape)}, {shown(by.shape)}); damaged"
        )
    if zero.shape not in ((), by.shape):
        raise InputError(f"{where}the zero point of its {role} has shape {shown(zero.shape)}; damaged")
    factor, shift = (a.astype(np.float64).reshape(values.shape[0], 1, -1) if a.ndim else a for a in (by, zero))
    folder.charge(2 * values.size)
    whole = ((values.astype(np.float64) - shift) * factor).transpose(0, 2, 1)
    stored = StoredTensor(inputs[index], whole.shape, "float64", lambda: np.ascontiguousarray(whole))
    return load_weights(stored, file=file), values.dtype.name


def _refuse_extras(
    attributes: dict[str, Any], peepholes: str, one: OnnxNode, folder: ConstantFolder, where: str, keys: FileKeys
) -> None:
    """Refuse by name what no cell here has."""
    if "clip" in attributes:
        raise InputError(f"{where}it clips its pre-activations (clip), which no cell here does; export without it")
    if "input_forget" in attributes and attributes["input_forget"].i:
        raise InputError(f"{where}it couples input and forget gate (input_forget), which no cell here does")
    if peepholes and not keys.ignores(peepholes):
        try:
            used = bool(np.any(folder.value(peepholes, one.scope)))
        except NotConstantError:
            used = True
        if used:
            raise InputError(
                f"{where}it has peephole weights ('{peepholes}'), which no cell here has; train or export without "
                f"them, or go on without them with ignore={peepholes}"
            )


def _constant(name: str, role: str, one: OnnxNode, folder: ConstantFolder, where: str, file: str) -> tuple[Array, str]:
    """W, R or B as float64, and its dtype in the file."""
    value = _constant_values(name, role, one, folder, where)
    folder.charge(value.size)  # for the copy: many nodes may share one constant
    stored = StoredTensor(name, value.shape, value.dtype.name, lambda: value)
    return load_weights(stored, file=file), value.dtype.name


def _constant_values(name: str, role: str, one: OnnxNode, folder: ConstantFolder, where: str) -> Array:
    """The constant that a node's input stands for."""
    if not name:
        raise InputError(f"{where}it has no {role}; the file is damaged")
    try:
        return folder.value(name, one.scope)
    except NotConstantError as reason:
        raise InputError(
            f"{where}its {role} is no constant: {reason}; simplify the model first (onnxsim), or export its "
            "weights as .npz"
        ) from reason


def _check_shapes(
    W: Array, R: Array, B: Array | None, n_directions: int, attributes: dict[str, Any], kind: str, where: str
) -> int:
    """Hidden size, from shapes that fit together."""
    w, r = W.shape, R.shape
    blocks = len(ONNX_GATES[kind])
    hidden = r[2] if len(r) == 3 else 0
    if hidden < 1 or r != (n_directions, blocks * hidden, hidden):
        raise InputError(
            f"{where}its R should have shape ({n_directions}, {blocks}·H, H), but it has {shown(r)}; damaged"
        )
    if len(w) != 3 or w[:2] != r[:2] or w[2] < 1:
        raise InputError(f"{where}its W should have shape ({r[0]}, {r[1]}, I), but it has {shown(w)}; damaged")
    if B is not None and B.shape != (n_directions, 2 * r[1]):
        raise InputError(f"{where}its B should have shape {(n_directions, 2 * r[1])}, but it has {shown(B.shape)}")
    if "hidden_size" in attributes and attributes["hidden_size"].i != hidden:
        raise InputError(
            f"{where}hidden_size is {attributes['hidden_size'].i}, but its R has {hidden} columns; damaged"
        )
    return hidden
