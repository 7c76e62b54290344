"""Write the example: weights in several formats, checkpoints, tokens, inputs, target, Jacobians, stored results."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gradscope.errors import InputError
from gradscope.example.language_model import step_jacobians
from gradscope.example.training import CHECKPOINTS, Trained, held_out, train
from gradscope.example.weights_files import write_keras, write_onnx, write_safetensors, write_state_dict

#: Formats whose reader needs a library, by that library.
OPTIONAL = {"model.keras": "h5py", "model.onnx": "onnx"}
#: File → what it holds, in the order in which a person meets them.
FILES = {
    "model.safetensors": "embedding (27, 8), lstm 'rnn' of 16 units, head (27, 16)",
    "model.pt": "the same as a PyTorch state dict",
    "model.keras": "the same as a Keras 3 model",
    "model.onnx": "the same as an ONNX model",
    "tokens.npy": "8 windows of 60 letters that training never saw: 0 blank, 1 a, … 26 z",
    "target.npy": "the letter after each window",
    "features.npy": "what the rnn reads there, (8, 60, 8): the embedded letters",
    "jacobians.npy": "∂[h; c]_t/∂[h; c]_(t−1) along the first window, (60, 32, 32)",
    **{f"run/step-{step:03}.safetensors": f"the weights after {step} training steps" for step in CHECKPOINTS},
    "base.json": "what gradients measured on the untrained weights",
    "new.json": "the same on the trained ones",
    "result.json": "the same once more",
}


def write_example(folder: Path) -> tuple[Trained, dict[str, str]]:
    """Train the example and write its files; what was there is never overwritten.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Returns
    -------
    tuple of (Trained, dict)
        What was learnt; files written (in the order of :data:`FILES`) and those left out, with what each holds or
        which library it needs.

    Raises
    ------
    InputError
        A file of such a name is there already, or the folder cannot be written.
    """
    told = {
        name: f"left out: needs {OPTIONAL[name]} (pip install {OPTIONAL[name]})"
        if name in OPTIONAL and find_spec(OPTIONAL[name]) is None
        else meaning
        for name, meaning in FILES.items()
    }
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise InputError(f"{folder}: {there[0]} is there already, and nothing is overwritten.\nName another folder.")
    try:
        (folder / "run").mkdir(parents=True, exist_ok=True)
        return _written(folder, told), told
    except OSError as problem:
        raise InputError(f"{folder}: cannot write there ({problem.strerror}).") from None


def _written(folder: Path, told: dict[str, str]) -> Trained:
    trained = train()
    windows = held_out()
    features = trained.model["embedding.weight"][windows[:, :-1]].astype(np.float32)
    np.save(folder / "tokens.npy", windows[:, :-1])
    np.save(folder / "target.npy", windows[:, -1])
    np.save(folder / "features.npy", features)
    np.save(folder / "jacobians.npy", step_jacobians(trained.model, features[0]).astype(np.float32))
    for step, arrays in trained.checkpoints.items():
        write_safetensors(folder / f"run/step-{step:03}.safetensors", arrays)
    writers = {
        "model.safetensors": write_safetensors,
        "model.pt": write_state_dict,
        "model.keras": write_keras,
        "model.onnx": write_onnx,
    }
    for name, write in writers.items():
        if not told[name].startswith("left out"):
            write(folder / name, trained.model)
    _measure(folder)
    return trained


def _measure(folder: Path) -> None:
    """Results for ``show`` and ``diff``, of the weights as they lie in the files."""
    from gradscope.measuring import gradients

    inputs = np.load(folder / "features.npy")
    first, last = min(CHECKPOINTS), max(CHECKPOINTS)
    for name, step in (("base.json", first), ("new.json", last), ("result.json", last)):
        report = gradients(
            folder / f"run/step-{step:03}.safetensors",
            inputs=inputs,
            command=("gradients", f"run/step-{step:03}.safetensors", "--inputs", "features.npy"),
        )
        report.save(folder / name)
