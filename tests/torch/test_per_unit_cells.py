"""The diagonal recurrences and the slstm against torch's autograd, lag by lag."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import gradscope.torch  # noqa: E402

SOURCES = (
    "indrnn:hidden=5,inputs=3,gain=1.2",
    "lru:hidden=5,inputs=3",
    "mingru:hidden=5,inputs=3",
    "minlstm:hidden=5,inputs=3",
    "slstm:hidden=5,inputs=3",
    "slstm:hidden=5,inputs=3,forget=exp",
)


def step_of(cell):
    """step(x, state) as one writes it in PyTorch; of the slstm on (h, ln n, y), stabilised by the paper's m."""
    U, W, b = (torch.tensor(part, dtype=torch.float64) for part in (cell.weight_ih, cell.weight_hh, cell.bias))
    H = cell.hidden_size

    def step(x, state):
        a = x @ U.T + b
        if cell.name == "indrnn":
            return torch.tanh(a + W[:, 0] * state)
        if cell.name == "lru":
            units = (H + 1) // 2
            theta = torch.cat([W[units:, 0], W.new_zeros(2 * units - H)])
            eigenvalues = torch.exp(torch.complex(-torch.exp(W[:units, 0]), theta))
            z = torch.complex(state[:units], torch.cat([state[units:], state.new_zeros(2 * units - H)]))
            z = eigenvalues * z
            return torch.cat([z.real, z.imag[: H - units]]) + a
        if cell.name == "mingru":
            z, u = a.split(H)
            return (1 - torch.sigmoid(z)) * state + torch.sigmoid(z) * torch.tanh(u)
        if cell.name == "minlstm":
            f, i, u = a.split(H)
            f, i = torch.sigmoid(f), torch.sigmoid(i)
            return (f * state + i * torch.tanh(u)) / (f + i)
        h, log_n, y = state.split(H)
        i, f, g, o = (a + W @ h).split(H)
        log_f = f if cell.forget == "exp" else torch.nn.functional.logsigmoid(f)
        m = torch.maximum(log_f + log_n, i)
        n = torch.exp(log_f + log_n - m) + torch.exp(i - m)
        y = (torch.exp(log_f + log_n - m) * y + torch.exp(i - m) * torch.tanh(g)) / n
        return torch.cat([torch.sigmoid(o) * y, torch.log(n) + m, y])

    return step


@pytest.mark.parametrize("text", SOURCES)
def test_every_lag(text):
    (named,) = build_source(parse_source(text), seed=0).named_cells
    x = np.random.default_rng(4).normal(size=(30, 3))
    found = gradscope.gradients(text, inputs=x, loss="none").results[0]
    state = torch.zeros(named.cell.state_size, dtype=torch.float64)
    truth = gradscope.torch.measure(step_of(named.cell), x, state).results[0]
    for column in ("log10_norm", "stable_rank", "log10_path_bound"):
        assert np.allclose(found.columns[column], truth.columns[column], rtol=0, atol=1e-10), column
