"""spectrum --matrices: what is written out rebuilds W, and says where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.cli import run
from gradscope.errors import UsageError

ROTATION = np.array([[np.cos(0.4), -np.sin(0.4), 0.0], [np.sin(0.4), np.cos(0.4), 0.0], [0.3, 0.0, 0.5]])


def matrices_of(W: Any) -> dict[str, Any]:
    (result,) = gradscope.spectrum(np.asarray(W, dtype=float), matrices=True).results
    (row,) = json.loads(json.dumps(list(result.rows())))
    found: dict[str, Any] = row["matrices"]
    assert found["eigenvalues"] == row["eigenvalues"]
    return found


def complex_of(pairs: Any) -> Any:
    values = np.asarray(pairs, dtype=float)
    return values[..., 0] + 1j * values[..., 1]


@pytest.mark.parametrize(
    "W",
    [
        ROTATION,  # a complex pair
        np.random.default_rng(0).normal(size=(8, 8)) / 3,
        1e-200 * np.random.default_rng(1).normal(size=(4, 4)),
        np.diag([2.0, 0.0, -1.0]),
        np.zeros((2, 2)),
        [[-0.7]],
    ],
)
def test_the_parts_rebuild_w_and_its_powers(W: Any) -> None:
    W = np.asarray(W, dtype=float)
    found, size = matrices_of(W), np.linalg.norm(W, 2)
    P, inverse, values = (complex_of(found[name]) for name in ("P", "P_inverse", "eigenvalues"))
    assert P @ inverse == pytest.approx(np.eye(len(W)), abs=1e-12)
    assert np.allclose(P * values @ inverse, W, atol=1e-13 * size, rtol=0)
    assert np.allclose(found["W"], W, atol=1e-13 * size, rtol=0)
    assert np.linalg.norm(P, axis=0) == pytest.approx(np.ones(len(W)))
    powers = found["powers"]
    for k, moduli, norm, rebuilt in zip(
        powers["k"], powers["log10_eigenvalues"], powers["log10_norm"], powers["log10_rebuilt_norm"], strict=True
    ):
        scaled = W / size if size else W
        exact = np.linalg.norm(np.linalg.matrix_power(scaled, k), 2)
        if exact == 0:
            assert norm is None
            continue
        shift = k * np.log10(size) if size else 0.0
        assert norm == pytest.approx(np.log10(exact) + shift, abs=1e-9)
        assert rebuilt == pytest.approx(norm, abs=1e-9)
        for modulus, value in zip(moduli, values, strict=True):
            if k == 0:
                assert modulus == 0.0
            elif value == 0:
                assert modulus is None
            else:
                assert modulus == pytest.approx(k * np.log10(abs(value)), abs=1e-9)


def test_what_is_not_diagonalizable_has_no_inverse_and_says_so(tmp_path: Path, capsys: Any) -> None:
    jordan = 0.9 * np.eye(3) + np.eye(3, k=1)
    found = matrices_of(jordan)
    assert found["P_inverse"] is None
    assert found["W"] is None
    assert found["powers"]["log10_rebuilt_norm"] == [None] * len(found["powers"]["k"])
    assert found["powers"]["log10_norm"][5] == pytest.approx(np.log10(np.linalg.norm(
        np.linalg.matrix_power(jordan, 10), 2)), abs=1e-9)  # fmt: skip
    np.save(tmp_path / "W.npy", jordan)
    assert run(["spectrum", str(tmp_path / "W.npy"), "--matrices"]) == 0
    assert "no P^-1" in capsys.readouterr().out


def test_a_gated_cell_has_a_set_for_each_gate(capsys: Any) -> None:
    assert run(["spectrum", "lstm:hidden=2", "--matrices", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"][0]["rows"]
    assert len(rows) == 4
    assert all(np.shape(row["matrices"]["P"]) == (2, 2, 2) for row in rows)


def test_large_blocks_are_refused_and_nothing_is_written_unasked(capsys: Any) -> None:
    assert run(["spectrum", "rnn:hidden=9", "--matrices"]) == 2
    assert "at most 8 units" in capsys.readouterr().err
    assert run(["spectrum", "rnn:hidden=8", "--matrices"]) == 0
    assert "multiplied out" in capsys.readouterr().out
    with pytest.raises(UsageError, match="has 16"):
        gradscope.spectrum("gru:hidden=16", matrices=True)
    assert "matrices" not in gradscope.spectrum("rnn:hidden=3").results[0].columns


def test_the_articles_own_order_is_another_matrix() -> None:
    """The article writes W = P⁻¹ΛP; with eigenvectors as columns of P that rebuilds something else."""
    found = matrices_of(ROTATION)
    P, inverse, values = (complex_of(found[name]) for name in ("P", "P_inverse", "eigenvalues"))
    assert np.abs(inverse * values @ P - ROTATION).max() > 0.1
