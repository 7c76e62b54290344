"""``gradients --wrt weights`` against torch's autograd: fused modules, and an lru written out in complex numbers."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

STEPS = (1, 4, 12)


def log10_norms(outputs, parameters):
    """log10 ‖∂h/∂θ‖_F of one h (H,) by each parameter, a backward pass a component."""
    total = [0.0] * len(parameters)
    for component in outputs:
        for i, grad in enumerate(torch.autograd.grad(component, parameters, retain_graph=True)):
            total[i] += float((grad.abs() ** 2).sum())
    with np.errstate(divide="ignore"):
        return 0.5 * np.log10(np.array(total))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("layers", [1, 2])
def test_fused_modules(kind, layers):
    torch.manual_seed(3)
    module = getattr(torch.nn, kind)(3, 4, num_layers=layers, batch_first=True).double()
    x = torch.randn(1, 12, 3, dtype=torch.float64)
    (found,) = gradscope.gradients(module, inputs=x.numpy(), wrt="weights").results
    out, _ = module(x)
    names = [name for name, _ in module.named_parameters()]
    for t in STEPS:
        norms = log10_norms(out[0, t - 1], list(module.parameters()))
        for part, column in (
            ("weight_hh", "log10_dh_dweight_hh"),
            ("weight_ih", "log10_dh_dweight_ih"),
            ("bias_ih", "log10_dh_dbias"),
        ):
            kept = [norm for name, norm in zip(names, norms, strict=True) if name.startswith(part)]
            with np.errstate(divide="ignore"):
                truth = 0.5 * np.log10(sum(10.0 ** (2 * np.array(kept))))
            value = found.columns[column][t - 1]
            assert np.isneginf(truth) if np.isnan(value) else value == pytest.approx(truth, abs=1e-10), (t, part)


def test_eigenvalues_of_an_lru():
    """∂z_t/∂λ by autograd through z = λz + Bx; λ is moved itself, not ν and θ."""
    text = "lru:hidden=6,inputs=2"
    (named,) = build_source(parse_source(text), seed=0).named_cells
    nu, theta = (torch.tensor(part, dtype=torch.float64) for part in np.split(named.cell.weight_hh[:, 0], 2))
    B = torch.complex(*(torch.tensor(part, dtype=torch.float64) for part in np.split(named.cell.weight_ih, 2)))
    x = torch.tensor(np.random.default_rng(5).normal(size=(12, 2)))
    (found,) = gradscope.gradients(text, inputs=x.numpy(), wrt="weights").results
    eigenvalues = torch.exp(torch.complex(-torch.exp(nu), theta)).requires_grad_()
    z, out = torch.zeros(3, dtype=torch.complex128), []
    for row in x:
        z = eigenvalues * z + B @ row.to(torch.complex128)
        out.append(z)
    for t in STEPS[1:]:
        # ∂ Re z/∂λ in torch's convention is the conjugate of dz/dλ: its modulus is what is asked.
        (truth,) = log10_norms(out[t - 1].real, [eigenvalues])
        assert found.columns["log10_dh_dlambda"][t - 1] == pytest.approx(truth, abs=1e-10)
