"""Recurrent nodes of an ONNX model: RNN, GRU and LSTM, in the main graph or in any sub-graph.

Gate order: lstm i,o,f,c; gru z,r,h. W is (directions, G·H, I), R (directions, G·H, H), B (directions, 2·G·H), the
biases of W before those of R [1]_.

References
----------
.. [1] https://onnx.ai/onnx/operators/ (RNN, GRU, LSTM)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gradscope.errors import InputError, MissingExtraError, UsageError
from gradscope.jacobians.base import Array
from gradscope.sources.budget import Budget
from gradscope.sources.file_keys import FileKeys, settle
from gradscope.sources.layer_weights import Direction, LayerWeights
from gradscope.sources.onnx_activations import candidate_and_gate
from gradscope.sources.onnx_constants import (
    ConstantFolder,
    NotConstantError,
    Scope,
    tensor_shape,
    tensor_values,
)
from gradscope.sources.stored_tensor import StoredTensor, load_weights, shown

ONNX_GATES = {"RNN": ("u",), "GRU": ("z", "r", "h"), "LSTM": ("i", "o", "f", "c")}
_CELL = {"RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}
#: ONNX's blocks in gradscope's order (lstm i,f,g,o; gru r,z,n).
_TAKE = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
_DIRECTIONS: dict[str, tuple[Direction, ...]] = {
    "forward": ("forward",),
    "reverse": ("backward",),
    "bidirectional": ("forward", "backward"),
}
#: Operators that pass a sequence on unchanged between two layers of one stack.
_PASS_ON = {"Squeeze", "Unsqueeze", "Transpose", "Reshape", "Identity", "Dropout", "Cast"}
_MAX_DEPTH = 24
#: Comparing and listing nodes is quadratic in their number.
MAX_NODES = 256


@dataclass(frozen=True)
class OnnxNode:
    """One recurrent node and the scope it stands in."""

    module: str
    node: Any
    scope: Scope


@dataclass
class OnnxWeights:
    """What a model gave: layers, open questions, chains of nodes, and the initialisers that belong to none."""

    layers: list[LayerWeights] = field(default_factory=list)
    questions: dict[str, InputError | UsageError] = field(default_factory=dict)
    chains: tuple[tuple[str, ...], ...] = ()
    others: list[StoredTensor] = field(default_factory=list)


def onnx_weights(content: bytes, *, budget: Budget, keys: FileKeys) -> OnnxWeights:
    """Read every recurrent node of a serialised model; external data is never opened.

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
        raise MissingExtraError(f"{file}: reading ONNX models needs onnx: pip install 'gradscope-rnn[onnx]'") from error
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError, RecursionError) as error:
        raise InputError(
            f"{file}: should be an ONNX model, but it cannot be parsed; damaged or another format"
        ) from error
    if not model.HasField("graph") or not (model.graph.node or model.graph.initializer):
        raise InputError(f"{file}: should be an ONNX model, but it has no graph; damaged or another format")
    found, folder = OnnxWeights(), ConstantFolder(len(content), file=file)
    nodes: list[OnnxNode] = []
    graphs: list[Any] = []
    _walk(model.graph, None, nodes, graphs, set(), file)
    if len(nodes) > MAX_NODES:
        raise InputError(
            f"{file}: has {len(nodes)} recurrent nodes, and {MAX_NODES} is the most that are read; split it"
        )
    for one in nodes:
        try:
            layers = _node_layers(one, folder, file=file, keys=keys)
        except (InputError, UsageError) as question:
            found.questions[one.module] = question
            continue
        elsewhere = {other.module for other in nodes if other.scope is not one.scope}
        if not _is_known(layers, [layer for layer in found.layers if layer.module in elsewhere]):
            found.layers += layers
    if not found.layers and not found.questions:
        raise InputError(f"{file}: has no RNN, GRU or LSTM node ({_operators(graphs)}); there is nothing to analyse")
    kept = {layer.module for layer in found.layers}
    found.chains = _chains([one for one in nodes if one.module in kept], found.layers)
    found.layers.sort(key=lambda layer: (layer.module, layer.direction != "forward"))
    for graph in graphs:
        found.others += [_stored(tensor, file=file) for tensor in graph.initializer if tensor.name not in folder.used]
    return found


def _walk(
    graph: Any,
    outer: Scope | None,
    nodes: list[OnnxNode],
    graphs: list[Any],
    names: set[str],
    file: str,
    depth: int = 0,
) -> None:
    """Collect recurrent nodes, sub-graphs (If, Loop, Scan) included."""
    _check_text((tensor.name for tensor in graph.initializer), file)
    scope = Scope.of(graph, outer)
    graphs.append(graph)
    for node in graph.node:
        _check_text((node.op_type, node.name, node.domain, *node.input, *node.output), file)
        if node.op_type in ONNX_GATES or any(word in node.op_type for word in ("LSTM", "GRU")):
            title = node.name.strip("/") or next((name for name in node.output if name), node.op_type).strip("/")
            while title in names:
                title += "'"
            names.add(title)
            nodes.append(OnnxNode(title, node, scope))
        _check_text((attribute.name for attribute in node.attribute), file)
        for attribute in node.attribute:
            if depth < _MAX_DEPTH:
                for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    _walk(inner, scope, nodes, graphs, names, file, depth + 1)


def _check_text(names: Iterable[object], file: str) -> None:
    """Refuse names that are no text: protobuf hands invalid UTF-8 out as bytes."""
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: has names that are no text (UTF-8); the file is damaged")


def _operators(graphs: list[Any]) -> str:
    kinds = sorted({str(node.op_type) for graph in graphs for node in graph.node})
    return f"its operators: {', '.join(kinds[:8])}{', …' if len(kinds) > 8 else ''}"


def _stored(tensor: Any, *, file: str) -> StoredTensor:
    dtypes = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
    dtype = "external" if tensor.data_location == 1 else dtypes.get(tensor.data_type, f"onnx type {tensor.data_type}")
    return StoredTensor(tensor.name, tensor_shape(tensor), dtype, lambda: tensor_values(tensor, file=file))


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
    node, where = one.node, f"{file}: node {one.module}: "
    if node.op_type not in ONNX_GATES or node.domain not in ("", "ai.onnx"):
        raise InputError(
            f"{where}its operator is {node.domain or 'ai.onnx'}.{node.op_type}, and only RNN, GRU and LSTM of standard "
            "ONNX can be read; export without that extension"
        )
    attributes = {attribute.name: attribute for attribute in node.attribute}
    inputs = [*node.input, *[""] * 8]
    _refuse_extras(attributes, inputs[7], one, folder, where)
    side = attributes["direction"].s.decode("utf-8", "replace") if "direction" in attributes else "forward"
    if side.lower() not in _DIRECTIONS:
        raise InputError(f"{where}its direction is '{side[:40]}', not forward, reverse or bidirectional; damaged")
    directions = _DIRECTIONS[side.lower()]
    cell, _ = settle("cell", keys.cell, _CELL[node.op_type], "", where=where)
    keys.check_applies(cell, where=where)
    W, R, B = (_constant(inputs[i], role, one, folder, where, file) for i, role in ((1, "W"), (2, "R"), (3, "B")))
    hidden = _check_shapes(W, R, B, len(directions), attributes, node.op_type, where)
    activations = candidate_and_gate(attributes, node.op_type, len(directions), keys=keys, where=where)
    reset: Literal["after", "before"] | None = None
    if cell == "gru":
        after = "linear_before_reset" in attributes and attributes["linear_before_reset"].i != 0
        reset = (
            "after"
            if settle("reset", keys.reset, "after" if after else "before", "", where=where)[0] == "after"
            else "before"
        )
    facts = dict.fromkeys(("cell", "gates", "layout", "activation"), "file")
    if cell != "rnn":
        facts["gate_activation"] = "file"
    if cell == "gru":
        facts["reset"] = "file"
    take = [gate * hidden + np.arange(hidden) for gate in _TAKE[node.op_type]]
    rows = np.concatenate(take)
    n = len(rows)
    assert W is not None
    assert R is not None
    return [
        LayerWeights(
            module=one.module,
            cell=cell,
            layer=0,
            direction=direction,
            weight_ih=W.values[d][rows],
            weight_hh=R.values[d][rows],
            bias_ih=None if B is None else B.values[d, :n][rows],
            bias_hh=None if B is None else B.values[d, n:][rows],
            activation=activations[d][0],
            gate_activation=activations[d][1],
            reset=reset,
            dtype=R.dtype,
            gates_in_file=ONNX_GATES[node.op_type],
            parameters=tuple(name for name in inputs[1:4] if name),
            facts_from=dict(facts),
        )
        for d, direction in enumerate(directions)
    ]


def _refuse_extras(
    attributes: dict[str, Any], peepholes: str, one: OnnxNode, folder: ConstantFolder, where: str
) -> None:
    """Refuse by name what no cell here has."""
    if "clip" in attributes:
        raise InputError(f"{where}it clips its pre-activations (clip), which no cell here does; export without it")
    if "input_forget" in attributes and attributes["input_forget"].i:
        raise InputError(f"{where}it couples input and forget gate (input_forget), which no cell here does")
    if peepholes:
        try:
            used = bool(np.any(folder.value(peepholes, one.scope)))
        except NotConstantError:
            used = True
        if used:
            raise InputError(
                f"{where}it has peephole weights (P), which no cell here has; train or export without them"
            )


@dataclass(frozen=True)
class _Folded:
    values: Array
    dtype: str


def _constant(name: str, role: str, one: OnnxNode, folder: ConstantFolder, where: str, file: str) -> _Folded | None:
    """W, R or B as float64; None if a bias is left out."""
    if not name:
        if role == "B":
            return None
        raise InputError(f"{where}it has no {role}; the file is damaged")
    try:
        value = folder.value(name, one.scope)
    except NotConstantError as reason:
        raise InputError(
            f"{where}its {role} is no constant: {reason}; simplify the model first (onnxsim), or export its "
            "weights as .npz"
        ) from reason
    folder.charge(value.size)  # for the copy: many nodes may share one constant
    loaded = load_weights(StoredTensor(name, value.shape, value.dtype.name, lambda: value), file=file)
    return _Folded(loaded, value.dtype.name)


def _check_shapes(
    W: _Folded | None,
    R: _Folded | None,
    B: _Folded | None,
    n_directions: int,
    attributes: dict[str, Any],
    kind: str,
    where: str,
) -> int:
    """Hidden size, from shapes that fit together."""
    assert W is not None
    assert R is not None
    w, r = W.values.shape, R.values.shape
    blocks = len(ONNX_GATES[kind])
    hidden = r[2] if len(r) == 3 else 0
    if hidden < 1 or r != (n_directions, blocks * hidden, hidden):
        raise InputError(
            f"{where}its R should have shape ({n_directions}, {blocks}·H, H), but it has {shown(r)}; damaged"
        )
    if len(w) != 3 or w[:2] != r[:2] or w[2] < 1:
        raise InputError(f"{where}its W should have shape ({r[0]}, {r[1]}, I), but it has {shown(w)}; damaged")
    if B is not None and B.values.shape != (n_directions, 2 * r[1]):
        raise InputError(
            f"{where}its B should have shape {(n_directions, 2 * r[1])}, but it has {shown(B.values.shape)}"
        )
    if "hidden_size" in attributes and attributes["hidden_size"].i != hidden:
        raise InputError(
            f"{where}hidden_size is {attributes['hidden_size'].i}, but its R has {hidden} columns; damaged"
        )
    return hidden


def _chains(nodes: list[OnnxNode], layers: list[LayerWeights]) -> tuple[tuple[str, ...], ...]:
    """Nodes that feed one another with nothing in between but changes of shape: the layers of one stack."""
    made_by = {(id(one.scope), one.node.output[0]): one for one in nodes if one.node.output}
    below: dict[str, str] = {}
    for one in nodes:
        name, steps = one.node.input[0] if one.node.input else "", 0
        while steps < _MAX_DEPTH and (id(one.scope), name) not in made_by:
            producer = one.scope.producers.get(name)
            if producer is None or producer.op_type not in _PASS_ON or not producer.input:
                break
            name, steps = producer.input[0], steps + 1
        source = made_by.get((id(one.scope), name))
        if source is not None and _fit(source.module, one.module, layers):
            below[one.module] = source.module
    feeds = list(below.values())
    chains: list[tuple[str, ...]] = []
    for top in (module for module in below if module not in feeds):
        chain = [top]
        while chain[0] in below and feeds.count(below[chain[0]]) == 1 and below[chain[0]] not in chain:
            chain.insert(0, below[chain[0]])
        if len(chain) > 1:
            chains.append(tuple(chain))
    return tuple(chains)


def _fit(below: str, above: str, layers: list[LayerWeights]) -> bool:
    """One cell, the same directions, and as many inputs as the layer below puts out."""
    low, high = ([layer for layer in layers if layer.module == module] for module in (below, above))
    return (
        [(layer.cell, layer.direction) for layer in low] == [(layer.cell, layer.direction) for layer in high]
        and not (len(low) == 1 and low[0].direction == "backward")
        and all(layer.input_size == sum(part.hidden_size for part in low) for layer in high)
    )
