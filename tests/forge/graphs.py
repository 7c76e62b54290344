"""ONNX models: graphs in graphs, functions that call themselves, tensors of claimed sizes, values kept elsewhere."""

from __future__ import annotations

import contextlib

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.forge import lies
from tests.forge.arrays import NUMBERS

OPERATORS = [
    "ConstantOfShape", "Expand", "Tile", "Range", "Identity", "Transpose", "Reshape", "Concat", "Squeeze", "Unsqueeze",
    "Slice", "Gather", "Cast", "Shape", "Pad", "Mul", "DequantizeLinear", "LSTM", "GRU", "RNN", "If", "Loop", "Scan",
]  # fmt: skip
SHAPES = {"W": (1, 8, 3), "R": (1, 8, 2), "B": (1, 16)}
PLACES = ["w.data", "../w.data", "/etc/passwd", "", ".", "w.data/x", "C:\\w", "m.onnx", "x" * 3000, "link.data"]


def tensor(rng, name, shape):
    """An initialiser: honest, of claimed dimensions, or with its values elsewhere."""
    made = numpy_helper.from_array(np.resize(NUMBERS, shape).astype("f4"), lies.name(rng, name)[:70_000])
    if rng.lies(0.5):
        dims = lies.shape(rng) if rng.random() < 0.9 else (1,) * 100_000
        del made.dims[:]
        made.dims.extend([max(-(2**63), min(extent, 2**63 - 1)) for extent in dims])
    if rng.lies(0.5):
        made.data_type = rng.choice((0, 1, 2, 8, 10, 11, 16, 17, 23, 99))
    if rng.lies(0.3):
        made.raw_data = b"\0" * rng.choice((0, 1, 7, 1 << 20))
    if rng.lies(0.3):
        made.float_data.extend([0.5] * rng.choice((1, 48, 10_000)))
    if rng.lies(0.5):
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        for key in ("location", "offset", "length", "checksum"):
            for _ in range(rng.choice((1, 1, 1, 2))):
                item = made.external_data.add()
                item.key = key
                item.value = rng.choice(PLACES) if key == "location" else str(lies.count(rng) if rng.lies() else 0)
    return made


def node(rng, index):
    """Any operator on any names; sizes as attributes or inputs."""
    operator = rng.choice(OPERATORS)
    inputs = [
        rng.choice(("W", "R", "B", "X", "", f"v{rng.randrange(index + 1)}", "n")) for _ in range(rng.randrange(5))
    ]
    attributes = {}
    if operator == "ConstantOfShape":
        attributes["value"] = numpy_helper.from_array(np.ones(1, "f4"))
    if rng.random() < 0.3:
        attributes[rng.choice(("perm", "axes", "axis", "shape", "to", "hidden_size"))] = [
            max(-(2**63), min(lies.count(rng), 2**63 - 1)) for _ in range(rng.choice((1, 3, 40)))
        ]
    return helper.make_node(operator, inputs, [f"v{index}"], name=lies.name(rng, f"n{index}")[:70_000], **attributes)


def graph(rng, levels=2):
    nodes, tensors = [], [tensor(rng, name, shape) for name, shape in SHAPES.items()]
    if rng.lies(0.5):
        again = lies.repeats(rng)
        tensors += [tensors[0]] * min(again, 1 + 500_000 // (1 + tensors[0].ByteSize()))
    sizes = [max(-(2**63), min(lies.count(rng), 2**63 - 1)) for _ in range(rng.choice((1, 2, 3, 9)))]
    tensors.append(numpy_helper.from_array(np.array(sizes, "i8"), "n"))
    for index in range(rng.choice((1, 4, 30, 3000)) if rng.lies() else 0):
        with contextlib.suppress(ValueError, TypeError):
            nodes.append(node(rng, index))
    for index in range(min(lies.repeats(rng), 600) if rng.lies(0.3) else 1):
        names = [rng.choice(("W", "R", "B", "v0", "v1", "v2", "nowhere", "")) if rng.lies() else w for w in SHAPES]
        size = max(-(2**63), min(lies.count(rng), 2**63 - 1)) if rng.lies() else 2
        said = {"hidden_size": size}
        if rng.lies():
            said["activations"] = [lies.name(rng, "Tanh")[:3000] for _ in range(rng.choice((1, 3, 6, 900)))]
        if rng.lies():
            said["direction"] = rng.choice(("reverse", "bidirectional", "", "x" * 5000))
        out = "Y" if index == 0 else f"Y{index}"
        nodes.append(helper.make_node("LSTM", ["X", *names], [out], name=lies.name(rng, f"/l{index}")[:70_000], **said))
    if levels and rng.lies():
        branch = graph(rng, levels - 1)
        for _ in range(rng.choice((1, 1, 5, 40))):
            inner = helper.make_node("If", ["flag"], ["Z"], then_branch=branch, else_branch=branch)
            branch = helper.make_graph([inner], "g", [], [])
            if branch.ByteSize() > 500_000:
                break
        nodes.append(inner)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("X", "Y")]
    return helper.make_graph(nodes, lies.name(rng, "g")[:9000], infos[:1], infos[1:], tensors)


def onnx(rng, folder):
    model = helper.make_model(graph(rng), opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    if rng.lies():
        for index in range(rng.choice((1, 2, 20))):
            called = f"f{rng.choice((index, index + 1, 0))}"
            nodes = [helper.make_node(called, ["x"], ["y"], domain="d")] * rng.choice((1, 2, 10))
            made = helper.make_function("d", f"f{index}", ["x"], ["y"], nodes, [helper.make_opsetid("d", 1)])
            model.functions.append(made)
        model.graph.node.append(helper.make_node("f0", ["X"], ["F"], domain="d"))
    content = model.SerializeToString()
    if rng.lies(0.3):  # messages in messages: graph { node { attribute { g { …
        inner = b""
        for _ in range(rng.choice((30, 90, 3000))):
            for tag in (b"\x32", b"\x2a", b"\x0a"):
                inner = tag + _varint(len(inner)) + inner
        content += b"\x3a" + _varint(len(inner)) + inner
    (folder / "w.data").write_bytes(b"\0" * rng.choice((0, 100, 1000)))
    link = folder / "link.data"
    if not link.is_symlink():
        link.symlink_to("/etc/hostname")
    path = folder / "m.onnx"
    path.write_bytes(content)
    return path


def _varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


KINDS = {"onnx": (onnx, ("weights",))}
