"""Every Python block of docs/your-network.md runs; those that need torch where it is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope

PAGE = Path(__file__).parents[2] / "docs" / "your-network.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def flax_lstm(width: int, hidden: int) -> dict[str, Any]:
    """Parameters as flax.linen.LSTMCell names and shapes them."""
    rng = np.random.default_rng(0)
    inner = {f"i{gate}": {"kernel": rng.normal(size=(width, hidden))} for gate in "ifgo"}
    outer = {
        f"h{gate}": {"kernel": rng.normal(size=(hidden, hidden)), "bias": rng.normal(size=hidden)} for gate in "ifgo"
    }
    return inner | outer


def flax_step(params: dict[str, Any], c: np.ndarray, h: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence of flax.linen.LSTMCell."""
    a = {g: x @ params[f"i{g}"]["kernel"] + h @ params[f"h{g}"]["kernel"] + params[f"h{g}"]["bias"] for g in "ifgo"}
    i, f, o = (1 / (1 + np.exp(-a[g])) for g in "ifo")
    c = f * c + i * np.tanh(a["g"])
    return c, o * np.tanh(c)


def run_blocks(
    blocks: list[str], names: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def without_torch() -> list[str]:
    first = next(place for place, block in enumerate(BLOCKS) if "def from_flax_lstm" in block)
    return BLOCKS[first:]


def test_the_blocks_that_need_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, features = flax_lstm(3, 4), np.random.default_rng(1).normal(size=(20, 3))
    assert len(without_torch()) == 2
    names = run_blocks(without_torch(), {"params": params, "features": features}, tmp_path, monkeypatch)
    assert names["how_much"] is not None
    # The conversion is right: the step Jacobian of flax's own recurrence, by complex steps, has the measured norm.
    report = gradscope.gradients(names["from_flax_lstm"](params), inputs=features)
    product = np.eye(8)
    c, h = np.zeros(4), np.zeros(4)
    for x in features:
        J = np.zeros((8, 8))
        for k in range(8):
            s = np.concatenate([h, c]).astype(complex)
            s[k] += 1e-30j
            found = flax_step(params, s[4:], s[:4], x)
            J[:, k] = np.concatenate([found[1], found[0]]).imag / 1e-30
        c, h = flax_step(params, c, h, x)
        product = J @ product
    expected = np.log10(np.linalg.norm(product, 2))
    assert report.results[0].rows[20]["log10_norm"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.torch
def test_the_blocks_with_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    blocks = BLOCKS[: len(BLOCKS) - len(without_torch())]
    assert len(blocks) == 4
    names = run_blocks(blocks, {}, tmp_path, monkeypatch)
    assert names["report"].results[0].source["hidden"] == 16
    assert np.load(tmp_path / "features.npy").shape == (2, 30, 8)
    assert (tmp_path / "lm.html").stat().st_size > 1000
