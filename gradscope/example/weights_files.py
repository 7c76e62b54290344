"""Weights in the formats that people bring, written without the libraries that usually write them."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np

from gradscope.example.language_model import Arrays

#: Files must not hold the time they were made at: the same weights are the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_safetensors(path: Path, arrays: Arrays) -> None:
    """A header of names, types, shapes and places, then the values, as float32."""
    header: dict[str, dict[str, object]] = {}
    values, at = [], 0
    for name, value in arrays.items():
        values.append(_little(value))
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + len(values[-1])]}
        at += len(values[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(values))


def write_state_dict(path: Path, arrays: Arrays) -> None:
    """What ``torch.save(model.state_dict(), path)`` writes: a zip of one pickle and the storages it points to."""
    with zipfile.ZipFile(path, "w") as members:
        _member(members, "archive/data.pkl", _pickled(arrays))
        _member(members, "archive/byteorder", b"little")
        for place, value in enumerate(arrays.values()):
            _member(members, f"archive/data/{place}", _little(value))
        _member(members, "archive/version", b"3\n")


def _pickled(arrays: Arrays) -> bytes:
    """The pickle of names and tensors, opcode by opcode, since the classes it names are torch's."""
    out = [b"\x80\x02}("]
    for place, (name, value) in enumerate(arrays.items()):
        storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(place)) + _text("cpu")
        strides = [step // value.itemsize for step in np.ascontiguousarray(value).strides]
        out += [
            _text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            storage[1:] + _whole(value.size) + b"tQ",
            _whole(0),
            b"(" + b"".join(map(_whole, value.shape)) + b"t",
            b"(" + b"".join(map(_whole, strides)) + b"t",
            b"\x89ccollections\nOrderedDict\n)RtR",
        ]
    return b"".join([*out, b"u."])


def _text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def _whole(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _member(members: zipfile.ZipFile, name: str, content: bytes) -> None:
    members.writestr(zipfile.ZipInfo(name, _DATE), content)


def _little(value: np.ndarray) -> bytes:
    return np.ascontiguousarray(value, dtype="<f4").tobytes()


def write_keras(path: Path, arrays: Arrays) -> None:
    """A Keras 3 model of embedding, lstm and dense layer; needs h5py, as reading it does."""
    import io

    import h5py

    symbols, width = arrays["embedding.weight"].shape
    hidden = arrays["rnn.weight_hh_l0"].shape[1]
    layers = [
        {"class_name": "InputLayer", "config": {"name": "tokens", "batch_shape": [None, None], "dtype": "int32"}},
        _keras_layer("Embedding", "embedding", input_dim=symbols, output_dim=width),
        _keras_layer("LSTM", "rnn", units=hidden, activation="tanh", recurrent_activation="sigmoid", use_bias=True),
        _keras_layer("Dense", "head", units=symbols, activation="linear", use_bias=True),
    ]
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "letters", "layers": layers}}
    gates = (arrays["rnn.weight_ih_l0"].T, arrays["rnn.weight_hh_l0"].T, arrays["rnn.bias_ih_l0"])
    both = (*gates[:2], gates[2] + arrays["rnn.bias_hh_l0"])
    stored = {
        "layers/embedding/vars": (arrays["embedding.weight"],),
        "layers/lstm/cell/vars": both,
        "layers/dense/vars": (arrays["head.weight"].T, arrays["head.bias"]),
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for group, values in stored.items():
            for place, value in enumerate(values):
                file.create_dataset(f"{group}/{place}", data=np.ascontiguousarray(value, dtype="<f4"))
    with zipfile.ZipFile(path, "w") as members:
        _member(members, "metadata.json", json.dumps({"keras_version": "3.3.3"}).encode())
        _member(members, "config.json", json.dumps(config).encode())
        _member(members, "model.weights.h5", buffer.getvalue())


def _keras_layer(kind: str, name: str, **settings: object) -> dict[str, object]:
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **settings}}


def write_onnx(path: Path, arrays: Arrays) -> None:
    """tokens (T, batch) → Gather → LSTM → MatMul, Add; needs onnx, as reading it does."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    symbols = len(arrays["embedding.weight"])
    hidden = arrays["rnn.weight_hh_l0"].shape[1]
    values = {
        "embedding.weight": arrays["embedding.weight"],
        "W": _iofc(arrays["rnn.weight_ih_l0"])[None],
        "R": _iofc(arrays["rnn.weight_hh_l0"])[None],
        "B": np.concatenate([_iofc(arrays["rnn.bias_ih_l0"]), _iofc(arrays["rnn.bias_hh_l0"])])[None],
        "head.weight": arrays["head.weight"].T,
        "head.bias": arrays["head.bias"],
    }
    held = [numpy_helper.from_array(np.ascontiguousarray(value, dtype="<f4"), name) for name, value in values.items()]
    held.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "direction"))
    nodes = [
        helper.make_node("Gather", ["embedding.weight", "tokens"], ["x"], name="embedding", axis=0),
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["states"], name="rnn", hidden_size=hidden),
        helper.make_node("Squeeze", ["states", "direction"], ["h"], name="squeeze"),
        helper.make_node("MatMul", ["h", "head.weight"], ["a"], name="head"),
        helper.make_node("Add", ["a", "head.bias"], ["y"], name="bias"),
    ]
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["T", "batch"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", "batch", symbols])
    model = helper.make_model(
        helper.make_graph(nodes, "letters", [tokens], [y], held),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="gradscope example",
    )
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _iofc(stacked: np.ndarray) -> np.ndarray:
    """Gates from PyTorch's order (i, f, g, o) to that of ONNX (i, o, f, g)."""
    i, f, g, o = np.split(stacked, 4)
    return np.concatenate([i, o, f, g])
