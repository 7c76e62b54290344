"""Directions that fall out of float64's range and come back: on the fast road, from either anchor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gradscope
from gradscope.numerics.lost_digits import lost_digits
from gradscope.numerics.propagate import measure_norms
from gradscope.numerics.tape import tape_of_matrices

N = 64


def switching(first: tuple[float, float], second: tuple[float, float], half: int, *, at: tuple[int, int]) -> np.ndarray:
    """2·half diagonal factors that hold two directions apart, with others that decay below both."""

    def factor(values: tuple[float, float]) -> np.ndarray:
        diagonal = np.full(N, min(*first, *second) / 2)
        diagonal[list(at)] = values
        return np.diag(diagonal)

    return np.array([factor(first)] * half + [factor(second)] * half)


@pytest.mark.parametrize("anchor", ["end", "start"])
@pytest.mark.parametrize(
    ("first", "second", "at"),
    [((2, 0.5), (0.25, 4), (0, 1)), ((0.5, 2), (4, 0.125), (7, 3)), ((8, 1), (1, 16), (9, 5))],
)
def test_a_direction_that_comes_back(
    anchor: str, first: tuple[float, float], second: tuple[float, float], at: tuple[int, int]
) -> None:
    half = 600
    norms = measure_norms(tape_of_matrices(switching(first, second, half, at=at)), anchor=anchor)  # type: ignore[arg-type]
    exact = max(half * (np.log2(a) + np.log2(b)) for a, b in zip(first, second, strict=True)) * np.log10(2.0)
    assert norms.log10_norm[-1] == pytest.approx(exact, abs=1e-9)
    assert not norms.zero.any()


@pytest.mark.parametrize("anchor", ["end", "start"])
def test_where_a_second_multiplication_is_too_dear_the_lags_are_marked(
    anchor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradscope.numerics.propagate.MULTIPLY_BELOW", 0.0)
    norms = measure_norms(tape_of_matrices(switching((2, 0.5), (0.25, 4), 600, at=(0, 1))), anchor=anchor)  # type: ignore[arg-type]
    wrong = np.abs(norms.log10_norm[:, 0] - exact_course(anchor)) > 1e-6
    assert norms.flushed[wrong | norms.zero[:, 0]].all()
    assert not norms.flushed[:100].any()


def exact_course(anchor: str) -> np.ndarray:
    k = np.arange(1201)
    steps = np.array([(1.0, -1.0)] * 600 + [(-2.0, 2.0)] * 600)
    sums = np.vstack([np.zeros(2), np.cumsum(steps[::-1] if anchor == "end" else steps, axis=0)])
    return np.asarray(sums[k].max(axis=1) * np.log10(2.0))


@pytest.mark.parametrize(
    "source", ["rnn", "rnn:gain=0.05", "lstm:forget_bias=3", "rnn:init=nonnormal,hidden=80", "rnn:activation=relu"]
)
def test_ordinary_networks_lose_nothing(source: str) -> None:
    result = gradscope.gradients(source, steps=400, loss="none").results[0]
    assert set(result.columns["status"]) <= {"ok", "zero"}
    assert ("zero" in result.columns["status"]) == ("nonnormal" in source)


def test_a_zero_product_has_nothing_to_come_back() -> None:
    norms = np.full((5, 1), np.nan)
    tape = tape_of_matrices(np.zeros((4, 3, 3)))
    norms[0] = 0.0
    flushed, doubtful = lost_digits(tape, norms, anchor="end")
    assert not flushed.any()
    assert not doubtful.any()


def test_a_slope_and_a_weight_that_only_together_leave_the_range(tmp_path: Path) -> None:
    """The slope is 10^-259.97, the weight 10^-200: their product is no float64 and must not pass for an exact zero."""
    np.save(tmp_path / "w.npy", np.array([[1e-200]]))
    rows = gradscope.gradients(f"{tmp_path / 'w.npy'}:bias=300,activation=tanh", steps=3, loss="none").results[0]
    assert list(rows.columns["status"]) == ["ok", "underflow", "underflow", "underflow"]


def test_a_loss_gradient_whose_largest_component_changes_by_more_than_float64_holds(tmp_path: Path) -> None:
    """An lstm with W_hh = 0: ∂L/∂c_0 is Π f times o·tanh′(c_T), unit by unit."""
    weights = {f"weight_{kind}_l0": np.zeros((8, width)) for kind, width in (("ih", 1), ("hh", 2))}
    weights["weight_ih_l0"][2:4, 0] = 1.0, -1.0  # the forget gates of the two units
    np.savez(tmp_path / "lstm.npz", **weights)
    x = np.concatenate([np.full(400, -7.2), np.full(400, 7.0)])
    np.save(tmp_path / "x.npy", x[:, None])
    np.save(tmp_path / "v.npy", np.ones(2))
    options = {"inputs": str(tmp_path / "x.npy"), "loss": "linear", "readout": str(tmp_path / "v.npy")}
    rows = gradscope.gradients(str(tmp_path / "lstm.npz"), **options).results[0].columns
    # c stays 0: o·tanh′(0) = ½; ln σ(a) = −ln(1 + e^−a), summed over the steps that a lag spans.
    log_f = -np.logaddexp(0.0, -np.outer([1.0, -1.0], x))[:, ::-1].cumsum(axis=1) / np.log(10.0) + np.log10(0.5)
    largest = log_f.max(axis=0)
    exact = largest + 0.5 * np.log10(np.square(10.0 ** (log_f - largest)).sum(axis=0))
    np.testing.assert_allclose(rows["log10_dloss_dstate"][1:], exact, rtol=0, atol=1e-9)
    # An lstm's [h; c]: the direct path of the same unit, and the norm never below it.
    assert rows["log10_norm"][800] >= rows["log10_theory"][800] - 1e-9


@pytest.mark.parametrize("n", [2, 40, 100])
@pytest.mark.parametrize("anchor", ["end", "start"])
def test_a_norm_that_is_rounding_is_doubtful_on_every_road(n: int, anchor: str) -> None:
    """A = Q diag(1, ½) Qᵀ, then B = Q diag(¼, 1) Qᵀ: the product is Q diag(4^-k, 2^-60) Qᵀ, below rounding."""
    angle = 0.7
    Q = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    factors = np.zeros((120, n, n))
    factors[:, range(n), range(n)] = 0.05
    factors[:60, :2, :2] = Q @ np.diag([1.0, 0.5]) @ Q.T
    factors[60:, :2, :2] = Q @ np.diag([0.25, 1.0]) @ Q.T
    norms = measure_norms(tape_of_matrices(factors), anchor=anchor)  # type: ignore[arg-type]
    k = np.arange(121)
    first, second = (k, np.maximum(k - 60, 0)) if anchor == "start" else (np.maximum(k - 60, 0), k)
    first, second = np.minimum(first, 60), np.minimum(second, 60)
    exact = np.maximum(second * np.log10(0.25), first * np.log10(0.5))
    wrong = np.abs(norms.log10_norm[:, 0] - exact) > 1e-5
    assert norms.doubtful[wrong].all()
    assert norms.doubtful[-1].all()  # even where rounding happened to be kind
    assert not norms.doubtful[:30].any()
