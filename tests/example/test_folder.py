"""``gradscope example DIR``: its files are one model, whole and readable, and nothing is overwritten."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import gradscope
from gradscope.cli import run
from gradscope.example import folder
from gradscope.example.folder import FILES, write_example


def digests(where: Path) -> dict[str, str]:
    return {
        str(path.relative_to(where)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(where.rglob("*"))
        if path.is_file()
    }


def test_every_file_is_there_and_the_same_model(example_folder: Path):
    assert set(digests(example_folder)) == set(FILES)
    inputs = example_folder / "features.npy"
    rates = {
        gradscope.gradients(example_folder / f"model.{suffix}", inputs=str(inputs)).results[0].summary["log10_rate"]
        for suffix in ("safetensors", "pt", "keras", "onnx")
    }
    assert max(rates) - min(rates) < 1e-12
    by_tokens = gradscope.gradients(example_folder / "model.pt", tokens=str(example_folder / "tokens.npy"))
    assert by_tokens.results[0].summary["log10_rate"] == pytest.approx(min(rates), abs=1e-12)


def test_safetensors_are_read_by_their_own_library(example_folder: Path):
    numpy = pytest.importorskip("safetensors.numpy")
    found = numpy.load_file(example_folder / "model.safetensors")
    assert {name: value.shape for name, value in found.items()}["rnn.weight_hh_l0"] == (64, 16)


@pytest.mark.torch
def test_the_state_dict_is_read_by_torch_and_gives_its_loss(example_folder: Path):
    torch = pytest.importorskip("torch")
    found = torch.load(example_folder / "model.pt", weights_only=True)
    embedding, rnn, head = torch.nn.Embedding(27, 8), torch.nn.LSTM(8, 16, batch_first=True), torch.nn.Linear(16, 27)
    model = torch.nn.ModuleDict({"embedding": embedding, "rnn": rnn, "head": head})
    model.load_state_dict(found)
    tokens, target = (torch.tensor(np.load(example_folder / f"{name}.npy")) for name in ("tokens", "target"))
    loss = torch.nn.functional.cross_entropy(head(rnn(embedding(tokens))[0][:, -1]), target)
    assert float(loss.detach()) == pytest.approx(1.9475, abs=1e-3)


def test_the_command_says_what_it_wrote_and_overwrites_nothing(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["example", "demo"]) == 0
    out = capsys.readouterr().out
    assert "3.33 → 2.04 nats a letter" in out
    assert all(name in out for name in FILES)
    before = digests(tmp_path)
    assert run(["example", "demo"]) == 3
    assert "is there already" in capsys.readouterr().err
    assert digests(tmp_path) == before
    assert run(["example"]) == 2
    (tmp_path / "file").touch()
    assert run(["example", "file"]) == 3
    assert "cannot write" in capsys.readouterr().err


def test_a_format_that_could_not_be_read_is_left_out(tmp_path: Path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(folder, "find_spec", lambda name: None if name == "h5py" else real(name))
    _, told = write_example(tmp_path)
    assert told["model.keras"] == "left out: needs h5py (pip install h5py)"
    assert not (tmp_path / "model.keras").exists()
    assert (tmp_path / "model.onnx").exists()
