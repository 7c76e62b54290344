"""Dense layers of an ONNX graph as PyTorch holds them: ``NAME.weight`` (outputs, inputs) with ``NAME.bias`` beside it.

An exporter writes a linear layer as Gemm (either orientation), or as MatMul by (inputs, outputs) and an Add; which bias
belongs to which weight, and which way round the weight stands, only the nodes tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gradscope.jacobians.step_jacobian import Array


def dense_layers(graphs: Iterable[Any], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """``arrays`` with every dense layer's weight and bias renamed and turned; whatever is in none stays as it is."""
    out = dict(arrays)
    for graph in graphs:
        users: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                users.setdefault(name, []).append(node)
        for node in graph.node:
            found = _dense(node, users, arrays)
            if found is None or found[0] not in out:
                continue
            weight, bias, turned = found
            module = _module(weight, bias)
            values = out.pop(weight)
            out[f"{module}.weight"] = np.ascontiguousarray(values.T) if turned else values
            if bias is not None and bias in out:
                out[f"{module}.bias"] = out.pop(bias)
    return out


def _dense(
    node: Any, users: Mapping[str, list[Any]], arrays: Mapping[str, Array]
) -> tuple[str, str | None, bool] | None:
    """Weight, bias and whether the weight stands (inputs, outputs); None for a node that is no dense layer."""
    names = list(node.input)
    if len(names) < 2 or names[1] not in arrays or arrays[names[1]].ndim != 2:
        return None
    if node.op_type == "Gemm":
        settings = {entry.name: entry for entry in node.attribute}
        plain = all(settings[name].f == 1.0 for name in ("alpha", "beta") if name in settings)
        if not plain or ("transA" in settings and settings["transA"].i):
            return None
        bias = names[2] if len(names) > 2 and names[2] in arrays else None
        return names[1], bias, not ("transB" in settings and settings["transB"].i)
    if node.op_type != "MatMul":
        return None
    follow = users.get(node.output[0], [])
    bias = None
    if len(follow) == 1 and follow[0].op_type == "Add":
        others = [name for name in follow[0].input if name != node.output[0]]
        width = arrays[names[1]].shape[1]
        if len(others) == 1 and others[0] in arrays and arrays[others[0]].shape == (width,):
            bias = others[0]
    return names[1], bias, True


def _module(weight: str, bias: str | None) -> str:
    """The layer's name: what the weight or the bias is called without its ending, else the weight's own."""
    for name, ending in ((weight, ".weight"), (bias or "", ".bias")):
        if name.endswith(ending) and len(name) > len(ending):
            return name.removesuffix(ending)
    return weight
