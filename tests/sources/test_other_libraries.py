"""Files that Keras and torch themselves wrote, where they are installed: what the library computes, layer by layer."""

from __future__ import annotations

import os

import numpy as np
import pytest

from gradscope.sources.files import read_weights, select_layers

# float32 inside Keras, a handful of steps of O(1); float64 in torch.
SINGLE, DOUBLE = 1e-6, 1e-13


def through(forward, layers, x):
    """Run layers as a stack: each fed by all directions of the one below, in the order of time."""
    for number in sorted({layer.layer for layer in layers}):
        here = [layer for layer in layers if layer.layer == number]
        x = np.hstack([forward.run(w, x)[:: 1 if w.direction == "forward" else -1] for w in here])
    return x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("settings", [{}, {"use_bias": False}, {"activation": "relu"}, {"dropout": 0.2}])
def test_keras(tmp_path, forward, suffix, kind, both, settings):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    layers = [keras.Input((6, 3))]
    for index in range(2):
        layer = getattr(keras.layers, kind)(4 + index, return_sequences=True, name=f"part{index}", **settings)
        layers.append(keras.layers.Bidirectional(layer, name=f"pair{index}") if both else layer)
    model = keras.Sequential(layers)
    rng = np.random.default_rng(0)
    model.set_weights([0.5 * rng.standard_normal(w.shape) for w in model.get_weights()])
    path = tmp_path / f"m{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    keys = {} if suffix != ".weights.h5" else {"activation": settings.get("activation", "tanh")}
    weights = read_weights(path, **keys)
    x = rng.standard_normal((6, 3))
    wanted = np.asarray(keras.ops.convert_to_numpy(model(x[None].astype("f4"), training=False)))[0]
    if suffix == ".weights.h5":  # names alone do not prove a stack
        modules = sorted({w.module for w in weights.layers}, key=lambda name: (name.count("_"), name))
        for module in modules if kind != "SimpleRNN" or both else ("simple_rnn", "simple_rnn_1"):
            x = through(forward, select_layers(weights, param=module), x)
    else:
        x = through(forward, select_layers(weights), x)
    np.testing.assert_allclose(x, wanted, rtol=0, atol=SINGLE * max(1.0, np.abs(wanted).max()))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_torch_exported_to_onnx(tmp_path, forward, cell, layers, both):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    net = getattr(torch.nn, cell)(3, 4, num_layers=layers, bidirectional=both, batch_first=True).double().eval()
    x = torch.randn(1, 6, 3, dtype=torch.float64)
    torch.onnx.export(net, (x,), str(tmp_path / "m.onnx"), dynamo=False)
    found = select_layers(read_weights(tmp_path / "m.onnx"))
    assert len({w.layer for w in found}) == layers
    wanted = net(x)[0][0].detach().numpy()
    np.testing.assert_allclose(through(forward, found, x[0].numpy()), wanted, rtol=0, atol=DOUBLE)
