"""A against torch: autograd for every lag and torch's matrix norms; no workloads where torch is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.workload import Workload
from gradscope.cells import CELLS
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.networks.trajectory import run_network
from gradscope.numerics.propagate import measure_norms
from gradscope.sources.inputs import ArrayInputs

#: Hidden units, steps, the lags that torch walks, target. A lag costs torch the same wherever it lies, so that of the
#: longest run it walks the last fifty and the time is scaled up: all of them take a quarter of an hour.
CASES = ((128, 200, 200, None), (128, 1000, 1000, 1 / 12), (512, 1000, 50, 1 / 20))


def workloads() -> Iterator[Workload]:
    """Forward pass and norms at every lag, both from the same weights and inputs."""
    if importlib.util.find_spec("torch") is None:
        return
    for hidden, steps, lags, target in CASES:
        rng = np.random.default_rng(0)
        W, U = 0.9 * rng.standard_normal((hidden, hidden)) / hidden**0.5, rng.standard_normal((hidden, 16)) / 4
        x = rng.standard_normal((steps, 16))
        project, reference = partial(_project, W, U, x), _torch_norms(W, U, x, lags)
        yield Workload(
            f"A forward and norms n={hidden}, T={steps}",
            "torch autograd at every lag, torch.linalg.matrix_norm",
            project,
            reference,
            partial(_verify, project, reference),
            target,
            share=lags / steps,
        )


def _project(W: Array, U: Array, x: Array) -> Array:
    network = Layer(CELLS["rnn"].from_layer(U, W, None, None))
    tape = run_network(network, ArrayInputs(x[:, None]), np.zeros((1, W.shape[0])))
    return measure_norms(tape).log10_norm[1:, 0]


def _torch_norms(W: Array, U: Array, x: Array, lags: int) -> Callable[[], Array]:
    """The norms at the first ``lags`` lags, from the state before them."""
    import torch

    torch.set_num_threads(1)
    weight, drive = torch.tensor(W), torch.tensor(x @ U.T)
    before = torch.zeros(W.shape[0], dtype=torch.float64)
    for step in drive[: len(drive) - lags]:
        before = torch.tanh(weight @ before + step)

    def run() -> Array:
        h = before.clone().requires_grad_()
        states = [h]
        for step in drive[len(drive) - lags :]:
            h = torch.tanh(weight @ h + step)
            states.append(h)
        eye = torch.eye(W.shape[0], dtype=torch.float64)
        jacobians = torch.autograd.grad(h, states[:-1], eye, is_grads_batched=True)
        norms = torch.linalg.matrix_norm(torch.stack(jacobians), 2)
        return np.log10(norms.detach().numpy())[::-1]

    return run


def _verify(project: Callable[[], Array], reference: Callable[[], Array]) -> None:
    wanted = reference()
    found = project()[: len(wanted)]
    # torch's products are not rescaled; where they are far from underflow both agree to 1e-9.
    usable = wanted > -200
    assert np.abs(found - wanted)[usable].max() < 1e-9
