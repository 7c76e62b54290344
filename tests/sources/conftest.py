"""Forward passes written out in plain loops, each in its framework's own layout and gate order.

They share no line with gradscope: what a reader made of a file is run with ``run_canonical`` and compared with what
the framework's documentation says the stored arrays compute.
"""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

PHI = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0.0),
    "identity": lambda a: a,
    "linear": lambda a: a,
    "sigmoid": lambda a: 1.0 / (1.0 + np.exp(-a)),
    "hard_sigmoid": lambda a: np.array([min(1.0, max(0.0, 0.2 * v + 0.5)) for v in a]),
    "hard_sigmoid_keras3": lambda a: np.array([min(6.0, max(0.0, v + 3.0)) / 6.0 for v in a]),
}


def run_canonical(layer, x):
    """What a LayerWeights computes, by its documented meaning (PyTorch's formulas, docs of nn.RNN/LSTM/GRU)."""
    hidden = layer.hidden_size
    phi, sigma = PHI[layer.activation], PHI[layer.gate_activation]
    zero = np.zeros(len(layer.weight_hh))
    b_ih = zero if layer.bias_ih is None else layer.bias_ih
    b_hh = zero if layer.bias_hh is None else layer.bias_hh
    h, c, out = np.zeros(hidden), np.zeros(hidden), []
    for x_t in x[::-1] if layer.direction == "backward" else x:
        a = layer.weight_ih @ x_t + b_ih
        b = layer.weight_hh @ h + b_hh
        A, B = a.reshape(-1, hidden), b.reshape(-1, hidden)
        if layer.cell == "rnn":
            h = phi(A[0] + B[0])
        elif layer.cell == "lstm":
            i, f, o = sigma(A[0] + B[0]), sigma(A[1] + B[1]), sigma(A[3] + B[3])
            c = f * c + i * phi(A[2] + B[2])
            h = o * phi(c)
        elif layer.cell == "gru":
            r, z = sigma(A[0] + B[0]), sigma(A[1] + B[1])
            if layer.reset == "after":
                n = phi(A[2] + r * B[2])
            else:
                n = phi(A[2] + layer.weight_hh[2 * hidden :] @ (r * h) + b_hh[2 * hidden :])
            h = (1 - z) * n + z * h
        else:
            raise AssertionError(layer.cell)
        out.append(h)
    return np.array(out)


def torch_rnn(p, x, *, suffix="_l0", phi="tanh"):
    """nn.RNN: h_t = tanh(x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh)."""
    W_ih, W_hh, b_ih, b_hh = (p[f"{k}{suffix}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, out = np.zeros(W_hh.shape[1]), []
    for x_t in x:
        h = PHI[phi](x_t @ W_ih.T + b_ih + h @ W_hh.T + b_hh)
        out.append(h)
    return np.array(out)


def torch_lstm(p, x, *, suffix="_l0"):
    """nn.LSTM: weight_ih = (W_ii|W_if|W_ig|W_io)."""
    W_ih, W_hh, b_ih, b_hh = (p[f"{k}{suffix}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    n = W_hh.shape[1]
    h, c, out = np.zeros(n), np.zeros(n), []
    for x_t in x:
        new_h, new_c = np.zeros(n), np.zeros(n)
        for j in range(n):
            i, f, g, o = (
                float(np.dot(W_ih[k * n + j], x_t) + b_ih[k * n + j] + np.dot(W_hh[k * n + j], h) + b_hh[k * n + j])
                for k in range(4)
            )
            new_c[j] = c[j] / (1 + math.exp(-f)) + math.tanh(g) / (1 + math.exp(-i))
            new_h[j] = math.tanh(new_c[j]) / (1 + math.exp(-o))
        h, c = new_h, new_c
        out.append(h)
    return np.array(out)


def torch_gru(p, x, *, suffix="_l0"):
    """nn.GRU: weight_ih = (W_ir|W_iz|W_in), n = tanh(W_in x + b_in + r*(W_hn h + b_hn)), h = (1-z)*n + z*h."""
    W_ih, W_hh, b_ih, b_hh = (p[f"{k}{suffix}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    n = W_hh.shape[1]
    h, out = np.zeros(n), []
    for x_t in x:
        new = np.zeros(n)
        for j in range(n):
            r = 1 / (1 + math.exp(-(W_ih[j] @ x_t + b_ih[j] + W_hh[j] @ h + b_hh[j])))
            k = n + j
            z = 1 / (1 + math.exp(-(W_ih[k] @ x_t + b_ih[k] + W_hh[k] @ h + b_hh[k])))
            k = 2 * n + j
            new[j] = (1 - z) * math.tanh(W_ih[k] @ x_t + b_ih[k] + r * (W_hh[k] @ h + b_hh[k])) + z * h[j]
        h = new
        out.append(h)
    return np.array(out)


def torch_parameters(rng, n_gates, inputs, hidden, *, layers=1, bidirectional=False, scale=0.7):
    """A state dict of one nn.RNN/GRU/LSTM as PyTorch names it; every entry different."""
    p = {}
    for layer in range(layers):
        for suffix in ("", "_reverse") if bidirectional else ("",):
            width = inputs if layer == 0 else hidden * (1 + bidirectional)
            end = f"_l{layer}{suffix}"
            p[f"weight_ih{end}"] = scale * rng.standard_normal((n_gates * hidden, width))
            p[f"weight_hh{end}"] = scale * rng.standard_normal((n_gates * hidden, hidden))
            p[f"bias_ih{end}"] = scale * rng.standard_normal(n_gates * hidden)
            p[f"bias_hh{end}"] = scale * rng.standard_normal(n_gates * hidden)
    return p


def model_file(package, ending):
    """A trained model inside an installed wheel, found without importing it; skips where it is not installed."""
    try:
        files = importlib.metadata.files(package) or ()
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed (make test installs it)")
    return Path(str(next(entry.locate() for entry in files if str(entry).endswith(ending))))


@pytest.fixture(scope="session")
def forward():
    return SimpleNamespace(
        run=run_canonical,
        phi=PHI,
        torch={"rnn": torch_rnn, "lstm": torch_lstm, "gru": torch_gru},
        torch_parameters=torch_parameters,
        blocks={"rnn": 1, "gru": 3, "lstm": 4},
        model_file=model_file,
    )
