"""∂L/∂s of an lstm whose c has saturated: e^(−2|c|) is far below float64's range, and so is the gradient it carries."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import gradscope


def loss_column(source: object, **options: object) -> list[float | None]:
    result = gradscope.gradients(source, loss="linear", **options).results[0]  # type: ignore[arg-type]
    return [row["log10_dloss_dstate"] for row in result.rows()]


@pytest.mark.parametrize("steps", [300, 372, 500, 762, 2000])
def test_one_unit_without_recurrence(steps: int) -> None:
    """c_T = T, so ∂L/∂c = σ(0) sech² T at every lag ≥ 1: 10^-661.6 at T = 762 (theory.md C11)."""
    bias = np.array([60.0, 60.0, 60.0, 0.0])
    source = {"weight_ih": np.zeros((4, 1)), "weight_hh": np.zeros((4, 1)), "bias_ih": bias, "bias_hh": np.zeros(4)}
    column = loss_column(source, inputs=np.zeros((steps, 1)), readout=np.array([1.0]))
    expected = math.log10(2.0) - 2.0 * steps / math.log(10.0)
    assert column[0] == pytest.approx(0.0, abs=1e-12)
    assert column[1] == pytest.approx(expected, abs=1e-9)
    assert column[steps] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("height", [400.0, 900.0])
def test_three_units_against_mpmath(height: float) -> None:
    """Two saturated units beside a live one, coupled through W_hh; output gates shut, so that little bypasses c."""
    rng = np.random.default_rng(1)
    H, T = 3, 6
    W, b = 0.5 * rng.standard_normal((4 * H, H)), rng.standard_normal(4 * H)
    W[3 * H :] = 0.0
    state = np.concatenate([rng.uniform(-1, 1, H), [height, -height - 30.0, 0.3]])
    v = np.array([1.0, -2.0, 0.0])  # the live unit is not read
    source = {"weight_ih": np.zeros((4 * H, 1)), "weight_hh": W, "bias_ih": b, "bias_hh": np.zeros(4 * H)}
    column = loss_column(source, inputs=np.zeros((T, 1)), readout=v, state=state)
    with mpmath.workdps(1500):
        expected = mpmath_column(W, b, state, v, T)
    assert column == pytest.approx(expected, abs=1e-8)


def mpmath_column(W: np.ndarray, b: np.ndarray, state: np.ndarray, v: np.ndarray, T: int) -> list[float]:
    """log10 ‖∂(vᵀh_T)/∂s_{T−k}‖ by the chain rule written out, 1500 digits."""
    H = len(v)
    h, c = [mpmath.mpf(x) for x in state[:H]], [mpmath.mpf(x) for x in state[H:]]
    steps = []
    for _ in range(T):
        a = [sum(mpmath.mpf(W[r, j]) * h[j] for j in range(H)) + mpmath.mpf(b[r]) for r in range(4 * H)]
        i, f, o = ([1 / (1 + mpmath.exp(-a[g * H + u])) for u in range(H)] for g in (0, 1, 3))
        g = [mpmath.tanh(a[2 * H + u]) for u in range(H)]
        before, c = c, [f[u] * c[u] + i[u] * g[u] for u in range(H)]
        h = [o[u] * mpmath.tanh(c[u]) for u in range(H)]
        steps.append((i, f, g, o, before, c))
    dh, dc = [mpmath.mpf(x) for x in v], [mpmath.mpf(0)] * H
    column = [dh + dc]
    for i, f, g, o, before, after in reversed(steps):
        dc = [dc[u] + dh[u] * o[u] * mpmath.sech(after[u]) ** 2 for u in range(H)]
        da = (
            [dc[u] * g[u] * i[u] * (1 - i[u]) for u in range(H)]
            + [dc[u] * before[u] * f[u] * (1 - f[u]) for u in range(H)]
            + [dc[u] * i[u] * (1 - g[u] ** 2) for u in range(H)]
            + [dh[u] * mpmath.tanh(after[u]) * o[u] * (1 - o[u]) for u in range(H)]
        )
        dh = [sum(da[r] * mpmath.mpf(W[r, j]) for r in range(4 * H)) for j in range(H)]
        dc = [dc[u] * f[u] for u in range(H)]
        column.append(dh + dc)
    return [float(mpmath.log10(mpmath.sqrt(sum(x**2 for x in entry)))) for entry in column]


@pytest.mark.parametrize("shut", [-5.0, -720.0, -1000.0, 1000.0, -8000.0])
def test_an_output_gate_beyond_float64_beside_others(shut: float) -> None:
    """h_{t−1} reaches h_t through a_o as well: b = φ(c) σ′(a_o) is as small as a = o φ′(c), and counts as much."""
    rng = np.random.default_rng(3)
    H, T = 3, 5
    W, b = 0.5 * rng.standard_normal((4 * H, H)), rng.standard_normal(4 * H)
    b[3 * H] = b[3 * H + 2] = shut
    state = np.concatenate([rng.uniform(-1, 1, H), [1.2, -0.4, 0.3]])
    v = np.array([1.0, 0.0, -2.0])  # the open gate is not read
    source = {"weight_ih": np.zeros((4 * H, 1)), "weight_hh": W, "bias_ih": b, "bias_hh": np.zeros(4 * H)}
    column = loss_column(source, inputs=np.zeros((T, 1)), readout=v, state=state)
    # σ′ = σ(1 − σ) needs as many digits as σ has nines.
    with mpmath.workdps(300 + int(abs(shut) / 2.3)):
        expected = mpmath_column(W, b, state, v, T)
    assert column == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("shut", [-1e12, -6.4e18, -1e25, -1e300])
def test_a_gate_beyond_any_power_of_two_is_let_go_without_a_warning(shut: float) -> None:
    """ln σ(a_o) = a_o, and 2^(a_o/ln 2) has a power that no int64 holds: no wrapped power, no RuntimeWarning."""
    biases = np.array([1.0, 1.0, 1.0, shut])
    weights = {"weight_ih": np.ones((4, 1)), "weight_hh": np.full((4, 1), 0.5)}
    source = {**weights, "bias_ih": biases, "bias_hh": np.zeros(4)}
    (result,) = gradscope.gradients(source, steps=4, inputs="zeros", loss="linear", readout=np.array([1.0])).results
    assert [row["log10_dloss_dstate"] for row in result.rows()] == [pytest.approx(0.0, abs=1e-12), *[None] * 4]
    assert np.isfinite(np.asarray(result.columns["log10_norm"], dtype=float)).all()


def test_a_relu_lstm_that_grows_warns_of_nothing() -> None:
    """Found by tests/verify/hunt_bounds.py: its output gates shut as e^(−10^39) while c grows."""
    source = "lstm:hidden=9,inputs=1,activation=relu,init=orthogonal,gain=9.282199668668946"
    report = gradscope.gradients(source, inputs="uniform", steps=51, seed=566931, anchor="start", loss="none")
    assert report.results[0].summary["bound_violations"] == 0


def test_many_steps_far_below_range_do_not_wrap() -> None:
    """f is shut, so that every step goes through o = 10^(−1.5·10¹¹) and W_g: the powers add up past 2^40."""
    biases = np.array([60.0, -1000.0, 0.7, -3.5e11])
    weights = {"weight_ih": np.zeros((4, 1)), "weight_hh": np.array([[0.0], [0.0], [0.9], [0.0]])}
    source = {**weights, "bias_ih": biases, "bias_hh": np.zeros(4)}
    column = loss_column(source, steps=20, inputs="zeros", readout=np.array([1.0]))
    g = math.tanh(0.7)
    step = -3.5e11 / math.log(10.0) + math.log10((1 - math.tanh(g) ** 2) * (1 - g * g) * 0.9)
    assert column == pytest.approx([k * step for k in range(21)], rel=1e-14, abs=1e-12)


def test_a_planted_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what is below range the gradient is an exact zero, which it is not."""
    from gradscope.jacobians.lstm_jacobian import LstmJacobian

    monkeypatch.setattr(LstmJacobian, "pulled_below_range", lambda *args: ())
    with pytest.raises(AssertionError):
        test_one_unit_without_recurrence(762)


def test_a_lost_gate_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without b the gradient is a tenth of a decade off, and nothing says so."""
    from gradscope.cells import lstm

    monkeypatch.setattr(lstm, "_held_by_no_float", lambda *args: None)
    with pytest.raises(AssertionError):
        test_an_output_gate_beyond_float64_beside_others(-1000.0)
