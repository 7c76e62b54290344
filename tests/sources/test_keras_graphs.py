"""What a Keras configuration says beyond single layers: functional graphs, masks, start states, forged sizes."""

from __future__ import annotations

import io
import json
import re
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.sources.files import read_weights, select_layers

h5py = pytest.importorskip("h5py")


def lstm(name, **settings):
    config = {"name": name, "units": 4, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": False}
    return {"class_name": "LSTM", "config": {**config, "return_sequences": True, **settings}}


def other(class_name, name, **settings):
    return {"class_name": class_name, "config": {"name": name, **settings}}


def keras2_call(layer, *reads, **kwargs):
    return {**layer, "name": layer["config"]["name"], "inbound_nodes": [[[r, 0, 0, kwargs] for r in reads]]}


def tensor(name):
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, None, 4], "keras_history": [name, 0, 0]}}


def keras3_call(layer, *reads, **kwargs):
    node = {"args": [tensor(name) for name in reads], "kwargs": {k: [tensor(n) for n in v] for k, v in kwargs.items()}}
    return {**layer, "name": layer["config"]["name"], "inbound_nodes": [node]}


CALL = {2: keras2_call, 3: keras3_call}


def write(path, layers, *, kind="Functional", version="3.3.3"):
    """A .keras file with random lstm weights for every lstm layer, each 4 → 4."""
    rng, buffer, n = np.random.default_rng(0), io.BytesIO(), 0
    with h5py.File(buffer, "w") as h5:
        for layer in layers[:10]:
            if layer.get("class_name") == "LSTM":
                place = f"layers/lstm{f'_{n}' if n else ''}/cell/vars"
                h5[f"{place}/0"], h5[f"{place}/1"] = rng.standard_normal((2, 4, 16))
                n += 1
        h5.create_dataset("layers/dense/vars/0", data=np.ones((4, 2)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("metadata.json", json.dumps({"keras_version": version}))
        model = {"class_name": kind, "config": {"name": "m", "layers": layers}}
        members.writestr("config.json", json.dumps(model))
        members.writestr("model.weights.h5", buffer.getvalue())
    return path


@pytest.mark.parametrize("keras", [2, 3])
@pytest.mark.parametrize("between", ["nothing", "Dropout", "Dense", "last step", "residual"])
def test_a_functional_model_proves_its_stacks(tmp_path, keras, between):
    call = CALL[keras]
    layers = [
        call(other("InputLayer", "x")),
        call(lstm("low", return_sequences=between != "last step"), "x"),
        call(other("Dropout", "drop"), "low"),
        call(other("Dense", "dense"), "low"),
        call(other("Add", "sum"), "x", "low"),
        call(lstm("high"), {"Dropout": "drop", "Dense": "dense", "residual": "sum"}.get(between, "low")),
        call(other("Dense", "head"), "high"),
    ]
    layers[0]["inbound_nodes"] = []
    weights = read_weights(write(tmp_path / "m.keras", layers))
    proved = between in ("nothing", "Dropout")
    assert weights.chains == ((("low", "high"),) if proved else ())
    if proved:
        assert [w.layer for w in select_layers(weights)] == [0, 1]
    else:
        with pytest.raises(InputError, match="several recurrent modules"):
            select_layers(weights)


def test_a_layer_that_is_used_twice_has_no_place_in_a_stack(tmp_path):
    high = keras2_call(lstm("high"), "low")
    high["inbound_nodes"] *= 2
    layers = [keras2_call(lstm("low"), "x"), high]
    assert read_weights(write(tmp_path / "m.keras", layers)).chains == ()
    two = [keras2_call(lstm("low"), "x"), keras2_call(lstm("left"), "low"), keras2_call(lstm("right"), "low")]
    assert read_weights(write(tmp_path / "m.keras", two)).chains == ()


@pytest.mark.parametrize("kind", ["Sequential", "Functional"])
@pytest.mark.parametrize(
    ("maker", "said"),
    [
        (other("Masking", "gone", mask_value=-1.0), r"'gone' \(Masking: steps whose inputs are all -1\)"),
        (other("Embedding", "gone", mask_zero=True), r"'gone' \(Embedding with mask_zero: steps whose token is 0\)"),
    ],
)
def test_a_mask_is_never_silent(tmp_path, kind, maker, said):
    """Through a dropout and a first layer that returns sequences the mask goes on; past a convolution it does not."""
    layers = [maker, other("Dropout", "d"), lstm("low"), lstm("high"), other("Conv1D", "conv"), lstm("after")]
    if kind == "Functional":
        names = ["x", *(layer["config"]["name"] for layer in layers)]
        layers = [keras3_call(layer, below) for layer, below in zip(layers, names, strict=False)]
    weights = read_weights(write(tmp_path / "m.keras", layers, kind=kind))
    for module in ("low", "high"):
        (w,) = select_layers(weights, param=module)
        (warning,) = w.assumptions
        assert re.match(f"{module}: a mask from {said} reaches it", warning)
    (w,) = select_layers(weights, param="after")
    assert w.assumptions == ()


def test_without_a_mask_nothing_is_said(tmp_path):
    layers = [other("Embedding", "e", mask_zero=False), lstm("low", return_sequences=False), lstm("high")]
    weights = read_weights(write(tmp_path / "m.keras", layers, kind="Sequential"))
    assert {w.assumptions for w in weights.layers} == {()}


@pytest.mark.parametrize("keras", [2, 3])
def test_a_start_state_from_elsewhere_is_named(tmp_path, keras):
    encoder, decoder = lstm("encoder", return_state=True, stateful=True), lstm("decoder")
    call = CALL[keras]
    call_decoder = call(decoder, "y", "encoder") if keras == 2 else call(decoder, "y", initial_state=["encoder"])
    layers = [call(other("InputLayer", "x")), call(encoder, "x"), call(other("InputLayer", "y")), call_decoder]
    weights = read_weights(write(tmp_path / "m.keras", layers))
    said = {w.module: w.assumptions for w in weights.layers}
    assert "starts it from what 'encoder' gives" in said["decoder"][0]
    assert "stateful" in said["encoder"][0]
    assert weights.chains == ()


def test_a_mask_given_by_name(tmp_path):
    layers = [keras3_call(lstm("l"), "x", mask=["padding"])]
    (w,) = read_weights(write(tmp_path / "m.keras", layers)).layers
    assert "a mask from 'padding' (given as mask=) reaches it" in w.assumptions[0]


def forged(kind):
    """Configurations whose sizes multiply; none of them is what Keras writes."""
    if kind == "class name of 60 MB":
        return [other("A" * (60 << 20), "x")]
    if kind == "1 MB layer name above 8,000 layers":
        return [
            {**other("Sequential", "n" * (1 << 20)), "config": {"name": "n" * (1 << 20), "layers": [lstm("l")] * 8000}}
        ]
    if kind == "1 MB class name, 8,000 layers":
        return [{"class_name": "RNN" + "n" * (1 << 20), "config": {"name": f"l{i}"}} for i in range(60)]
    if kind == "names add up":
        layers = [lstm("l" * 500)] * 900
        for depth in range(12):
            layers = [{"class_name": "Sequential", "config": {"name": f"{depth}" * 300, "layers": layers}}]
        return layers
    return [lstm(f"l{i}") for i in range(60_000)]


@pytest.mark.parametrize(
    "kind",
    [
        "class name of 60 MB",
        "1 MB layer name above 8,000 layers",
        "1 MB class name, 8,000 layers",
        "names add up",
        "60,000 chained lstm",
    ],
)
@pytest.mark.parametrize("place", ["keras", "h5"])
def test_forged_configurations_end_soon(tmp_path, kind, place):
    path = write(tmp_path / "m.keras", forged(kind), kind="Sequential")
    if place == "h5":
        with zipfile.ZipFile(path) as members:
            text = members.read("config.json")
        path = tmp_path / "m.h5"
        with h5py.File(path, "w", track_order=True, libver="latest") as h5:
            h5["l/l/kernel:0"] = h5["l/l/recurrent_kernel:0"] = np.ones((4, 16))
            h5.attrs["model_config"] = text
    begin = time.process_time()
    tracemalloc.start()
    with pytest.raises(InputError) as said:
        read_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(said.value)) < 1000
    assert peak < 200 << 20
    assert time.process_time() - begin < 5  # tracing costs several times what reading does


@pytest.mark.parametrize(
    ("mode", "said"), [("sum", "adds"), ("mul", "multiplies"), ("ave", "averages"), (None, "one by")]
)
def test_directions_that_are_not_put_side_by_side_are_said(tmp_path, mode, said):
    """A head after merge_mode=sum has the width of one direction: no number may be about it in silence."""
    inner = lstm("inner")
    wrapper = {"class_name": "Bidirectional", "config": {"name": "both", "layer": inner, "merge_mode": mode}}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        for side in ("forward", "backward"):
            place = f"layers/bidirectional/{side}_layer/cell/vars"
            h5[f"{place}/0"], h5[f"{place}/1"] = np.random.default_rng(1).standard_normal((2, 4, 16))
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as members:
        members.writestr("metadata.json", json.dumps({"keras_version": "3.3.3"}))
        model = {"class_name": "Sequential", "config": {"name": "m", "layers": [wrapper]}}
        members.writestr("config.json", json.dumps(model))
        members.writestr("model.weights.h5", buffer.getvalue())
    layers = read_weights(tmp_path / "m.keras").layers
    assert len(layers) == 2
    for layer in layers:
        assert any(said in sentence and "merge_mode" in sentence for sentence in layer.assumptions)
