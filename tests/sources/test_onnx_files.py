"""ONNX models built here; read by function value against the operators' documented equations, written out."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.errors import InputError, UsageError
from gradscope.sources.files import read_weights, select_layers

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

ROUNDING = 1e-13  # a few dozen roundings of O(1)
BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}


def onnx_forward(phi, kind, W, R, B, x, *, f="sigmoid", g="tanh", linear_before_reset=0):
    """One direction by https://onnx.ai/onnx/operators: the equations as they stand there, transposes and all."""
    n = R.shape[1]
    Wb, Rb = (np.zeros(len(W)), np.zeros(len(W))) if B is None else (B[: len(W)], B[len(W) :])
    f, g = phi[f], phi[g]
    H, C, out = np.zeros(n), np.zeros(n), []

    def part(array, k):
        return array[k * n : (k + 1) * n]

    for X in x:
        if kind == "RNN":
            H = g(X @ W.T + H @ R.T + Wb + Rb)
        elif kind == "LSTM":  # i, o, f, c
            it = f(X @ part(W, 0).T + H @ part(R, 0).T + part(Wb, 0) + part(Rb, 0))
            ft = f(X @ part(W, 2).T + H @ part(R, 2).T + part(Wb, 2) + part(Rb, 2))
            ct = g(X @ part(W, 3).T + H @ part(R, 3).T + part(Wb, 3) + part(Rb, 3))
            C = ft * C + it * ct
            ot = f(X @ part(W, 1).T + H @ part(R, 1).T + part(Wb, 1) + part(Rb, 1))
            H = ot * g(C)
        else:  # z, r, h
            zt = f(X @ part(W, 0).T + H @ part(R, 0).T + part(Rb, 0) + part(Wb, 0))
            rt = f(X @ part(W, 1).T + H @ part(R, 1).T + part(Rb, 1) + part(Wb, 1))
            if linear_before_reset:
                ht = g(X @ part(W, 2).T + (rt * (H @ part(R, 2).T + part(Rb, 2))) + part(Wb, 2))
            else:
                ht = g(X @ part(W, 2).T + (rt * H) @ part(R, 2).T + part(Rb, 2) + part(Wb, 2))
            H = (1 - zt) * ht + zt * H
        out.append(H)
    return np.array(out)


def arrays_of(rng, kind, inputs, hidden, directions=1, *, dtype="f8"):
    n = BLOCKS[kind] * hidden
    shapes = ((directions, n, inputs), (directions, n, hidden), (directions, 2 * n))
    return tuple((0.7 * rng.standard_normal(shape)).astype(dtype) for shape in shapes)


def model_of(nodes, arrays, *, outputs=("Y",), inputs=("X",), opset=14, dtype=TensorProto.DOUBLE):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, dtype, None) for name in inputs],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save(model, path):
    path.write_bytes(model.SerializeToString())
    return path


def one_node(tmp_path, kind, arrays, *, inputs=("X", "W", "R", "B"), name="/net/layer", **attributes):
    node = helper.make_node(kind, inputs, ["Y"], name=name, hidden_size=arrays[1].shape[2], **attributes)
    stored = dict(zip(("W", "R", "B"), arrays, strict=False))
    return save(model_of([node], stored), tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("reset", [0, 1])
def test_every_direction_computes_what_onnx_says(tmp_path, forward, kind, direction, reset):
    rng = np.random.default_rng(1)
    W, R, B = arrays_of(rng, kind, 3, 4, 2 if direction == "bidirectional" else 1)
    extra = {"linear_before_reset": reset} if kind == "GRU" else {}
    path = one_node(tmp_path, kind, (W, R, B), direction=direction, **extra)
    found = select_layers(read_weights(path))
    sides = {"forward": ["forward"], "reverse": ["backward"], "bidirectional": ["forward", "backward"]}[direction]
    assert [(w.module, w.direction) for w in found] == [("net/layer", side) for side in sides]
    x = rng.standard_normal((5, 3))
    for d, w in enumerate(found):
        seen = x[::-1] if w.direction == "backward" else x
        wanted = onnx_forward(forward.phi, kind, W[d], R[d], B[d], seen, linear_before_reset=reset)
        np.testing.assert_allclose(forward.run(w, x), wanted, rtol=0, atol=ROUNDING)
        assert (w.assumptions, w.facts_from["cell"]) == ((), "file")
        assert w.reset == (("after" if reset else "before") if kind == "GRU" else None)


@pytest.mark.parametrize("kind", BLOCKS)
def test_agrees_with_onnx_reference_evaluator(tmp_path, forward, kind):
    """The equations above are ours; the evaluator that the onnx package ships is not."""
    evaluator = pytest.importorskip("onnx.reference")
    rng = np.random.default_rng(2)
    arrays = arrays_of(rng, kind, 3, 4)
    extra = {"linear_before_reset": 1} if kind == "GRU" else {}
    path = one_node(tmp_path, kind, arrays, **extra)
    x = rng.standard_normal((5, 1, 3))
    (y,) = evaluator.ReferenceEvaluator(onnx.load_model_from_string(path.read_bytes())).run(None, {"X": x})
    (w,) = read_weights(path).layers
    np.testing.assert_allclose(forward.run(w, x[:, 0]), y[:, 0, 0], rtol=0, atol=ROUNDING)


def test_no_bias_and_float16(tmp_path, forward):
    rng = np.random.default_rng(3)
    W, R, _ = arrays_of(rng, "LSTM", 3, 4, dtype="f2")
    (w,) = read_weights(one_node(tmp_path, "LSTM", (W, R), inputs=("X", "W", "R"))).layers
    assert (w.bias_ih, w.dtype, w.gates_in_file) == (None, "float16", ("i", "o", "f", "c"))
    x = rng.standard_normal((4, 3))
    wanted = onnx_forward(forward.phi, "LSTM", W[0].astype("f8"), R[0].astype("f8"), None, x)
    np.testing.assert_allclose(forward.run(w, x), wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("attributes", "gate", "candidate"),
    [
        ({"activations": ["Sigmoid", "Relu", "Relu"]}, "sigmoid", "relu"),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "hard_sigmoid", "tanh"),
        (
            {"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [1 / 6], "activation_beta": [0.5]},
            "hard_sigmoid_keras3",
            "tanh",
        ),
        (
            {
                "activations": ["HardSigmoid", "Affine", "Affine"],
                "activation_alpha": [0.2, 1.0, 1.0],
                "activation_beta": [0.5, 0.0, 0.0],
            },
            "hard_sigmoid",
            "identity",
        ),
    ],
)
def test_activations(tmp_path, forward, attributes, gate, candidate):
    rng = np.random.default_rng(4)
    W, R, B = arrays_of(rng, "LSTM", 3, 4)
    (w,) = read_weights(one_node(tmp_path, "LSTM", (W, R, B), **attributes)).layers
    assert (w.gate_activation, w.activation) == (gate, candidate)
    x = rng.standard_normal((4, 3))
    wanted = onnx_forward(forward.phi, "LSTM", W[0], R[0], B[0], x, f=gate, g=candidate)
    np.testing.assert_allclose(forward.run(w, x), wanted, rtol=0, atol=1e-12)  # relu and identity do not saturate


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"clip": 3.0}, "clip"),
        ({"input_forget": 1}, "input_forget"),
        ({"activations": ["Sigmoid", "Tanh", "Relu"]}, "candidate applies tanh and its output relu"),
        ({"activations": ["Tanh", "Tanh", "Tanh"]}, "gates apply tanh"),
        ({"activations": ["Sigmoid", "Softsign", "Softsign"]}, "applies softsign"),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.3]}, r"hardsigmoid \(alpha 0.3"),
        ({"activations": ["Sigmoid"]}, "names 1 activations"),
        ({"direction": "sideways"}, "sideways"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(tmp_path, attributes, match):
    path = one_node(tmp_path, "LSTM", arrays_of(np.random.default_rng(0), "LSTM", 3, 4), **attributes)
    with pytest.raises(InputError, match=match):
        read_weights(path)


def test_peepholes_are_refused_unless_they_are_all_zero(tmp_path):
    W, R, B = arrays_of(np.random.default_rng(0), "LSTM", 3, 4)
    node = helper.make_node("LSTM", ["X", "W", "R", "B", "", "", "", "P"], ["Y"], name="n", hidden_size=4)
    for P in (np.ones((1, 12)), np.zeros((1, 12))):
        path = save(model_of([node], {"W": W, "R": R, "B": B, "P": P}), tmp_path / "m.onnx")
        if P.any():
            with pytest.raises(InputError, match="peephole"):
                read_weights(path)
            (w,) = read_weights(path, ignore="P").layers
            assert w.assumptions == ("n: its peephole weights 'P' are left out, as ignore= says",)
        else:
            assert read_weights(path).layers[0].hidden_size == 4


def test_keys_that_contradict_the_file(tmp_path):
    path = one_node(tmp_path, "GRU", arrays_of(np.random.default_rng(0), "GRU", 3, 4))
    with pytest.raises(InputError, match="reset=after was asked for, but the file says before"):
        read_weights(path, reset="after")
    with pytest.raises(InputError, match="cell=lstm was asked for"):
        read_weights(path, cell="lstm")
    assert read_weights(path, cell="gru", reset="before", activation="tanh").layers[0].reset == "before"
    path = one_node(tmp_path, "RNN", arrays_of(np.random.default_rng(0), "RNN", 3, 4))
    with pytest.raises(UsageError, match="gate_activation"):
        read_weights(path, gate_activation="sigmoid")


def torch_like_export(W, R, b_w, b_r, n):
    """Nodes that reorder PyTorch's i,f,g,o into ONNX's i,o,f,c the way torch's exporter writes them."""
    nodes, arrays = [], {"weight_ih": W, "weight_hh": R, "bias_ih": b_w, "bias_hh": b_r}
    for source in arrays:
        for index, (start, end) in enumerate(((0, n), (3 * n, 4 * n), (n, 3 * n))):
            bounds = []
            for role, value in (("s", start), ("e", end), ("a", 0)):
                name = f"{source}_{role}{index}"
                tensor = numpy_helper.from_array(np.array([value]), name)
                nodes.append(helper.make_node("Constant", [], [name], value=tensor))
                bounds.append(name)
            nodes.append(helper.make_node("Slice", [source, *bounds], [f"{source}_part{index}"]))
        parts = [f"{source}_part{index}" for index in range(3)]
        nodes.append(helper.make_node("Concat", parts, [f"{source}_cat"], axis=0))
    nodes.append(helper.make_node("Concat", ["bias_ih_cat", "bias_hh_cat"], ["bias_cat"], axis=0))
    nodes.append(helper.make_node("Constant", [], ["zero"], value_ints=[0]))
    for source, name in (("weight_ih_cat", "W"), ("weight_hh_cat", "R"), ("bias_cat", "B")):
        nodes.append(helper.make_node("Unsqueeze", [source, "zero"], [name]))
    return nodes, arrays


def test_constants_are_folded_inside_a_branch(tmp_path, forward):
    rng = np.random.default_rng(5)
    n = 4
    p = forward.torch_parameters(rng, 4, 3, n)
    nodes, arrays = torch_like_export(p["weight_ih_l0"], p["weight_hh_l0"], p["bias_ih_l0"], p["bias_hh_l0"], n)
    out = helper.make_tensor_value_info("Y", TensorProto.DOUBLE, None)
    branches = []
    for which in ("a", "b"):
        node = helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], name=f"/{which}/LSTM", hidden_size=n)
        branches.append(helper.make_graph([*nodes, node], which, [], [out]))
    chosen = helper.make_node("If", ["flag"], ["out"], then_branch=branches[0], else_branch=branches[1])
    path = save(model_of([chosen], arrays, outputs=("out",), inputs=("X", "flag")), tmp_path / "m.onnx")
    weights = read_weights(path)
    (w,) = select_layers(weights)  # both branches hold the same layer: one module
    x = rng.standard_normal((5, 3))
    np.testing.assert_allclose(forward.run(w, x), forward.torch["lstm"](p, x), rtol=0, atol=ROUNDING)
    assert weights.skipped == ()  # every initialiser went into the layer


def test_weights_from_an_input_or_an_unknown_operator_are_refused_with_the_reason(tmp_path):
    W, R, B = arrays_of(np.random.default_rng(0), "GRU", 3, 4)
    node = helper.make_node("GRU", ["X", "W", "R", "B"], ["Y"], name="n", hidden_size=4)
    path = save(model_of([node], {"W": W, "B": B}, inputs=("X", "R")), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="R is no constant: 'R' is an input of the model"):
        read_weights(path)
    inverted = helper.make_node("Sinh", ["q"], ["R"])
    path = save(model_of([inverted, node], {"W": W, "B": B, "q": R}), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="Sinh, which is not folded"):
        read_weights(path)
    node = helper.make_node("AttnLSTM", ["X", "W", "R"], ["Y"], name="n", domain="com.microsoft")
    path = save(model_of([node], {"W": W, "R": R}), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"com\.microsoft\.AttnLSTM"):
        read_weights(path)


def test_a_stack_of_nodes_is_proved_by_the_graph(tmp_path, forward):
    rng = np.random.default_rng(6)
    low, high = arrays_of(rng, "GRU", 3, 4, 2), arrays_of(rng, "GRU", 8, 4, 2)
    arrays = {f"{role}{i}": a for i, group in enumerate((low, high)) for role, a in zip("WRB", group, strict=True)}
    arrays["shape"] = np.array([0, 0, -1])
    options = {"hidden_size": 4, "direction": "bidirectional", "linear_before_reset": 1}
    nodes = [
        helper.make_node("GRU", ["X", "W0", "R0", "B0"], ["Y0"], name="/gru/GRU", **options),
        helper.make_node("Transpose", ["Y0"], ["T0"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["T0", "shape"], ["S0"]),
        helper.make_node("GRU", ["S0", "W1", "R1", "B1"], ["Y"], name="/gru/GRU_1", **options),
    ]
    weights = read_weights(save(model_of(nodes, arrays), tmp_path / "m.onnx"))
    assert weights.chains == (("gru/GRU", "gru/GRU_1"),)
    for keys in ({}, {"param": "gru/GRU*"}):
        assert [w.layer for w in select_layers(weights, **keys)] == [0, 0, 1, 1]
    assert [w.layer for w in select_layers(weights, param="gru/GRU_1")] == [0, 0]


def test_constants_cannot_grow_without_bound(tmp_path):
    """40 nodes, each the concatenation of the last with itself: 2^40 times the first."""
    W, R, B = arrays_of(np.random.default_rng(0), "RNN", 3, 4)
    nodes, name = [], "W"
    for i in range(40):
        nodes.append(helper.make_node("Concat", [name, name], [f"c{i}"], axis=0))
        name = f"c{i}"
    nodes.append(helper.make_node("RNN", ["X", name, "R", "B"], ["Y"], hidden_size=4))
    with pytest.raises(InputError, match="unfold to more than the file can hold"):
        read_weights(save(model_of(nodes, {"W": W, "R": R, "B": B}), tmp_path / "m.onnx"))
    fill = helper.make_node("ConstantOfShape", ["shape"], ["c"])
    node = helper.make_node("RNN", ["X", "c", "R", "B"], ["Y"], hidden_size=4)
    arrays = {"shape": np.array([1, 1 << 30, 1 << 20]), "R": R, "B": B}
    with pytest.raises(InputError, match="unfold to more than the file can hold"):
        read_weights(save(model_of([fill, node], arrays), tmp_path / "m.onnx"))


def test_many_nodes_on_one_constant_are_bounded(tmp_path):
    W, R, B = arrays_of(np.random.default_rng(0), "RNN", 3, 40)
    for n_nodes, match in ((200, "unfold to more than the file can hold"), (300, "more than 256 recurrent nodes")):
        nodes = [
            helper.make_node("RNN", ["X", "W", "R", "B"], [f"Y{i}"], name=f"n{i}", hidden_size=40)
            for i in range(n_nodes)
        ]
        with pytest.raises(InputError, match=match):
            select_layers(
                read_weights(save(model_of(nodes, {"W": W, "R": R, "B": B}), tmp_path / "m.onnx")), param="n199"
            )


def test_names_that_are_no_text_are_refused(tmp_path):
    """Protobuf hands invalid UTF-8 out as bytes instead of refusing it (found by fuzzing)."""
    path = one_node(tmp_path, "RNN", arrays_of(np.random.default_rng(0), "RNN", 2, 2))
    whole = path.read_bytes()
    for name in (b"RNN", b"/net/layer", b"hidden_size"):
        path.write_bytes(whole.replace(name, b"\xff" + name[1:]))
        with pytest.raises(InputError, match=r"no text|cannot be parsed"):
            read_weights(path)


def test_missing_onnx_says_what_to_install(tmp_path, monkeypatch):
    import sys

    path = one_node(tmp_path, "RNN", arrays_of(np.random.default_rng(0), "RNN", 2, 2))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"pip install onnx"):
        read_weights(path)
