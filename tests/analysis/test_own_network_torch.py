"""A language model, a forecaster and a bidirectional classifier from one file each, against torch's autograd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _float64() -> Any:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(4)
    yield
    torch.set_default_dtype(torch.float32)


def save(model: Any, path: Path, container: str) -> str:
    state = model.state_dict()
    if container == "pt":
        torch.save(state, path / "model.pt")
    elif container == "npz":
        np.savez(path / "model.npz", **{name: value.numpy() for name, value in state.items()})
    else:
        from safetensors.numpy import save_file

        save_file({name: value.numpy().copy() for name, value in state.items()}, path / "model.safetensors")
    return str(path / f"model.{container}")


def columns(report: Any, result: int = 0) -> dict[str, np.ndarray]:
    return {
        name: np.array([np.nan if v is None else v for v in values], dtype=float)
        for name, values in report.results[result].columns.items()
        if name.startswith("log10_") and np.ndim(values[0]) == 0
    }


def log10(value: Any) -> float:
    return float(np.log10(value.norm().item()))


def unrolled(rnn: Any, x: Any) -> tuple[Any, list[Any]]:
    """Outputs (T, batch, H), and the states (h, c) of every step, layers together, kept for their gradients."""
    outputs, states, state = [], [], None
    for step in x.split(1):
        out, state = rnn(step, state)
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            part.retain_grad()
        outputs.append(out[0])
        states.append(parts)
    return torch.stack(outputs), states


@pytest.mark.parametrize("container", ["pt", "npz", "safetensors"])
def test_a_language_model(tmp_path: Path, container: str) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 5)
            self.rnn = torch.nn.LSTM(5, 6, num_layers=2)
            self.out = torch.nn.Linear(6, 11)

    model = Model()
    tokens = torch.tensor([3, 10, 0, 4, 4, 7, 1])
    x = model.embedding(tokens)[:, None].detach().requires_grad_()
    outputs, states = unrolled(model.rnn, x)
    logits = model.out(outputs)
    loss = torch.nn.functional.cross_entropy(logits[-1], torch.tensor([8]))
    loss.backward(retain_graph=True)
    source = save(model, tmp_path, container)
    np.save(tmp_path / "tokens.npy", tokens.numpy())
    report = gradscope.gradients(source, tokens="3,10,0,4,4,7,1", target="8")
    result, found = report.results[0], columns(report)
    assert result.settings["readout"] == "out (11, 6)"
    same = gradscope.gradients(source, inputs=str(tmp_path / "tokens.npy"), target="8").results[0]
    assert same.to_dict()["rows"] == result.to_dict()["rows"]
    T = len(tokens)
    for lag in range(1, T):  # at lag 0 the loss reads the output, not the state that is handed on
        square = sum(part.grad.square().sum().item() for part in states[T - 1 - lag])
        assert found["log10_dloss_dstate"][lag] == pytest.approx(0.5 * np.log10(square), abs=1e-10)
    recurrent = [p for n, p in model.rnn.named_parameters() if "weight_hh" in n]
    total = float(np.log10(np.sqrt(sum(p.grad.square().sum().item() for p in recurrent))))
    assert result.summary["log10_dloss_dweight_total"] == pytest.approx(total, abs=1e-10)
    for K in range(1, T - 1):  # the oldest copy meets h_0 = 0
        lost = detached_loss(model, x.detach(), K, recurrent)
        assert found["log10_dloss_dweight_tail"][K] == pytest.approx(lost, abs=1e-12)
    inputs = gradscope.gradients(source, tokens="3,10,0,4,4,7,1", target="8", wrt="inputs")
    heard = columns(inputs)
    for lag in range(T):
        assert heard["log10_dloss_dinput"][lag] == pytest.approx(log10(x.grad[T - 1 - lag]), abs=1e-10)
    jacobian = torch.autograd.functional.jacobian(lambda x: model.out(model.rnn(x)[0])[-1, 0], x.detach())
    for lag in range(T):
        top = torch.linalg.matrix_norm(jacobian[:, T - 1 - lag, 0], 2)
        assert heard["log10_doutput_dinput"][lag] == pytest.approx(float(torch.log10(top)), abs=1e-10)


def detached_loss(model: Any, x: Any, K: int, recurrent: list[Any]) -> float:
    """log10 of what ``detach()`` K steps before the end loses of ∂L/∂W_hh."""

    def gradient(cut: int | None) -> list[Any]:
        state = None
        for t, step in enumerate(x.split(1)):
            if cut is not None and t == len(x) - cut:
                state = tuple(part.detach() for part in state)
            out, state = model.rnn(step, state)
        loss = torch.nn.functional.cross_entropy(model.out(out[-1]), torch.tensor([8]))
        return torch.autograd.grad(loss, recurrent)

    lost = [a - b for a, b in zip(gradient(None), gradient(K), strict=True)]
    size = np.sqrt(sum(part.square().sum().item() for part in lost))
    return float(np.log10(size)) if size else -np.inf


@pytest.mark.parametrize("loss_at", ["last", "all"])
def test_a_forecaster(tmp_path: Path, loss_at: str) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(3, 7)
            self.head = torch.nn.Linear(7, 2)

    model, T, batch = Model(), 9, 4
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((batch, T, 3)), rng.standard_normal((batch, T, 2) if loss_at == "all" else (batch, 2))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    source = save(model, tmp_path, "pt")
    report = gradscope.gradients(
        source, inputs=str(tmp_path / "x.npy"), target=str(tmp_path / "y.npy"), loss="mse", loss_at=loss_at
    )
    result, found = report.results[0], columns(report)
    assert result.settings["readout"] == "head (2, 7)"
    per_lag = np.zeros((T, batch))
    for sample in range(batch):
        outputs, states = unrolled(model.gru, torch.tensor(x[sample])[:, None])
        error = (model.head(outputs)[:, 0] if loss_at == "all" else model.head(outputs[-1])) - torch.tensor(y[sample])
        error.square().mean(dim=-1).sum().backward(retain_graph=True)
        for lag in range(1, T):
            # The state handed on, and what the output at the same step adds to it.
            gradient = states[T - 1 - lag][0].grad[0, 0].clone()
            if loss_at == "all":
                gradient += (error[T - 1 - lag].detach() @ model.head.weight.detach()) * 2 / 2
            per_lag[lag, sample] = float(np.log10(gradient.norm().item()))
    np.testing.assert_allclose(found["log10_dloss_dstate"][1:T], per_lag[1:].mean(axis=1), rtol=0, atol=1e-10)
    model.zero_grad()
    outputs = model.head(model.gru(torch.tensor(x).transpose(0, 1))[0])
    wanted = torch.tensor(y).transpose(0, 1) if loss_at == "all" else torch.tensor(y)
    error = (outputs if loss_at == "all" else outputs[-1]) - wanted
    (error.square().mean(dim=-1).sum() / batch).backward()
    assert result.summary["log10_dloss_dweight_total"] == pytest.approx(log10(model.gru.weight_hh_l0.grad), abs=1e-10)


def test_a_bidirectional_classifier_of_two_layers(tmp_path: Path) -> None:
    """The head reads each direction's own end; the lower layer meets the loss through the upper one."""

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = torch.nn.GRU(3, 4, num_layers=2, bidirectional=True)
            self.fc = torch.nn.Linear(8, 5)

    model, T = Model(), 6
    x = np.random.default_rng(3).standard_normal((1, T, 3))
    np.save(tmp_path / "x.npy", x)
    source = save(model, tmp_path, "pt")
    leaf = torch.tensor(x[0])[:, None].requires_grad_()
    _, h_n = model.rnn(leaf)
    loss = torch.nn.functional.cross_entropy(model.fc(torch.cat([h_n[2], h_n[3]], dim=-1)), torch.tensor([1]))
    loss.backward()
    report = gradscope.gradients(source, inputs=str(tmp_path / "x.npy"), target="1")
    suffixes = ("l0", "l0_reverse", "l1", "l1_reverse")
    assert len(report.results) == 4
    for result, suffix in zip(report.results, suffixes, strict=True):
        gradient = getattr(model.rnn, f"weight_hh_{suffix}").grad
        assert result.summary["log10_dloss_dweight_total"] == pytest.approx(log10(gradient), abs=1e-10), suffix
        assert "fc (5, 8)" in result.settings["readout"]
    assert "h_1 backward" in report.results[2].settings["loss"]
    inputs = gradscope.gradients(source, inputs=str(tmp_path / "x.npy"), target="1", wrt="inputs")
    forward = columns(inputs, 0)
    for lag in range(T):
        assert forward["log10_dloss_dinput"][lag] == pytest.approx(log10(leaf.grad[T - 1 - lag]), abs=1e-10)


def test_no_number_about_a_head_that_is_not_there(tmp_path: Path) -> None:
    source = save(torch.nn.LSTM(3, 4), tmp_path, "pt")
    result = gradscope.gradients(source, steps=8).results[0]
    assert result.settings["loss"] == "none"
    assert result.settings["readout"] is None
    for name in ("log10_dloss_dstate", "log10_dloss_dweight", "log10_dloss_dweight_tail"):
        assert np.isnan(np.asarray(result.columns[name], dtype=float)).all()
    assert any("--readout" in warning for warning in result.warnings)
    asked = gradscope.gradients(source, steps=8, readout="random").results[0]
    assert np.isfinite(asked.columns["log10_dloss_dstate"][1])
