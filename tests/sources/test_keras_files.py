"""Keras files written here with h5py as Keras writes them; read by function value, against Keras's own formulas."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.sources.budget import Budget
from gradscope.sources.files import read_weights, select_layers
from gradscope.sources.hdf5 import Hdf5File
from gradscope.sources.hdf5_heaps import longest_text_said

h5py = pytest.importorskip("h5py")
ROUNDING = 1e-13  # a few dozen roundings of O(1)
GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
CELL = {"SimpleRNN": "rnn", "GRU": "gru", "LSTM": "lstm"}


def keras_forward(phi, kind, arrays, x, *, act="tanh", gate="sigmoid", reset_after=True):
    """keras/src/layers/rnn: SimpleRNNCell.call, GRUCell.call, LSTMCell.call, one sample, written out."""
    kernel, recurrent, bias = (*arrays, None)[:3]
    n = recurrent.shape[0]
    if bias is None:
        bias = np.zeros((2, 3 * n)) if kind == "GRU" and reset_after else np.zeros(kernel.shape[1])
    h, c, out = np.zeros(n), np.zeros(n), []
    f, s = phi[act], phi[gate]
    for x_t in x:
        if kind == "SimpleRNN":
            h = f(x_t @ kernel + bias + h @ recurrent)
        elif kind == "LSTM":
            z = x_t @ kernel + h @ recurrent + bias
            z0, z1, z2, z3 = z[:n], z[n : 2 * n], z[2 * n : 3 * n], z[3 * n :]
            i, forget = s(z0), s(z1)
            c = forget * c + i * f(z2)
            h = s(z3) * f(c)
        elif reset_after:
            mx, mi = x_t @ kernel + bias[0], h @ recurrent + bias[1]
            z = s(mx[:n] + mi[:n])
            r = s(mx[n : 2 * n] + mi[n : 2 * n])
            h = z * h + (1 - z) * f(mx[2 * n :] + r * mi[2 * n :])
        else:
            mx = x_t @ kernel + bias
            mi = h @ recurrent[:, : 2 * n]
            z = s(mx[:n] + mi[:n])
            r = s(mx[n : 2 * n] + mi[n:])
            h = z * h + (1 - z) * f(mx[2 * n :] + (r * h) @ recurrent[:, 2 * n :])
        out.append(h)
    return np.array(out)


def cudnn_forward(kind, arrays, x):
    """What CuDNNLSTM and CuDNNGRU hand to cuDNN: each block's memory, read as (H, I) matrices acting on columns."""
    kernel, recurrent, bias = arrays
    n, width = recurrent.shape[0], kernel.shape[0]
    blocks = GATES[kind]
    W = [kernel[:, k * n : (k + 1) * n].flatten().reshape(n, width) for k in range(blocks)]
    R = [recurrent[:, k * n : (k + 1) * n].flatten().reshape(n, n) for k in range(blocks)]
    bw, br = bias[: blocks * n].reshape(blocks, n), bias[blocks * n :].reshape(blocks, n)
    h, c, out = np.zeros(n), np.zeros(n), []

    def s(a):
        return 1 / (1 + np.exp(-a))

    for x_t in x:
        if kind == "LSTM":  # Keras's order i, f, c, o
            i, f, g, o = (W[k] @ x_t + R[k] @ h + bw[k] + br[k] for k in range(4))
            c = s(f) * c + s(i) * np.tanh(g)
            h = s(o) * np.tanh(c)
        else:  # z, r, h
            z, r = (s(W[k] @ x_t + R[k] @ h + bw[k] + br[k]) for k in range(2))
            h = (1 - z) * np.tanh(W[2] @ x_t + bw[2] + r * (R[2] @ h + br[2])) + z * h
        out.append(h)
    return np.array(out)


def arrays_of(rng, kind, inputs, units, *, bias="plain"):
    n = GATES[kind] * units
    shapes = {"plain": (2, n) if kind == "GRU" else (n,), "before": (n,), "cudnn": (2 * n,)}
    out = [0.7 * rng.standard_normal((inputs, n)), 0.7 * rng.standard_normal((units, n))]
    return out if bias is None else [*out, 0.7 * rng.standard_normal(shapes[bias])]


def layer_config(kind, name, units, **settings):
    base = {"name": name, "units": units, "activation": "tanh", "return_sequences": True, "go_backwards": False}
    if kind != "SimpleRNN":
        base["recurrent_activation"] = "sigmoid"
    if kind == "GRU":
        base["reset_after"] = True
    return {"class_name": kind, "config": {**base, **settings}}


def bidirectional(layer, name="bidirectional"):
    return {"class_name": "Bidirectional", "config": {"name": name, "layer": layer, "merge_mode": "concat"}}


def write_keras3(path, layers, weights, *, version="3.3.3", weights_only=False):
    """weights: storage group → arrays, as keras/src/saving/saving_lib.py lays them out."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        for group, arrays in weights.items():
            for index, array in enumerate(arrays):
                h5.create_dataset(f"{group}/vars/{index}", data=array)
        h5.create_dataset("optimizer/vars/0", data=np.zeros((2, 2)))
    if weights_only:
        path.write_bytes(buffer.getvalue())
        return path
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("metadata.json", json.dumps({"keras_version": version}))
        model = {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}
        members.writestr("config.json", json.dumps(model))
        members.writestr("model.weights.h5", buffer.getvalue())
    return path


def write_keras2(path, layers, weights, *, version="2.4.3", weights_only=False, colon=":0"):
    """weights: layer → {weight name: array}, as keras/engine/saving.py writes it."""
    with h5py.File(path, "w") as h5:
        root = h5 if weights_only else h5.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        if version:
            root.attrs["keras_version"] = version.encode()
        if not weights_only:
            model = {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": layers}}
            h5.attrs["model_config"] = json.dumps(model).encode()
            if version:
                h5.attrs["keras_version"] = version.encode()
            h5.create_dataset("optimizer_weights/Adam/kernel:0", data=np.zeros((2, 2)))
        for layer, named in weights.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{name}{colon}".encode() for name in named]
            for name, array in named.items():
                group.create_dataset(f"{name}{colon}", data=array)
    return path


def named(prefix, arrays):
    return dict(zip((f"{prefix}/{role}" for role in ("kernel", "recurrent_kernel", "bias")), arrays, strict=False))


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("bias", ["plain", None])
@pytest.mark.parametrize("act", ["tanh", "relu", "linear"])
def test_keras3(tmp_path, forward, kind, bias, act):
    rng = np.random.default_rng(3)
    arrays = arrays_of(rng, kind, 3, 4, bias=bias)
    storage = {"SimpleRNN": "simple_rnn", "GRU": "gru", "LSTM": "lstm"}[kind]
    layers = [{"class_name": "InputLayer", "config": {"name": "in"}}, layer_config(kind, "core", 4, activation=act)]
    path = write_keras3(tmp_path / "m.keras", layers, {f"layers/{storage}/cell": arrays})
    (w,) = select_layers(read_weights(path))
    x = rng.standard_normal((5, 3))
    np.testing.assert_allclose(
        forward.run(w, x), keras_forward(forward.phi, kind, arrays, x, act=act), rtol=0, atol=ROUNDING
    )
    assert (w.module, w.cell, w.assumptions, w.facts_from["cell"]) == ("core", CELL[kind], (), "configuration")
    assert w.gates_in_file == {"SimpleRNN": ("u",), "GRU": ("z", "r", "h"), "LSTM": ("i", "f", "c", "o")}[kind]


@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize(("version", "meaning"), [("3.3.3", "hard_sigmoid_keras3"), ("2.15.0", "hard_sigmoid")])
def test_hard_sigmoid_means_what_the_version_says(tmp_path, forward, gate, version, meaning):
    rng = np.random.default_rng(4)
    arrays = arrays_of(rng, "LSTM", 3, 4)
    layers = [layer_config("LSTM", "lstm", 4, recurrent_activation=gate)]
    path = write_keras3(tmp_path / "m.keras", layers, {"layers/lstm/cell": arrays}, version=version)
    (w,) = read_weights(path).layers
    used = "sigmoid" if gate == "sigmoid" else meaning
    assert w.gate_activation == used
    x = rng.standard_normal((5, 3))
    wanted = keras_forward(forward.phi, "LSTM", arrays, x, gate=used)
    np.testing.assert_allclose(forward.run(w, x), wanted, rtol=0, atol=ROUNDING)


def test_keras3_storage_follows_class_and_order_not_names(tmp_path):
    rng = np.random.default_rng(5)
    stored = {group: arrays_of(rng, "LSTM", 3, 3) for group in ("layers/lstm/cell", "layers/lstm_1/cell")}
    inner = {"class_name": "Functional", "config": {"name": "tower", "layers": [layer_config("LSTM", "deep", 3)]}}
    stored["layers/functional/layers/lstm/cell"] = arrays_of(rng, "LSTM", 3, 3)
    layers = [layer_config("LSTM", "zeta", 3), layer_config("LSTM", "alpha", 3), inner]
    weights = read_weights(write_keras3(tmp_path / "m.keras", layers, stored))
    for module, group in (
        ("zeta", "layers/lstm/cell"),
        ("alpha", "layers/lstm_1/cell"),
        ("tower/deep", "layers/functional/layers/lstm/cell"),
    ):
        (w,) = select_layers(weights, param=module)
        np.testing.assert_array_equal(w.weight_hh[:3], stored[group][1][:, :3].T)
    assert weights.chains == (("zeta", "alpha"),)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_bidirectional_stack_runs_as_one(tmp_path, forward, kind):
    rng = np.random.default_rng(6)
    storage, units = [], 3
    stored = {}
    for index, width in enumerate((4, 6)):
        name = "bidirectional" + (f"_{index}" if index else "")
        storage.append(name)
        for side in ("forward_layer", "backward_layer"):
            stored[f"layers/{name}/{side}/cell"] = arrays_of(rng, kind, width, units)
    layers = [
        bidirectional(layer_config(kind, "a", units), "low"),
        {"class_name": "Dropout", "config": {"name": "d", "rate": 0.5}},
        bidirectional(layer_config(kind, "b", units), "high"),
    ]
    weights = read_weights(write_keras3(tmp_path / "m.keras", layers, stored))
    stack = select_layers(weights)
    assert any("low → high taken as one stack" in sentence for sentence in stack[0].assumptions)
    assert [w.layer for w in select_layers(weights, layer=1, direction="backward")] == [1]
    assert [(w.module, w.layer) for w in select_layers(weights, param="high", direction="forward")] == [("high", 0)]
    assert [(w.layer, w.direction) for w in stack] == [(n, d) for n in (0, 1) for d in ("forward", "backward")]
    x = rng.standard_normal((5, 4))
    found = wanted = x
    for layer in (0, 1):
        f, b = stack[2 * layer : 2 * layer + 2]
        found = np.hstack([forward.run(f, found), forward.run(b, found)[::-1]])
        f_arrays, b_arrays = (stored[f"layers/{storage[layer]}/{s}_layer/cell"] for s in ("forward", "backward"))
        wanted = np.hstack(
            [
                keras_forward(forward.phi, kind, f_arrays, wanted),
                keras_forward(forward.phi, kind, b_arrays, wanted[::-1])[::-1],
            ]
        )
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ROUNDING)


def test_a_stack_beside_another_module_is_a_question(tmp_path):
    rng = np.random.default_rng(6)
    stored = {f"layers/gru{end}/cell": arrays_of(rng, "GRU", 3, 3) for end in ("", "_1", "_2")}
    between = {"class_name": "Dense", "config": {"name": "dense", "units": 3}}
    layers = [layer_config("GRU", "low_a", 3), layer_config("GRU", "low_b", 3), between, layer_config("GRU", "top", 3)]
    weights = read_weights(write_keras3(tmp_path / "m.keras", layers, stored))
    with pytest.raises(InputError, match=r"param=top .*low_a → low_b as one stack with m\.keras:param=low_\*"):
        select_layers(weights)
    assert [w.layer for w in select_layers(weights, param="low*")] == [0, 1]


def test_layers_with_something_between_are_no_stack(tmp_path):
    rng = np.random.default_rng(6)
    stored = {"layers/gru/cell": arrays_of(rng, "GRU", 3, 3), "layers/gru_1/cell": arrays_of(rng, "GRU", 3, 3)}
    between = {"class_name": "Dense", "config": {"name": "dense", "units": 3}}
    layers = [layer_config("GRU", "a", 3), between, layer_config("GRU", "b", 3)]
    assert read_weights(write_keras3(tmp_path / "m.keras", layers, stored)).chains == ()
    layers = [layer_config("GRU", "a", 3, return_sequences=False), layer_config("GRU", "b", 3)]
    assert read_weights(write_keras3(tmp_path / "m.keras", layers, stored)).chains == ()


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_keras2_with_and_without_configuration(tmp_path, forward, kind, weights_only, both):
    rng = np.random.default_rng(7)
    f_arrays, b_arrays = arrays_of(rng, kind, 3, 4), arrays_of(rng, kind, 3, 4)
    lower = {"SimpleRNN": "simple_rnn", "GRU": "gru", "LSTM": "lstm"}[kind]
    layer = layer_config(kind, lower, 4)
    if both:
        top = "bidirectional_1"
        stored = {top: named(f"{top}/forward_{lower}/{lower}_cell", f_arrays)}
        stored[top] |= named(f"{top}/backward_{lower}/{lower}_cell", b_arrays)
        layer = bidirectional(layer, top)
    else:
        top = lower
        stored = {top: named(f"{top}/{lower}_cell", f_arrays)}
    stored["dense"] = {"dense/kernel": np.ones((4, 2)), "dense/bias": np.ones(2)}
    path = write_keras2(tmp_path / "m.h5", [layer], stored, weights_only=weights_only)
    weights = read_weights(path)
    assert weights.format == "keras2"
    found = select_layers(weights)
    assert [w.direction for w in found] == (["forward", "backward"] if both else ["forward"])
    x = rng.standard_normal((5, 3))
    for w, arrays in zip(found, (f_arrays, b_arrays), strict=False):
        assert w.module == top
        seen = x[::-1] if w.direction == "backward" else x
        wanted = keras_forward(forward.phi, kind, arrays, seen)
        np.testing.assert_allclose(forward.run(w, x), wanted, rtol=0, atol=ROUNDING)
        assert bool(w.assumptions) == weights_only
        if weights_only and kind != "SimpleRNN":
            assert any("gate_activation=hard_sigmoid" in sentence for sentence in w.assumptions)
    assert sorted(weights.other_arrays) == (
        ["dense/dense/bias:0", "dense/dense/kernel:0"]
        if weights_only
        else ["model_weights/dense/dense/bias:0", "model_weights/dense/dense/kernel:0"]
    )


@pytest.mark.parametrize("version", ["2.1.6", "2.2.4", "2.2.4-tf", "2.3.1", ""])
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_cudnn_layout_proves_sigmoid_gates_whatever_the_version(tmp_path, forward, version, kind):
    rng = np.random.default_rng(9)
    arrays = arrays_of(rng, kind, 3, 4, bias="cudnn")
    path = write_keras2(tmp_path / "m.h5", [], {"c": named("c", arrays)}, version=version, weights_only=True)
    (w,) = read_weights(path).layers
    assert (w.gate_activation, w.facts_from["gate_activation"], w.activation) == ("sigmoid", "file", "tanh")
    assert not any("assumed" in sentence for sentence in w.assumptions)
    x = rng.standard_normal((5, 3))
    np.testing.assert_allclose(forward.run(w, x), cudnn_forward(kind, arrays, x), rtol=0, atol=ROUNDING)
    with pytest.raises(InputError, match="gate_activation=hard_sigmoid was asked for, but the file says sigmoid"):
        read_weights(path, gate_activation="hard_sigmoid")


PEEPHOLES = ("input_gate_peephole_weights", "forget_gate_peephole_weights", "output_gate_peephole_weights")
NORMS = ("kernel_norm/gamma", "kernel_norm/beta", "recurrent_norm/gamma", "state_norm/gamma")


@pytest.mark.parametrize("class_name", ["PeepholeLSTMCell", "LayerNormLSTMCell"])
@pytest.mark.parametrize("weights_only", [False, True])
def test_tensors_beside_a_keras2_cell_make_it_a_question(tmp_path, class_name, weights_only):
    """tensorflow-addons: the cell's kernels alone are an lstm that the model is not."""
    rng = np.random.default_rng(10)
    extras = PEEPHOLES if class_name.startswith("Peephole") else NORMS
    arrays, good = arrays_of(rng, "LSTM", 3, 4), arrays_of(rng, "LSTM", 3, 4)
    cell = "rnn/" + ("peephole_lstm_cell" if class_name.startswith("Peephole") else "layer_norm_lstm_cell")
    stored = {"rnn": named(cell, arrays) | {f"{cell}/{name}": np.ones(4) for name in extras}}
    stored["lstm"] = named("lstm/lstm_cell", good)
    settings = {"name": "rnn", "cell": {"class_name": f"Addons>{class_name}", "config": {"units": 4}}}
    layers = [{"class_name": "RNN", "config": settings}, layer_config("LSTM", "lstm", 4)]
    path = write_keras2(tmp_path / "m.h5", layers, stored, weights_only=weights_only)
    weights = read_weights(path)
    said = sorted(extras)[0] if weights_only else class_name
    with pytest.raises(InputError, match=f"module rnn: .*{said}"):
        select_layers(weights, param="rnn")
    (w,) = (
        select_layers(read_weights(path, ignore="*rnn/*norm*", cell="lstm"), param="rnn") if extras is NORMS else (0,)
    )
    assert w == 0 or any("kernels alone" in sentence for sentence in w.assumptions)
    (w,) = select_layers(weights, param="lstm")
    np.testing.assert_array_equal(w.weight_hh[:4], good[1][:, :4].T)
    assert not any(name.startswith("rnn/") for name in weights.other_arrays)  # no head, no embedding


@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parametrize(
    "extra", ["layers/rnn/cell/vars/3", "layers/rnn/cell/state_norm/vars/0", "layers/rnn/cell/projection/vars/0"]
)
def test_variables_beside_a_keras3_cell_make_it_a_question(tmp_path, extra, weights_only):
    rng = np.random.default_rng(10)
    arrays = arrays_of(rng, "LSTM", 3, 4)
    stored = {"layers/rnn/cell": arrays, "layers/lstm/cell": arrays, extra.partition("/vars")[0]: arrays}
    if extra.endswith("3"):
        stored["layers/rnn/cell"] = [*arrays, np.ones(4)]
    else:
        stored[extra.removesuffix("/vars/0")] = [np.ones(4)]
    layers = [
        {"class_name": "RNN", "config": {"name": "rnn", "cell": {"class_name": "LSTMCell", "config": {"units": 4}}}},
        layer_config("LSTM", "lstm", 4),
    ]
    path = write_keras3(tmp_path / "m.weights.h5", layers, stored, weights_only=weights_only)
    if not weights_only:
        path = path.rename(tmp_path / "m.keras")
    with pytest.raises(InputError, match=f"module rnn: '{extra}' stands in its own scope"):
        select_layers(read_weights(path), param="rnn")
    assert len(select_layers(read_weights(path), param="lstm")) == 1
    (w,) = select_layers(read_weights(path, ignore="layers/rnn/cell/*"), param="rnn")
    np.testing.assert_array_equal(w.weight_hh[:4], arrays[1][:, :4].T)
    assert any(f"'{extra}' stands beside the cell and left out" in sentence for sentence in w.assumptions)


def test_the_random_state_of_a_dropout_changes_nothing(tmp_path):
    arrays = arrays_of(np.random.default_rng(1), "LSTM", 3, 4)
    seeds = [np.array([1, 2], dtype="uint32")]
    stored = {"layers/lstm/cell": arrays, "layers/lstm/cell/seed_generator": seeds, "layers/lstm": [np.ones((1, 4))]}
    path = write_keras3(tmp_path / "m.keras", [layer_config("LSTM", "l", 4)], stored)
    assert len(select_layers(read_weights(path))) == 1


def stacked_cells(kinds, units, name="rnn"):
    cells = [{"class_name": f"{kind}Cell", "config": layer_config(kind, "c", units)["config"]} for kind in kinds]
    stacked = {"class_name": "StackedRNNCells", "config": {"name": "stacked_rnn_cells", "cells": cells}}
    return {"class_name": "RNN", "config": {"name": name, "cell": stacked, "return_sequences": True}}


@pytest.mark.parametrize("layout", ["keras2", "keras3"])
def test_stacked_cells_are_a_stack_of_layers(tmp_path, forward, layout):
    """At every step each cell reads what the one below puts out: layer by layer that is the same."""
    rng = np.random.default_rng(11)
    low, high = arrays_of(rng, "GRU", 3, 4), arrays_of(rng, "GRU", 4, 4)
    layers = [stacked_cells(("GRU", "GRU"), 4)]
    if layout == "keras3":
        place = "layers/rnn/cell/cells/gru_cell"
        path = write_keras3(tmp_path / "m.keras", layers, {place: low, f"{place}_1": high})
    else:
        inner = "rnn/stacked_rnn_cells/gru_cell"
        path = write_keras2(tmp_path / "m.h5", layers, {"rnn": named(inner, low) | named(f"{inner}_1", high)})
    found = select_layers(read_weights(path))
    assert [(w.module, w.layer) for w in found] == [("rnn", 0), ("rnn", 1)]
    x = rng.standard_normal((5, 3))
    wanted = keras_forward(forward.phi, "GRU", high, keras_forward(forward.phi, "GRU", low, x))
    np.testing.assert_allclose(forward.run(found[1], forward.run(found[0], x)), wanted, rtol=0, atol=ROUNDING)


def test_a_layer_without_weights_leaves_the_others_reachable(tmp_path):
    arrays = arrays_of(np.random.default_rng(1), "LSTM", 3, 4)
    layers = [layer_config("LSTM", "good", 4), layer_config("GRU", "absent", 4), stacked_cells(("NAS",), 4, "odd")]
    path = write_keras3(tmp_path / "m.keras", layers, {"layers/lstm/cell": arrays})
    weights = read_weights(path)
    assert len(select_layers(weights, param="good")) == 1
    with pytest.raises(InputError, match="no weights at layers/gru/cell"):
        select_layers(weights, param="absent")
    with pytest.raises(InputError, match="its class is NASCell"):
        select_layers(weights, param="odd")


def test_gru_with_a_flat_bias_resets_before(tmp_path, forward):
    rng = np.random.default_rng(8)
    arrays = arrays_of(rng, "GRU", 3, 4, bias="before")
    path = write_keras2(tmp_path / "m.h5", [], {"gru_1": named("gru_1", arrays)}, weights_only=True)
    (w,) = read_weights(path).layers
    assert (w.reset, w.facts_from["reset"]) == ("before", "file")
    x = rng.standard_normal((5, 3))
    wanted = keras_forward(forward.phi, "GRU", arrays, x, reset_after=False)
    np.testing.assert_allclose(forward.run(w, x), wanted, rtol=0, atol=ROUNDING)
    with pytest.raises(InputError, match="reset=after was asked for, but the file says before"):
        read_weights(path, reset="after")


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("weights_only", [False, True])
def test_cudnn_layout(tmp_path, forward, kind, weights_only):
    rng = np.random.default_rng(9)
    arrays = arrays_of(rng, kind, 3, 4, bias="cudnn")
    config = {"class_name": f"CuDNN{kind}", "config": {"name": "c", "units": 4, "return_sequences": True}}
    path = write_keras2(tmp_path / "m.hdf5", [config], {"c": named("c", arrays)}, weights_only=weights_only)
    (w,) = read_weights(path).layers
    x = rng.standard_normal((5, 3))
    np.testing.assert_allclose(forward.run(w, x), cudnn_forward(kind, arrays, x), rtol=0, atol=ROUNDING)
    assert w.gate_activation == "sigmoid"
    plain = read_weights(path).layers[0]
    assert np.abs(plain.weight_hh[:4] - arrays[1][:, :4].T).max() > 0.1  # plain Keras's reading would differ


@pytest.mark.parametrize(
    ("version", "gate"), [("2.2.4", "hard_sigmoid"), ("2.3.1", "sigmoid"), ("2.11.0", "sigmoid"), ("", "sigmoid")]
)
def test_default_gates_of_weights_only_files(tmp_path, version, gate):
    arrays = arrays_of(np.random.default_rng(1), "LSTM", 3, 4)
    stored = {"lstm_1": named("lstm_1", arrays)}
    path = write_keras2(tmp_path / "m.h5", [], stored, version=version, weights_only=True)
    (w,) = read_weights(path).layers
    assert (w.gate_activation, w.facts_from["gate_activation"]) == (gate, "convention")
    assert any("gate_activation=" in sentence for sentence in w.assumptions)
    (w,) = read_weights(path, gate_activation="hard_sigmoid").layers
    assert (w.gate_activation, w.facts_from["gate_activation"]) == ("hard_sigmoid", "key")


def test_early_tf_keras_is_asked_about(tmp_path):
    stored = {"lstm": named("lstm", arrays_of(np.random.default_rng(1), "LSTM", 3, 4))}
    path = write_keras2(tmp_path / "m.h5", [], stored, version="2.2.4-tf", weights_only=True)
    with pytest.raises(InputError, match="gate_activation=sigmoid or gate_activation=hard_sigmoid"):
        read_weights(path)
    assert read_weights(path, gate_activation="sigmoid").layers[0].gate_activation == "sigmoid"


def test_keras3_weights_only(tmp_path, forward):
    rng = np.random.default_rng(2)
    stored = {f"layers/bidirectional/{s}_layer/cell": arrays_of(rng, "GRU", 3, 4) for s in ("forward", "backward")}
    path = write_keras3(tmp_path / "m.weights.h5", [], stored, weights_only=True)
    weights = read_weights(path)
    assert weights.format == "keras3"
    found = select_layers(weights, direction="backward")
    x = rng.standard_normal((5, 3))
    wanted = keras_forward(forward.phi, "GRU", stored["layers/bidirectional/backward_layer/cell"], x[::-1])
    np.testing.assert_allclose(forward.run(found[0], x), wanted, rtol=0, atol=ROUNDING)
    assert any("cell=" in sentence for sentence in found[0].assumptions)


def test_go_backwards_is_the_backward_direction(tmp_path):
    stored = {"layers/lstm/cell": arrays_of(np.random.default_rng(1), "LSTM", 3, 4)}
    path = write_keras3(tmp_path / "m.keras", [layer_config("LSTM", "l", 4, go_backwards=True)], stored)
    assert read_weights(path).layers[0].direction == "backward"


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (layer_config("LSTM", "l", 4, activation="gelu"), "activation is 'gelu'"),
        (layer_config("LSTM", "l", 4, recurrent_activation="tanh"), "recurrent_activation is 'tanh'"),
        (layer_config("LSTM", "l", 5), "says 5 units"),
        ({"class_name": "ConvLSTM2D", "config": {"name": "l"}}, "ConvLSTM2D"),
        (layer_config("GRU", "l", 4), "no weights at layers/gru/cell"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(tmp_path, layer, match):
    group = {"ConvLSTM2D": "conv_lstm2d"}.get(layer["class_name"], "lstm")
    stored = {f"layers/{group}/cell": arrays_of(np.random.default_rng(1), "LSTM", 3, 4)}
    with pytest.raises(InputError, match=match):
        select_layers(read_weights(write_keras3(tmp_path / "m.keras", [layer], stored)), param="l")


def test_a_file_without_recurrence_says_so(tmp_path):
    path = write_keras2(tmp_path / "m.h5", [], {"dense": {"dense/kernel": np.ones((2, 2))}})
    with pytest.raises(InputError, match="should hold a recurrent layer"):
        read_weights(path)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as members:
        members.writestr("config.json", "{}")
    with pytest.raises(InputError, match=r"has no model\.weights\.h5"):
        read_weights(tmp_path / "m.keras")


def test_hdf5_with_pytorch_names(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        h5["rnn/weight_ih_l0"] = np.ones((8, 3))
        h5["rnn/weight_hh_l0"] = np.ones((8, 2))
    (w,) = read_weights(tmp_path / "m.h5").layers
    assert (w.module, w.cell) == ("rnn", "lstm")


def test_values_outside_the_file_are_not_followed(tmp_path):
    (tmp_path / "secret.bin").write_bytes(np.ones(16).tobytes())
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        outside = [(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
        h5.create_dataset("rnn/weight_ih_l0", (4, 4), "f8", external=outside)
        h5["rnn/weight_hh_l0"] = np.eye(4)
        h5["linked"] = h5py.ExternalLink("other.h5", "/weights")
        h5["soft"] = h5py.SoftLink("/nowhere")
    with pytest.raises(InputError, match="keeps its values in another file"):
        read_weights(tmp_path / "m.h5")


def test_a_dataset_of_absurd_size_is_refused_before_allocating(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        for name in ("weight_ih_l0", "weight_hh_l0"):
            h5.create_dataset(f"rnn/{name}", (16_000, 4_000), "f8", chunks=(1000, 1000), compression="gzip")
    with pytest.raises(InputError, match="would take 1024000000 bytes, more than a file of"):
        read_weights(tmp_path / "m.h5")


@pytest.mark.parametrize("size", [0, 8, 1 << 20, 2**64 - 8])
def test_a_global_heap_that_would_stall_the_hdf5_library_is_refused(tmp_path, size):
    """Its free space is given a length of zero: HDF5 would step from it to itself for ever."""
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        h5.attrs["keras_version"] = "2.4.3"
        h5["rnn/weight_ih_l0"] = np.ones((8, 3))
        h5["rnn/weight_hh_l0"] = np.ones((8, 2))
    assert read_weights(tmp_path / "m.h5").layers
    content = bytearray((tmp_path / "m.h5").read_bytes())
    at = content.index(b"GCOL") + 16  # the first object: index, count, reserved, 8 bytes of length
    at += 16 + (int.from_bytes(content[at + 8 : at + 16], "little") + 7) // 8 * 8
    assert content[at : at + 2] == b"\0\0"  # the free space
    content[at + 8 : at + 16] = size.to_bytes(8, "little")
    (tmp_path / "m.h5").write_bytes(content)
    with pytest.raises(InputError, match="global heap"):
        read_weights(tmp_path / "m.h5")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_a_text_of_claimed_length_is_refused_before_the_library_allocates_it(tmp_path, libver, dense, several):
    """Found by fuzzing: HDF5 makes room for the length that a pointer says (960 MB here), then looks the text up."""
    layers = np.array(["lstm", "lstm_1"], object) if several else "lstm_1 and more"
    with h5py.File(tmp_path / "m.h5", "w", libver=libver) as h5:
        h5["lstm/weight_ih_l0"], h5["lstm/weight_hh_l0"] = np.ones((8, 3)), np.ones((8, 2))
        for index in range(20 if dense else 0):
            h5.attrs[f"a{index}"] = index
        h5.attrs["layer_names"] = layers
    assert read_weights(tmp_path / "m.h5").layers
    content = bytearray((tmp_path / "m.h5").read_bytes())
    address = content.index(b"GCOL").to_bytes(8, "little")
    at = content.index(b"layer_names\0")
    at = content.index(address, at) - 4  # length, address, index
    assert int.from_bytes(content[at : at + 4], "little") in (4, 15)
    content[at : at + 4] = b"9999"
    (tmp_path / "m.h5").write_bytes(content)
    assert longest_text_said(io.BytesIO(content), len(content), "layer_names") == 0x39393939
    if libver == "latest":
        return  # its headers have checksums, which are not made right here
    budget = Budget(len(content), file="m.h5")
    with (
        (tmp_path / "m.h5").open("rb") as stream,
        Hdf5File(stream, len(content), budget=budget) as ours,
        pytest.raises(InputError, match="says more of its texts than the file holds"),
    ):
        ours.attribute("layer_names")


def test_missing_h5py_says_what_to_install(tmp_path, monkeypatch):
    import sys

    path = write_keras2(tmp_path / "m.h5", [], {"l": named("l", arrays_of(np.random.default_rng(0), "LSTM", 2, 2))})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"pip install h5py"):
        read_weights(path)


KERAS1_GATES = {"LSTM": "icfo", "GRU": "zrh"}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("consume_less", ["cpu", "gpu"])
@pytest.mark.parametrize("configured", [False, True])
def test_keras1_keeps_an_array_for_each_gate(tmp_path, forward, kind, consume_less, configured):
    """keras 1.2.2: lstm_1_W_i, lstm_1_U_i, lstm_1_b_i, then c, f, o; with consume_less='gpu' W, U, b in i, f, c, o."""
    rng = np.random.default_rng(12)
    arrays = arrays_of(rng, kind, 3, 4, bias="before")
    order = {"LSTM": "ifco", "GRU": "zrh"}.get(kind)
    stored = {}
    for letter, array in zip("WUb", arrays, strict=True):
        if order is None or consume_less == "gpu":
            stored[f"l_1_{letter}"] = array
        else:
            blocks = dict(zip(order, np.split(array, len(order), axis=-1), strict=True))
            stored |= {f"l_1_{letter}_{gate}": blocks[gate] for gate in KERAS1_GATES[kind]}
    config = {"name": "l_1", "output_dim": 4, "activation": "tanh", "inner_activation": "sigmoid"}
    layers = [{"class_name": kind, "config": config}]
    path = write_keras2(
        tmp_path / "m.h5", layers, {"l_1": stored}, version="1.2.2", weights_only=not configured, colon=""
    )
    weights = read_weights(path)
    (w,) = select_layers(weights)
    gate = "sigmoid" if configured or kind == "SimpleRNN" else "hard_sigmoid"
    assert (w.module, w.cell, w.gate_activation) == ("l_1", CELL[kind], gate)
    assert (w.reset, len(w.parameters)) == ("before" if kind == "GRU" else None, len(stored))
    assert not weights.other_arrays
    x = rng.standard_normal((5, 3))
    wanted = keras_forward(forward.phi, kind, arrays, x, gate=gate, reset_after=False)
    np.testing.assert_allclose(forward.run(w, x), wanted, rtol=0, atol=ROUNDING)


def test_keras1_arrays_that_do_not_fit_are_no_layer(tmp_path):
    stored = {f"l_1_{letter}_{gate}": np.ones((4, 4 + (gate == "f"))) for letter in "WUb" for gate in "icfo"}
    with pytest.raises(InputError, match="should hold a recurrent layer"):
        read_weights(write_keras2(tmp_path / "m.h5", [], {"l_1": stored}, version="1.2.2", colon=""))
