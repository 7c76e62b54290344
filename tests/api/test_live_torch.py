"""Real torch: a live model gives the bytes of its state dict, of the .npz and of the .pt it would be saved to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


class LanguageModel(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 6)
        self.lstm = torch.nn.LSTM(6, 5, num_layers=2, batch_first=True)
        self.head = torch.nn.Linear(5, 20)


class Forecaster(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(3, 6)
        self.out = torch.nn.Linear(6, 2)


class Classifier(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = torch.nn.LSTM(3, 4, bidirectional=True)
        self.fc = torch.nn.Linear(8, 3)


def measured(report: gradscope.Report) -> str:
    return json.dumps([[r.to_dict()["rows"], r.to_dict()["summary"]] for r in report.results])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LanguageModel, {"inputs": torch.arange(12) % 20, "target": torch.tensor(7)}),
        (LanguageModel, {"tokens": [[1, 2, 3, 4], [5, 6, 7, 8]], "loss_at": "all"}),
        (Forecaster, {"inputs": torch.linspace(-1, 1, 45).reshape(15, 3), "loss": "mse", "target": torch.ones(2)}),
        (Classifier, {"inputs": torch.sin(torch.arange(72.0)).reshape(2, 12, 3), "target": torch.tensor([0, 2])}),
    ],
    ids=["tokens", "batch of tokens", "forecaster", "classifier"],
)
def test_live_and_saved_are_the_same_bytes(kind: Any, options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = kind()
    state = model.state_dict()
    torch.save(state, tmp_path / "w.pt")
    np.savez(tmp_path / "w.npz", **{name: value.numpy() for name, value in state.items()})
    live = gradscope.gradients(model, **options)
    assert live.results[0].settings["readout"] is not None
    for other in (state, tmp_path / "w.pt", tmp_path / "w.npz", torch.nn.DataParallel(model)):
        assert measured(gradscope.gradients(other, **options)) == measured(live)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_tensors_of_every_kind() -> None:
    torch.manual_seed(0)
    model = torch.nn.LSTM(3, 4)
    short = gradscope.inspect(model.bfloat16())
    assert short.results[0].rows[0]["dtype"] == "bfloat16"
    exact = {name: value.double() for name, value in model.state_dict().items()}
    assert measured(gradscope.gradients(model, steps=9)) == measured(gradscope.gradients(exact, steps=9))
    x = torch.randn(9, 3, requires_grad=True)
    assert measured(gradscope.gradients(exact, inputs=x)) == measured(
        gradscope.gradients(exact, inputs=x.detach().numpy())
    )
    with pytest.raises(InputError, match="cannot be read as an array"):
        gradscope.gradients(torch.nn.LSTM(3, 4, device="meta"))
    with pytest.raises(InputError, match=r'pick one, as in \(model, "param=a"\)'):
        gradscope.gradients(torch.nn.ModuleDict({"a": torch.nn.GRU(2, 3), "b": torch.nn.RNN(2, 3)}))


def test_relu_is_said_by_the_module_and_a_linear_is_a_readout() -> None:
    torch.manual_seed(1)
    model, head = torch.nn.RNN(3, 4, nonlinearity="relu"), torch.nn.Linear(4, 2)
    live = gradscope.gradients(model, steps=9, readout=head)
    asked = gradscope.gradients((model.state_dict(), "activation=relu"), steps=9, readout=head.state_dict())
    assert measured(live) == measured(asked)
    assert not any("assumed" in sentence for sentence in live.results[0].warnings)
    wrapped = gradscope.inspect(torch.nn.DataParallel(torch.nn.ModuleDict({"deep": model})))
    assert wrapped.results[0].rows[0]["activation"] == "relu"
