"""``--factors`` of cells with a path around W: each unit's path, a skip's sum, and the rows written out, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.analysis import direct_path_details as module
from gradscope.cells.cell import Cell

Array = Any


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def lstm_weights(n: int, width: int) -> tuple[dict[str, Array], Array]:
    rng = np.random.default_rng([n, width])
    weights = {"weight_ih_l0": rng.normal(size=(4 * n, width)), "weight_hh_l0": rng.normal(size=(4 * n, n))}
    return {**weights, "bias_ih_l0": rng.normal(size=4 * n)}, rng.normal(size=(11, width))


def lstm_gates(w: dict[str, Array], x: Array) -> Array:
    """f_t of every step, (T, n)."""
    n = w["weight_hh_l0"].shape[1]
    h, c, gates = np.zeros(n), np.zeros(n), []
    for x_t in x:
        i, f, g, o = np.split(w["weight_ih_l0"] @ x_t + w["bias_ih_l0"] + w["weight_hh_l0"] @ h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        gates.append(sigmoid(f))
    return np.array(gates)


def details(source: Any, **options: Any) -> dict[str, Any]:
    return dict(gradscope.gradients(source, factors=True, loss="none", **options).results[0].details)


def check_units(found: dict[str, Any], gates: Array) -> None:
    (held,) = found["direct_paths"]
    assert held["lag"][0] == 0
    assert held["lag"][-1] == len(gates)
    for lag, units in zip(held["lag"], held["log10_units"], strict=True):
        assert units == pytest.approx(np.log10(gates[len(gates) - lag :].prod(axis=0)), abs=1e-12)


@pytest.mark.parametrize(("n", "width"), [(2, 1), (3, 2), (12, 4)])
@pytest.mark.parametrize("anchor", ["end", "start"])
def test_each_units_path_is_the_product_of_its_own_gates(n: int, width: int, anchor: str) -> None:
    w, x = lstm_weights(n, width)
    check_units(details(w, inputs=x, anchor=anchor), lstm_gates(w, x))


def test_in_stretches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    w, x = lstm_weights(3, 2)
    report = gradscope.gradients(w, inputs=x, factors=True, loss="none", memory=1500)
    check_units(dict(report.results[0].details), lstm_gates(w, x))


def test_lags_asked_for_are_the_lags_given() -> None:
    w, x = lstm_weights(3, 2)
    assert details(w, inputs=x, lags="1:9:4")["direct_paths"][0]["lag"] == [1, 5, 9]


def test_every_layer_of_a_stack_has_its_path() -> None:
    found = details("gru:layers=2,hidden=4", steps=6)["direct_paths"]
    assert [held["layer"] for held in found] == [0, 1]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_skip_is_the_sum_of_its_updates(batch: int) -> None:
    rng = np.random.default_rng(batch)
    w = {"weight_ih_l0": rng.normal(size=(4, 2)), "weight_hh_l0": 0.3 * rng.normal(size=(4, 4))}
    x = rng.normal(size=(batch, 9, 2))
    h = [np.zeros((batch, 4))]
    for t in range(9):
        h.append(h[-1] + np.tanh(x[:, t] @ w["weight_ih_l0"].T + h[-1] @ w["weight_hh_l0"].T))
    found = details((w, "cell=skip"), inputs=x)["telescoped"]
    length = [np.linalg.norm(state, axis=-1).mean() for state in h]
    moved = [np.linalg.norm(h[9] - state, axis=-1).mean() for state in h]
    for lag, start, total in zip(found["lag"], found["h_start"], found["sum"], strict=True):
        assert start == pytest.approx(length[9 - lag], rel=1e-12)
        assert total == pytest.approx(moved[9 - lag], rel=1e-12, abs=1e-15)
    assert max(found["difference"]) < 1e-14
    assert ("vectors" in found) == (batch == 1)
    if batch == 1:
        parts = [np.array(v) for v in found["vectors"].values()]
        assert list(found["vectors"]) == ["h_7", "u_8", "u_9", "h_9"]
        assert np.allclose(sum(parts[:-1]), parts[-1], rtol=0, atol=1e-14)


def test_an_update_that_is_not_the_cells_own_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference is measured: updates without the bias no longer lead from h_(T-k) to h_T."""
    source = "skip:hidden=3,bias=0.5"
    honest = details(source, steps=8)["telescoped"]["difference"]
    original = module._telescoped
    forgotten = lambda trajectory, cell, *rest: original(trajectory, _without_bias(cell), *rest)  # noqa: E731
    monkeypatch.setattr(module, "_telescoped", forgotten)
    assert max(honest) < 1e-14 < 1e-3 < max(details(source, steps=8)["telescoped"]["difference"])


def _without_bias(cell: Cell) -> Cell:
    from dataclasses import replace

    return replace(cell, bias=np.zeros_like(cell.bias))


@pytest.mark.parametrize("lags", ["0,1,2", "2,4"])
def test_rows_are_written_out_at_the_lags_chosen(lags: str) -> None:
    report = gradscope.gradients("rnn:hidden=3,inputs=2", steps=6, factors=True, lags=lags)
    held = report.results[0].details["worked_rows"]
    rows = {row["lag"]: row for row in report.results[0].rows()}
    assert [row["lag"] for row in held] == [int(lag) for lag in lags.split(",")]
    for row in held:
        W, h, lag = np.array(row["W"]), np.array(row["h_prev"]), row["lag"]
        assert np.allclose(np.linalg.matrix_power(W, lag), row["W_power"], rtol=1e-14)
        delta = np.array(row["slopes"]["6"]) * (np.array(row["W_hy"]).T @ row["dloss_dy"])
        for j in range(5, row["step"] - 1, -1):
            delta = np.array(row["slopes"][str(j)]) * (W.T @ delta)
        assert np.allclose(np.outer(delta, h), row["dloss_dweight"], rtol=1e-12)
        truth = np.log10(np.linalg.norm(row["dloss_dweight"]))
        assert truth == pytest.approx(rows[lag]["log10_dloss_dweight"], abs=1e-12)


def test_a_page_of_every_cell_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    from gradscope.cli import run

    assert run(["gradients", "skip:hidden=3", "lstm:hidden=9", "-T", "7", "--factors", "-v"]) == 0
    out = capsys.readouterr().out
    assert "The skip telescopes" in out
    assert "the sum of the lines above" in out
    assert "unit by unit" in out
    assert "of 9 units pass 0.001 or more" in out
