"""Stand-ins for torch, which the tests of the Python API do without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest


class FakeTensor:
    """What torch's tensors can do, as far as reading them goes."""

    def __init__(self, values: np.ndarray, dtype: str | None = None, *, grad: bool = True) -> None:
        self.values, self.grad = values, grad
        self.dtype = f"torch.{dtype or values.dtype.name}"
        self.shape, self.layout = values.shape, "torch.strided"

    def detach(self) -> FakeTensor:
        return FakeTensor(self.values, self.dtype[6:], grad=False)

    def cpu(self) -> FakeTensor:
        return self

    def float(self) -> FakeTensor:
        return FakeTensor(self.values.astype(np.float32), grad=self.grad)

    def numpy(self) -> np.ndarray:
        if self.grad or self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16, or a tensor that requires grad")
        return self.values


class Module:
    """What an ``nn.Module`` can do, as far as reading it goes."""

    def __init__(self, state: Mapping[str, Any], nonlinearity: str | None = None) -> None:
        self.state, self.nonlinearity = state, nonlinearity

    def state_dict(self) -> Mapping[str, Any]:
        return self.state


def language_model(seed: int = 0) -> dict[str, np.ndarray]:
    """Embedding, two-layer lstm, head."""
    rng = np.random.default_rng(seed)
    shapes = {"embedding.weight": (9, 3), "head.weight": (9, 4), "head.bias": (9,)}
    for layer, width in ((0, 3), (1, 4)):
        shapes |= {f"rnn.weight_ih_l{layer}": (16, width), f"rnn.weight_hh_l{layer}": (16, 4)}
        shapes |= {f"rnn.bias_ih_l{layer}": (16,), f"rnn.bias_hh_l{layer}": (16,)}
    return {name: rng.normal(size=shape, scale=0.5).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def tensor() -> type[FakeTensor]:
    """A class with what torch's tensors can do."""
    return FakeTensor


@pytest.fixture
def module() -> type[Module]:
    """A class with what an ``nn.Module`` can do."""
    return Module


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """The state dict of a language model."""
    return language_model()
