"""What an ONNX graph says beyond single nodes: chains and their axes, functions, start states, second files, lies.

That a chain is a stack is checked by value: the onnx package's own evaluator runs the whole graph on two sequences, and
it must put out what the layers compute one after the other exactly where a chain was claimed.
"""

from __future__ import annotations

import hashlib
import os
import time
import tracemalloc

import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError
from gradscope.sources.files import read_weights, select_layers

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

ROUNDING = 1e-12  # two layers, a few dozen roundings of O(1) each
T, B, WIDTH, H = 5, 2, 3, 4


def lstm_arrays(rng, inputs, hidden=H, directions=1, name=""):
    shapes = {
        "W": (directions, 4 * hidden, inputs),
        "R": (directions, 4 * hidden, hidden),
        "B": (directions, 8 * hidden),
    }
    return {f"{role}{name}": 0.7 * rng.standard_normal(shape) for role, shape in shapes.items()}


def lstm(x, y, name="", *, extra=(), **attributes):
    settings = {"name": f"lstm{name}", "hidden_size": H, **attributes}
    return helper.make_node("LSTM", [x, f"W{name}", f"R{name}", f"B{name}", *extra], [y], **settings)


def model_of(nodes, arrays, *, inputs=(("X", None),), output="Z", functions=(), opset=14):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(output, TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=list(functions))


def save(model, path):
    path.write_bytes(model.SerializeToString())
    return path


def op(kind, *names, **attributes):
    *reads, makes = names
    return helper.make_node(kind, reads, [makes], **attributes)


#: What stands between Y of the lower layer (T, D, B, H) and the input of the upper one: D, nodes, constants, and
#: whether it is the sequence of the lower layer.
BETWEEN = {
    "squeeze of the directions": (1, [op("Squeeze", "Y", "one", "S")], True),
    "transposed and reshaped": (
        2,
        [op("Transpose", "Y", "P", perm=[0, 2, 1, 3]), op("Reshape", "P", "keep", "S")],
        True,
    ),
    "reshaped without the transposition": (2, [op("Reshape", "Y", "keep", "S")], False),
    "two transpositions that cancel": (
        1,
        [
            op("Squeeze", "Y", "one", "P"),
            op("Transpose", "P", "Q", perm=[1, 0, 2]),
            op("Identity", "Q", "Q2"),
            op("Transpose", "Q2", "S", perm=[1, 0, 2]),
        ],
        True,
    ),
    "one transposition": (1, [op("Squeeze", "Y", "one", "P"), op("Transpose", "P", "S", perm=[1, 0, 2])], False),
    "time and batch merged": (1, [op("Squeeze", "Y", "one", "P"), op("Reshape", "P", "merge", "S")], False),
    "batch and features merged, and taken apart": (
        1,
        [op("Squeeze", "Y", "one", "P"), op("Reshape", "P", "flat", "Q"), op("Reshape", "Q", "apart", "S")],
        False,
    ),
    "unsqueezed and squeezed": (
        1,
        [op("Squeeze", "Y", "one", "P"), op("Unsqueeze", "P", "zero", "Q"), op("Squeeze", "Q", "zero", "S")],
        True,
    ),
    "a scaled sequence": (1, [op("Squeeze", "Y", "one", "P"), op("Mul", "P", "two", "S")], False),
    "shape computed as torch's exporter does": (
        2,
        [
            op("Transpose", "Y", "P", perm=[0, 2, 1, 3]),
            op("Shape", "P", "n"),
            op("Slice", "n", "zero", "one", "n0"),
            op("Slice", "n", "one", "two_i", "n1"),
            op("Slice", "n", "two_i", "three", "n2"),
            op("Slice", "n", "three", "four", "n3"),
            op("Mul", "n2", "n3", "n23"),
            op("Reshape", "n23", "minus", "n23r"),
            op("Concat", "n0", "n1", "n23r", "shape", axis=0),
            op("Reshape", "P", "shape", "S"),
        ],
        True,
    ),
    "that shape with time and batch exchanged": (
        2,
        [
            op("Transpose", "Y", "P", perm=[0, 2, 1, 3]),
            op("Shape", "P", "n"),
            op("Gather", "n", "one", "n0"),
            op("Gather", "n", "zero", "n1"),
            op("Concat", "n0", "n1", "minus", "shape", axis=0),
            op("Reshape", "P", "shape", "S"),
        ],
        False,
    ),
}
CONSTANTS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array(2.0),
    "two_i": np.array([2]),
    "three": np.array([3]),
    "four": np.array([4]),
    "minus": np.array([-1]),
    "keep": np.array([0, 0, -1]),
    "merge": np.array([1, -1, H]),
    "flat": np.array([-1, B * H]),
    "apart": np.array([B, -1, H]),
}


def two_layers(between, rng, *, shape=None):
    directions, nodes, _ = BETWEEN[between]
    side = {"direction": "bidirectional"} if directions == 2 else {}
    arrays = lstm_arrays(rng, WIDTH, directions=directions, name="0") | lstm_arrays(
        rng, directions * H, directions=directions, name="1"
    )
    nodes = [lstm("X", "Y", "0", **side), *nodes, lstm("S", "Z", "1", **side)]
    return model_of(nodes, arrays | CONSTANTS, inputs=[("X", shape)])


def run_stack(forward, layers, x):
    """Layer by layer, both directions side by side where there are two; x (T, WIDTH)."""
    for n in range(1 + max(w.layer for w in layers)):
        parts = [forward.run(w, x) for w in layers if w.layer == n]
        x = np.hstack([parts[0], parts[1][::-1]]) if len(parts) == 2 else parts[0]
    return x


@pytest.mark.parametrize("declared", [None, (T, B, WIDTH), (None, None, WIDTH)])
@pytest.mark.parametrize("between", BETWEEN)
def test_a_chain_is_claimed_where_the_graph_computes_a_stack(tmp_path, forward, between, declared):
    rng = np.random.default_rng(1)
    model = two_layers(between, rng, shape=declared)
    weights = read_weights(save(model, tmp_path / "m.onnx"))
    is_stack = BETWEEN[between][2]
    assert weights.chains == ((("lstm0", "lstm1"),) if is_stack else ())
    if not is_stack:
        with pytest.raises(InputError, match="several recurrent modules"):
            select_layers(weights)
        return
    x = rng.standard_normal((T, B, WIDTH))
    (z,) = ReferenceEvaluator(model).run(None, {"X": x})
    stack = select_layers(weights)
    for b in range(B):
        found = run_stack(forward, stack, x[:, b])
        wanted = np.concatenate([z[:, d, b] for d in range(z.shape[1])], axis=-1)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("batch", [1, 2, None])
def test_a_fixed_shape_is_believed_only_where_it_is_declared(tmp_path, batch):
    """(T, B, H) reshaped to the numbers (5, 1, 4): the same sequence for a batch of one, and nothing known without."""
    rng = np.random.default_rng(2)
    arrays = lstm_arrays(rng, WIDTH, name="0") | lstm_arrays(rng, H, name="1") | CONSTANTS
    arrays["fixed"] = np.array([T, 1 if batch is None else batch, H])
    nodes = [lstm("X", "Y", "0"), op("Reshape", "Y", "fixed", "S"), lstm("S", "Z", "1")]
    declared = None if batch is None else (T, batch, WIDTH)
    weights = read_weights(save(model_of(nodes, arrays, inputs=[("X", declared)]), tmp_path / "m.onnx"))
    assert bool(weights.chains) == (batch is not None)


def test_an_lstm_in_a_model_local_function_is_read(tmp_path, forward):
    """Weights and hidden size come with the call; two calls are two layers of one stack."""
    rng = np.random.default_rng(3)
    body = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], name="core")
    reference = onnx.AttributeProto(name="hidden_size", ref_attr_name="size", type=onnx.AttributeProto.INT)
    body.attribute.append(reference)
    squeeze = [helper.make_node("Constant", [], ["axis"], value_ints=[1]), op("Squeeze", "y", "axis", "out")]
    opsets = [helper.make_opsetid("", 14)]
    function = helper.make_function("local", "Layer", ["x", "w", "r", "b"], ["out"], [body, *squeeze], opsets, ["size"])
    inner = op("Layer", "x", "w", "r", "b", "out", domain="local", name="inner")
    inner.attribute.append(onnx.AttributeProto(name="size", ref_attr_name="n", type=onnx.AttributeProto.INT))
    outer = helper.make_function(
        "local", "Net", ["x", "w", "r", "b"], ["out"], [inner], [*opsets, helper.make_opsetid("local", 1)], ["n"]
    )
    calls = [
        op("Layer", "X", "W0", "R0", "B0", "M", domain="local", name="low", size=H),
        op("Net", "M", "W1", "R1", "B1", "Z", domain="local", name="high", n=H),
    ]
    arrays = lstm_arrays(rng, WIDTH, name="0") | lstm_arrays(rng, H, name="1")
    model = model_of(calls, arrays, functions=[function, outer])
    weights = read_weights(save(model, tmp_path / "m.onnx"))
    assert weights.chains == (("low/core", "high/inner/core"),)
    x = rng.standard_normal((T, B, WIDTH))
    (z,) = ReferenceEvaluator(model).run(None, {"X": x})
    np.testing.assert_allclose(run_stack(forward, select_layers(weights), x[:, 1]), z[:, 1], rtol=0, atol=ROUNDING)


def test_functions_that_call_one_another_without_end_are_refused_soon(tmp_path):
    """Forty functions, each calling the next one twice: 2^40 calls."""
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("local", 1)]
    functions = [
        helper.make_function(
            "local",
            f"f{i}",
            ["x", "w"],
            ["y"],
            [
                helper.make_node(f"f{i + 1}", ["x", "w"], ["a"], domain="local"),
                helper.make_node(f"f{i + 1}", ["a", "w"], ["y"], domain="local"),
            ],
            opsets,
        )
        for i in range(20)
    ]
    last = [helper.make_node("LSTM", ["x", "w", "w"], ["y"], hidden_size=1)]
    functions.append(helper.make_function("local", "f20", ["x", "w"], ["y"], last, opsets))
    call = helper.make_node("f0", ["X", "W"], ["Z"], domain="local")
    refused(
        save(model_of([call], {"W": np.ones((1, 4, 1))}, functions=functions), tmp_path / "m.onnx"), "more than 256"
    )


@pytest.mark.parametrize("side", ["forward", "bidirectional"])
@pytest.mark.parametrize("how", ["constant", "expanded", "zeros", "computed zeros", "input", "unlike rows"])
def test_a_start_state_in_the_file_is_used(tmp_path, how, side):
    """As the evaluator runs it: the last state of the file's own network is what a run from there ends in."""
    rng = np.random.default_rng(4)
    directions = 2 if side == "bidirectional" else 1
    h, c = 0.5 * rng.standard_normal((2, directions, 1, H))
    if how == "unlike rows":
        h, c = np.concatenate([h, -h], axis=1), np.concatenate([c, c], axis=1)
    arrays = lstm_arrays(rng, WIDTH, directions=directions)
    nodes, inputs, extra = [], [("X", None)], ("", "h", "c")
    if how == "input":
        inputs += [("h", None), ("c", None)]
    elif how == "computed zeros":
        arrays |= {"d": np.array([directions]), "n": np.array([H]), "one": np.array([1]), "two": np.array([2])}
        nodes += [op("Shape", "X", "s"), op("Slice", "s", "one", "two", "b"), op("Concat", "d", "b", "n", "z", axis=0)]
        nodes += [op("ConstantOfShape", "z", "h"), op("Expand", "h", "z", "c")]
    elif how == "expanded":
        arrays |= {"h1": h, "c1": c, "d": np.array([directions]), "n": np.array([H]), "one": np.array([1])}
        arrays["two"] = np.array([2])
        nodes += [op("Shape", "X", "s"), op("Slice", "s", "one", "two", "b"), op("Concat", "d", "b", "n", "z", axis=0)]
        nodes += [op("Expand", "h1", "z", "h"), op("Expand", "c1", "z", "c")]
    else:
        arrays |= {"h": h * (how != "zeros"), "c": c * (how != "zeros")}
    nodes.append(lstm("X", "Z", extra=extra, direction=side))
    path = save(model_of(nodes, arrays, inputs=inputs), tmp_path / "m.onnx")
    layers = select_layers(read_weights(path))
    for d, w in enumerate(layers):
        if how in ("constant", "expanded", "unlike rows"):
            np.testing.assert_array_equal(w.initial_state, np.concatenate([h[d, 0], c[d, 0]]))
        else:
            assert w.initial_state is None
        said = {"input": "initial_h is no constant", "unlike rows": "differs from sequence to sequence"}.get(how)
        assert [sentence for sentence in w.assumptions if said and said in sentence] if said else not w.assumptions
    if how == "constant":
        np.save(tmp_path / "x.npy", rng.standard_normal((6, WIDTH)))
        options = {"inputs": str(tmp_path / "x.npy"), "loss": "none"}
        report = gradscope.gradients(str(path), **options)
        for d, result in enumerate(report.results):
            np.save(tmp_path / "s.npy", np.concatenate([h[d, 0], c[d, 0]]))
            key = {} if directions == 1 else {"direction": ("forward", "backward")[d]}
            named = ":".join([str(path), *(f"{k}={v}" for k, v in key.items())])
            again = gradscope.gradients(named, state=str(tmp_path / "s.npy"), **options).results[0]
            norms, expected = (list(r.columns["log10_norm"]) for r in (result, again))
            assert norms == expected


def test_sequence_lengths_are_named(tmp_path):
    arrays = lstm_arrays(np.random.default_rng(0), WIDTH)
    node = lstm("X", "Z", extra=("lengths",))
    (w,) = read_weights(
        save(model_of([node], arrays, inputs=[("X", None), ("lengths", None)]), tmp_path / "m.onnx")
    ).layers
    assert "takes sequence_lens" in w.assumptions[0]


def quantise(values, axes):
    """Symmetric 8-bit values with a scale for what is left after ``axes``."""
    scale = np.abs(values).max(axis=axes) / 127
    grid = np.expand_dims(scale, axes)
    return np.round(values / grid).astype(np.int8), scale.astype(np.float32)


@pytest.mark.parametrize("per_row", [False, True])
def test_onnxruntimes_8_bit_lstm_is_read(tmp_path, forward, per_row):
    arrays = lstm_arrays(np.random.default_rng(5), WIDTH)
    stored = {"B": arrays["B"].astype(np.float32)}
    wanted = {}
    for role in "WR":
        flipped = arrays[role].transpose(0, 2, 1)  # (1, inputs, 4·H)
        values, scale = quantise(flipped, (1,) if per_row else (1, 2))
        stored |= {role: values, f"{role}s": scale, f"{role}z": np.zeros(scale.shape, np.int8)}
        factor = scale[:, None, :] if per_row else scale[:, None, None]
        wanted[role] = (values.astype(np.float64) * factor).transpose(0, 2, 1)
    reads = ["X", "W", "R", "B", "", "", "", "", "Ws", "Wz", "Rs", "Rz"]
    node = helper.make_node("DynamicQuantizeLSTM", reads, ["Z"], name="q", domain="com.microsoft", hidden_size=H)
    (w,) = read_weights(save(model_of([node], stored), tmp_path / "m.onnx")).layers
    assert (w.dtype, len(w.assumptions)) == ("int8", 1)
    assert "rounds its inputs and states to 8 bits" in w.assumptions[0]
    i, o, f, g = np.split(wanted["R"][0], 4)
    np.testing.assert_allclose(w.weight_hh, np.concatenate([i, f, g, o]), rtol=1e-7)  # scales are float32
    assert np.abs(w.weight_ih[:H] - arrays["W"][0, :H]).max() < 0.02  # half a step of 8 bits


@pytest.mark.parametrize("axis", [None, 1])
def test_weights_behind_dequantize_are_folded(tmp_path, axis):
    arrays = lstm_arrays(np.random.default_rng(6), WIDTH)
    values, scale = quantise(arrays["R"], (0, 2) if axis else (0, 1, 2))
    node = op("DequantizeLinear", "q", "s", "R", **({"axis": axis} if axis else {}))
    stored = {"W": arrays["W"], "B": arrays["B"], "q": values, "s": scale}
    (w,) = read_weights(save(model_of([node, lstm("X", "Z")], stored), tmp_path / "m.onnx")).layers
    wanted = values[0] * (scale[:, None] if axis else scale)
    np.testing.assert_allclose(w.weight_hh[:H], wanted[:H], rtol=1e-6)


def external(tmp_path, *, location="m.onnx.data"):
    """A model as today's exporters write it: tensors in a second file, at offsets."""
    arrays = lstm_arrays(np.random.default_rng(7), WIDTH) | {"head.weight": np.ones((2, H)), "head.bias": np.zeros(2)}
    model = model_of([lstm("X", "Z")], arrays)
    content = b""
    for tensor in model.graph.initializer:
        raw = tensor.raw_data
        onnx.external_data_helper.set_external_data(tensor, location, offset=len(content), length=len(raw))
        tensor.ClearField("raw_data")
        content += raw.ljust(-(-len(raw) // 64) * 64, b"\0")
    return save(model, tmp_path / "m.onnx"), content, arrays


def test_a_data_file_beside_the_model_is_read(tmp_path):
    path, content, arrays = external(tmp_path)
    with pytest.raises(InputError, match=r"'m\.onnx\.data', which is not beside it.*external_data=False"):
        read_weights(path)
    (tmp_path / "m.onnx.data").write_bytes(content)
    weights = read_weights(path)
    np.testing.assert_array_equal(weights.layers[0].weight_ih[:H], arrays["W"][0, :H])
    np.testing.assert_array_equal(weights.other_arrays["head.weight"], arrays["head.weight"])
    first = weights.sha256
    assert first != hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "m.onnx.data").write_bytes(content[:8] + bytes([content[8] ^ 1]) + content[9:])
    assert read_weights(path).sha256 != first  # the weights are part of what the hash names


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "short", "parent", "absolute", "windows", "long", "nul"])
def test_nothing_but_a_plain_file_beside_the_model_is_opened(tmp_path, kind):
    names = {"parent": "../m.onnx.data", "absolute": "/etc/hosts", "windows": "C:x", "long": "x" * 5000, "nul": "a\0b"}
    folder = tmp_path / "folder"
    folder.mkdir()
    path, content, _ = external(folder, location=names.get(kind, "m.onnx.data"))
    (tmp_path / "m.onnx.data").write_bytes(content)
    beside = folder / "m.onnx.data"
    if kind == "link":
        beside.symlink_to(tmp_path / "m.onnx.data")
    elif kind == "folder":
        beside.mkdir()
    elif kind == "pipe":
        os.mkfifo(beside)
    elif kind == "short":
        beside.write_bytes(content[:100])
    said = {"link": "a link", "folder": "no regular", "pipe": "no regular", "short": "do not fit"}
    refused(path, said.get(kind, "only a file in the model's own folder is opened"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("offset", "-8"), ("offset", "x"), ("offset", str(2**62)), ("length", "8"), ("length", "9" * 400)],
)
def test_offsets_and_lengths_that_do_not_fit(tmp_path, key, value):
    path, content, _ = external(tmp_path)
    (tmp_path / "m.onnx.data").write_bytes(content)
    model = onnx.load_model_from_string(path.read_bytes())
    next(entry for entry in model.graph.initializer[1].external_data if entry.key == key).value = value
    refused(save(model, path), "do not fit")


def test_tensors_that_read_one_data_file_over_and_over_are_refused(tmp_path):
    path, content, _ = external(tmp_path)
    (tmp_path / "m.onnx.data").write_bytes(content + bytes(8 << 20))
    model = onnx.load_model_from_string(path.read_bytes())
    for i in range(100):
        tensor = model.graph.initializer.add(name=f"t{i}", dims=[1 << 20], data_type=TensorProto.DOUBLE)
        tensor.data_location = 1
        entries = {"location": "m.onnx.data", "offset": str(len(content)), "length": str(8 << 20)}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
    begin = time.process_time()
    with pytest.raises(InputError, match="over and over"):
        read_weights(save(model, path))
    assert time.process_time() - begin < 10


def refused(path, match):
    begin = time.process_time()
    tracemalloc.start()
    with pytest.raises(InputError, match=match) as said:
        read_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(said.value)) < 1000
    assert peak < 100 << 20
    assert time.process_time() - begin < 15  # tracing costs several times what reading does


@pytest.mark.parametrize("kind", ["nodes of one name", "axes", "name", "shared shapes", "axes of a head"])
def test_forged_graphs_end_soon(tmp_path, kind):
    arrays = lstm_arrays(np.random.default_rng(0), WIDTH)
    model = model_of([lstm("X", "Z")], arrays)
    if kind == "nodes of one name":
        model.graph.node.extend([model.graph.node[0]] * 20_000)
        match = "more than 256 recurrent nodes"
    elif kind in ("axes", "axes of a head"):
        tensor = model.graph.initializer[1] if kind == "axes" else model.graph.initializer.add(name="head")
        tensor.data_type = TensorProto.DOUBLE
        tensor.dims.extend([2] * 300_000)
        match = "axes, and 32 is the most"
    elif kind == "name":
        model.graph.node.extend([helper.make_node("Relu", ["X"], ["n" * (1 << 20)])] * 60)
        match = "characters, and 1000 is the most"
    else:  # every level twice the one before, as the shape of a reshape: 2^60 ways to it
        model.graph.node[0].input[0] = "S"
        model.graph.node.append(op("Shape", "X", "s0"))
        for i in range(60):
            model.graph.node.append(op("Mul", f"s{i}", f"s{i}", f"s{i + 1}"))
        model.graph.node.append(op("Reshape", "Y", "s60", "S"))
        model.graph.node.append(lstm("X", "Y"))
        model.graph.node[-1].name = "low"
        begin = time.process_time()
        assert read_weights(save(model, tmp_path / "m.onnx")).chains == ()
        assert time.process_time() - begin < 10
        return
    refused(save(model, tmp_path / "m.onnx"), match)
