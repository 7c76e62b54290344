"""docs/adding-a-recurrence.md, executed: its example is a cell like any other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-recurrence.md"


@pytest.fixture(scope="module")
def example():
    """Both code blocks, run one after the other."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    names = {"__name__": __name__, "print": lambda *values: names.update(printed=values)}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.fixture
def leaky(example):
    rng = np.random.default_rng(4)
    return example["Leaky"].from_layer(rng.normal(size=(3, 2)), 2 * rng.normal(size=(3, 3)), np.zeros(3), None)


def test_its_jacobian_is_the_derivative(leaky, derivative):
    rng = np.random.default_rng(5)
    s, drive = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    jacobian = leaky.linearise(s, drive).jacobian
    assert np.allclose(jacobian.dense(), derivative(lambda v: leaky.step(v, drive), s), rtol=0, atol=1e-14)
    eye = np.broadcast_to(np.eye(3), (4, 3, 3))
    assert np.allclose(jacobian.push_drive(eye), derivative(lambda v: leaky.step(s, v), drive), rtol=0, atol=1e-14)


def test_its_bound_holds_and_is_attained(leaky):
    """W = wI at a = 0: J = (λ + (1−λ) w) I."""
    rng = np.random.default_rng(6)
    sigma = np.linalg.norm(leaky.weight_hh, 2)
    bound = leaky.step_norm_bound({"u": sigma}, 1.0)
    J = leaky.linearise(rng.normal(size=(50, 3)), rng.normal(size=(50, 3))).jacobian.dense()
    assert np.linalg.norm(J, 2, axis=(-2, -1)).max() <= bound * (1 + 1e-14)
    leaky.weight_hh[...] = 2 * np.eye(3)
    at_rest = leaky.linearise(np.zeros((1, 3)), np.zeros((1, 3))).jacobian.dense()[0]
    assert np.linalg.norm(at_rest, 2) == pytest.approx(leaky.step_norm_bound({"u": 2.0}, 0.0), rel=1e-15)


def test_what_the_page_runs(example):
    stacked, alone = (value.item() for value in example["printed"])
    # A stack's product is block triangular: no smaller than its diagonal block, the bottom layer's own product.
    assert stacked >= alone > -10
