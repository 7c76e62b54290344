"""Stacks whose layers differ (both directions below one, an lstm below a gru), read from a file that proves them."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

import gradscope
from gradscope.sources.files import read_weights, select_layers

h5py = pytest.importorskip("h5py")
H, WIDTH, T = 3, 2, 6
GATES = {"GRU": 3, "LSTM": 4}


def write(path, kinds):
    """A sequential .keras model of ``LSTM``, ``GRU`` and ``Bi`` + either, random weights."""
    rng, buffer, layers, width = np.random.default_rng(0), io.BytesIO(), [], WIDTH
    with h5py.File(buffer, "w") as h5:
        for index, kind in enumerate(kinds):
            name, both = kind.removeprefix("Bi"), kind.startswith("Bi")
            config = {"name": f"l{index}", "units": H, "return_sequences": index + 1 < len(kinds), "use_bias": False}
            config |= {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True}
            layer = {"class_name": name, "config": config}
            group = "bidirectional" if both else name.lower()
            n = [k.startswith("Bi") or k for k in kinds[:index]].count(both or kind)
            place = f"layers/{group}{f'_{n}' if n else ''}"
            for side in ("/forward_layer", "/backward_layer") if both else ("",):
                for j, rows in enumerate((width, H)):
                    h5[f"{place}{side}/cell/vars/{j}"] = 0.6 * rng.standard_normal((rows, GATES[name] * H))
            layers.append(
                {"class_name": "Bidirectional", "config": {"name": f"b{index}", "layer": layer}} if both else layer
            )
            width = H * (1 + both)
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
        members.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}}))
        members.writestr("model.weights.h5", buffer.getvalue())
    return path


@pytest.mark.parametrize("kinds", [("BiLSTM", "LSTM"), ("BiGRU", "LSTM"), ("LSTM", "BiGRU"), ("BiLSTM", "GRU", "LSTM")])
def test_every_layer_is_driven_by_what_the_one_below_puts_out(tmp_path, forward, kinds):
    """One result for each layer and direction, the same as of that module alone on those inputs."""
    path = write(tmp_path / "m.keras", kinds)
    layers = select_layers(read_weights(path))
    x = np.random.default_rng(1).standard_normal((T, WIDTH))
    np.save(tmp_path / "x.npy", x)
    results = gradscope.gradients(str(path), inputs=str(tmp_path / "x.npy"), loss="none").results
    assert [(r.source["layer"], r.source["direction"], r.source["cell"]) for r in results] == [
        (w.layer, w.direction, w.cell) for w in layers
    ]
    for number in range(len(kinds)):
        np.save(tmp_path / "x.npy", x)
        here = [w for w in layers if w.layer == number]
        for w in here:
            alone = f"{path}:param={w.module}"
            key = f",direction={w.direction}" if len(here) == 2 else ""
            (wanted,) = gradscope.gradients(f"{alone}{key}", inputs=str(tmp_path / "x.npy"), loss="none").results
            found = next(r for r in results if (r.source["layer"], r.source["direction"]) == (number, w.direction))
            np.testing.assert_allclose(
                np.array(found.columns["log10_norm"]), np.array(wanted.columns["log10_norm"]), rtol=0, atol=1e-10
            )
        parts = [forward.run(w, x) for w in here]
        x = np.hstack([parts[0], parts[1][::-1]]) if len(parts) == 2 else parts[0]


@pytest.mark.parametrize("kinds", [("LSTM", "GRU"), ("GRU", "LSTM"), ("GRU", "LSTM", "GRU")])
def test_cells_of_two_kinds_are_one_stack(tmp_path, kinds):
    """Its state is all layers' states: the norm of ∂s_T/∂s_0 against central differences of a run of our own."""
    path = write(tmp_path / "m.keras", kinds)
    layers = select_layers(read_weights(path))
    x = np.random.default_rng(1).standard_normal((T, WIDTH))
    np.save(tmp_path / "x.npy", x)
    (result,) = gradscope.gradients(str(path), inputs=str(tmp_path / "x.npy"), loss="none").results
    sizes = [H * (2 if w.cell == "lstm" else 1) for w in layers]
    assert result.source["state_size"] == sum(sizes)

    def last(state):
        parts = np.split(state, np.cumsum(sizes)[:-1])
        for x_t in x:
            below = x_t
            for i, w in enumerate(layers):
                parts[i] = step(w, parts[i], below)
                below = parts[i][:H]
        return np.concatenate(parts)

    eps, n = 1e-6, sum(sizes)
    jacobian = np.array([(last(eps * e) - last(-eps * e)) / (2 * eps) for e in np.eye(n)]).T
    wanted = np.log10(np.linalg.norm(jacobian, 2))
    assert result.columns["log10_norm"][T] == pytest.approx(wanted, abs=1e-7)  # eps² and rounding/eps, both 1e-10


def sigma(a):
    return 1 / (1 + np.exp(-a))


def step(w, state, x):
    """One step of an lstm (i, f, g, o) or a gru (r, z, n) without biases."""
    h = state[:H]
    if w.cell == "lstm":
        i, f, g, o = np.split(w.weight_ih @ x + w.weight_hh @ h, 4)
        c = sigma(f) * state[H:] + sigma(i) * np.tanh(g)
        return np.concatenate([sigma(o) * np.tanh(c), c])
    a, b = np.split(w.weight_ih @ x, 3), np.split(w.weight_hh @ h, 3)
    r, z = sigma(a[0] + b[0]), sigma(a[1] + b[1])
    return (1 - z) * np.tanh(a[2] + r * b[2]) + z * h
