"""The nodes of an ONNX model that recur, with the scope each stands in: graphs, sub-graphs, model-local functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import MAX_NAME, Budget

#: Recurrent operators, and the one of onnxruntime that keeps an lstm's weights in 8 bits.
RECURRENT = ("RNN", "GRU", "LSTM", "DynamicQuantizeLSTM")
STANDARD = ("", "ai.onnx")
#: Comparing and listing nodes is quadratic in their number.
MAX_NODES = 256
_MAX_DEPTH = 24
#: Nodes gone through in all, calls of functions counted as often as they are made.
_MAX_VISITS = 200_000
_MAX_TENSORS = 50_000


@dataclass
class Scope:
    """One graph's (or one function call's) names, and the graph around it.

    Attributes
    ----------
    initializers, producers : dict
        Tensors and nodes by the name they define.
    outer : Scope or None
        Where names that are not defined here are looked up (sub-graphs).
    aliases : dict
        A function's inputs: the name and scope that the call gives for each.
    arguments : dict
        A function call's attributes, for the nodes inside that refer to them.
    shapes : dict
        Declared shapes by name, None for an axis that is not fixed.
    calls : dict
        For the nodes (by id) that call a function: its scope and the names of its outputs.
    """

    initializers: dict[str, Any]
    producers: dict[str, Any]
    outer: Scope | None = None
    aliases: dict[str, tuple[Scope, str]] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    calls: dict[int, tuple[Scope, tuple[str, ...]]] = field(default_factory=dict)
    cache: dict[str, Array] = field(default_factory=dict)

    def resolve(self, name: str) -> tuple[Scope, str]:
        """Where a name is defined, and its name there; an input of the model resolves to the outermost graph."""
        scope: Scope = self
        for _ in range(4 * _MAX_DEPTH):
            if name in scope.initializers:
                return scope, name
            node = scope.producers.get(name)
            if node is not None and id(node) in scope.calls:
                inner, outputs = scope.calls[id(node)]
                index = list(node.output).index(name)
                if index >= len(outputs):
                    return scope, name
                scope, name = inner, outputs[index]
            elif node is not None:
                return scope, name
            elif name in scope.aliases:
                scope, name = scope.aliases[name]
            elif scope.outer is not None:
                scope = scope.outer
            else:
                return scope, name
        return scope, name

    def producer(self, name: str) -> Any | None:
        """The node that makes a (resolved) name, or None."""
        return None if name in self.initializers else self.producers.get(name)

    def attributes(self, node: Any) -> dict[str, Any]:
        """A node's attributes by name, those a function takes from its call put in."""
        out: dict[str, Any] = {}
        for attribute in node.attribute:
            if not attribute.ref_attr_name:
                out[attribute.name] = attribute
            elif attribute.ref_attr_name in self.arguments:
                out[attribute.name] = self.arguments[attribute.ref_attr_name]
        return out


@dataclass(frozen=True)
class OnnxNode:
    """One recurrent node and the scope it stands in."""

    module: str
    node: Any
    scope: Scope

    @property
    def kind(self) -> str:
        """``RNN``, ``GRU`` or ``LSTM``; another operator's own name."""
        return "LSTM" if self.node.op_type == "DynamicQuantizeLSTM" else str(self.node.op_type)


class Walk:
    """Goes through a model once and collects its recurrent nodes and its graphs.

    Raises
    ------
    InputError
        If names are no text or too long, or there are more recurrent nodes than are read.
    """

    def __init__(self, model: Any, budget: Budget) -> None:
        self._budget, self._visits, self._tensors = budget, 0, 0
        self.nodes: list[OnnxNode] = []
        self.graphs: list[Any] = []
        self._titles: set[str] = set()
        self._functions = {(function.domain, function.name): function for function in model.functions}
        self._recur = self._recurring(model.functions)
        self.root = self._graph(model.graph, None, 0)

    def _recurring(self, functions: Iterable[Any]) -> set[tuple[str, str]]:
        """Functions with a recurrent node inside, or that call one: no other needs to be looked into."""
        calls: dict[tuple[str, str], set[tuple[str, str]]] = {}
        found: set[tuple[str, str]] = set()
        for function in functions:
            key = (function.domain, function.name)
            for node in function.node:
                self._visit(node)
                calls.setdefault((node.domain, node.op_type), set()).add(key)
                if is_recurrent(node) or any(a.HasField("g") for a in node.attribute):
                    found.add(key)
        pending = list(found)
        while pending:
            for caller in calls.get(pending.pop(), ()):
                if caller not in found:
                    found.add(caller)
                    pending.append(caller)
        return found

    def _visit(self, node: Any) -> None:
        self._visits += 1
        self._budget.count(self._visits, _MAX_VISITS, "operators")
        self._check((node.op_type, node.name, node.domain, *node.input, *node.output))
        self._check(attribute.name for attribute in node.attribute)

    def _check(self, names: Iterable[object]) -> None:
        """Refuse names that are no text (protobuf hands invalid UTF-8 out as bytes) or too long."""
        for name in names:
            if not isinstance(name, str):
                raise InputError(f"{self._budget.file}: has names that are no text (UTF-8); the file is damaged")
            if len(name) > MAX_NAME:
                self._budget.length(len(name))

    def _graph(self, graph: Any, outer: Scope | None, depth: int) -> Scope:
        self._tensors += len(graph.initializer)
        self._budget.count(self._tensors, _MAX_TENSORS, "tensors")
        self._check(tensor.name for tensor in graph.initializer)
        producers = {name: node for node in graph.node for name in node.output if name}
        scope = Scope({tensor.name: tensor for tensor in graph.initializer}, producers, outer)
        for info in (*graph.input, *graph.output, *graph.value_info):
            shape = info.type.tensor_type.shape
            if info.type.tensor_type.HasField("shape") and len(shape.dim) <= 8:
                scope.shapes[info.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in shape.dim)
        if outer is not None:
            scope.arguments = outer.arguments
        self.graphs.append(graph)
        self._nodes(graph.node, scope, "", depth)
        return scope

    def _nodes(self, nodes: Iterable[Any], scope: Scope, prefix: str, depth: int) -> None:
        for node in nodes:
            self._visit(node)
            if is_recurrent(node):
                self._add(node, scope, prefix)
            if depth >= _MAX_DEPTH:
                continue
            key = (node.domain, node.op_type)
            if key in self._recur:
                self._call(node, self._functions[key], scope, prefix, depth)
            for attribute in node.attribute:
                for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    self._graph(inner, scope, depth + 1)

    def _call(self, node: Any, function: Any, outer: Scope, prefix: str, depth: int) -> None:
        """Look into a call of a model-local function, its inputs and attributes bound to what the call gives."""
        scope = Scope({}, {name: inner for inner in function.node for name in inner.output if name})
        scope.aliases = {
            formal: (outer, actual) for formal, actual in zip(function.input, node.input, strict=False) if actual
        }
        scope.arguments = {a.name: a for a in function.attribute_proto} | outer.attributes(node)
        outer.calls[id(node)] = (scope, tuple(function.output))
        self._nodes(function.node, scope, f"{prefix}{node.name.strip('/') or node.op_type}/"[-MAX_NAME:], depth + 1)

    def _add(self, node: Any, scope: Scope, prefix: str) -> None:
        self._budget.count(len(self.nodes) + 1, MAX_NODES, "recurrent nodes")
        own = node.name.strip("/") or next((name for name in node.output if name), node.op_type).strip("/")
        title = prefix + own
        while title in self._titles:
            title += "'"
        self._titles.add(title)
        self.nodes.append(OnnxNode(title, node, scope))


def is_recurrent(node: Any) -> bool:
    """Tell whether an operator is a recurrence, of standard ONNX or of an extension."""
    return node.op_type in RECURRENT or any(word in node.op_type for word in ("LSTM", "GRU"))
