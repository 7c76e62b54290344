"""Trained weights on noise: the report says so and what to do; real inputs and built networks are not warned of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gradscope


@pytest.fixture
def weights(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "w.npz", weight_ih_l0=rng.standard_normal((12, 2)), weight_hh_l0=rng.standard_normal((12, 3)))
    return str(tmp_path / "w.npz")


def noise_warnings(source: str, **options: str) -> list[str]:
    (result,) = gradscope.gradients(source, steps=5, **options).results
    return [text for text in result.warnings if "--inputs" in text]


def test_noise_is_warned_of(weights: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5, 2)))
    assert len(noise_warnings(weights)) == 1
    assert noise_warnings(weights, inputs=str(tmp_path / "x.npy")) == []
    assert noise_warnings("lstm:hidden=3") == []


def test_a_matrix_alone_reads_no_input(tmp_path: Path) -> None:
    np.save(tmp_path / "W.npy", np.eye(3))
    assert noise_warnings(str(tmp_path / "W.npy")) == []
