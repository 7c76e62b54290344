"""Bounds that hold for every input: never exceeded, and attained where theory says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.networks.layer import Layer

#: A norm computed by SVD of an n × n matrix may stand above the true one by a few n·eps.
ROUNDING = 1 + 1e-13


def block_norms(cell):
    return {gate: float(np.linalg.norm(block, 2)) for gate, block in cell.recurrent_blocks().items()}


def bounded_part(cell, state):
    """What `state_bound` speaks of: c for an lstm (its |h| ≤ sup|φ| always), h otherwise."""
    return np.max(np.abs(state[..., -cell.gate_size :]))


@given(
    hidden=st.integers(1, 8),
    steps=st.integers(0, 30),
    seed=st.integers(0, 9999),
    gain=st.sampled_from([0.0, 0.3, 1.0, 3.0, 10.0]),
    drive=st.sampled_from([0.0, 1.0, 10.0]),
    activation=st.sampled_from(["tanh", "sigmoid", "relu", "identity"]),
    single=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_never_exceeded(variant, build_cell, hidden, steps, seed, gain, drive, activation, single):
    name, extra = variant
    cell = build_cell(name, hidden=hidden, seed=seed, gain=gain, activation=activation, **extra)
    dtype = np.float32 if single else np.float64
    cell = replace(cell, **{k: v.astype(dtype) for k, v in vars(cell).items() if isinstance(v, np.ndarray)})
    rng = np.random.default_rng(seed)
    x = (drive * rng.normal(size=(steps, 2, 2))).astype(dtype)
    s0 = rng.uniform(-1, 1, size=(2, cell.state_size)).astype(dtype)
    network = Layer(cell)
    with np.errstate(over="ignore", invalid="ignore"):
        states = network.advance(s0, x)
    usable = np.isfinite(states).all(axis=(1, 2))
    steps = steps if usable.all() else int(np.argmin(usable)) - 1
    assert states.shape == (len(x) + 1, 2, cell.state_size)
    if np.max(np.abs(states[: steps + 1])) > 1e15:
        return  # identity and relu can grow without end; their trajectories are rounding by then
    norms = block_norms(cell)
    # A float32 trajectory is a float64 one with inputs off by 6e−8 of their size: 1e−5 covers 30 steps of that.
    slack = ROUNDING if dtype is np.float64 else 1 + 1e-5
    bound = float(bounded_part(cell, s0))
    jacobian = network.linearise(states[: steps + 1], x[:steps]).jacobian
    jacobians = jacobian.dense()
    eye = np.eye(jacobian.drive_size)
    by_drive = jacobian.push_drive(np.broadcast_to(eye, (steps, 2, *eye.shape)))
    for t in range(steps):
        step_bound = cell.step_norm_bound(norms, bound)
        drive_bound = cell.drive_norm_bound(norms, bound)
        assert not np.isnan([step_bound, drive_bound]).any()
        assert np.linalg.norm(by_drive[t], 2, axis=(-2, -1)).max() <= drive_bound * slack
        assert np.linalg.norm(jacobians[t], 2, axis=(-2, -1)).max() <= step_bound * slack
        bound = cell.next_state_bound(bound)
        assert bounded_part(cell, states[t + 1]) <= bound * slack


def plain(build_cell, name, W, *, bias=None, **settings):
    """A cell with candidate weights W, all other recurrent weights 0, and no input."""
    cell = build_cell(name, hidden=len(W), inputs=1, **settings)
    weight = np.zeros_like(cell.weight_hh)
    weight[-len(W) :] = W
    bias = np.zeros(len(weight)) if bias is None else np.asarray(bias, dtype=float)
    extra = {"bias_recurrent": None} if name == "gru" else {}
    return replace(cell, weight_ih=0 * cell.weight_ih, weight_hh=weight, bias=bias, **extra)


def norm_at_rest(cell):
    s = np.zeros((1, cell.state_size))
    return np.linalg.norm(cell.linearise(s, cell.drive(np.zeros((1, 1)))).jacobian.dense()[0], 2)


def test_attained_by_the_plain_and_the_skip_recurrence(build_cell):
    """At a = 0 the slope of tanh is γ = 1; I + W is as large as 1 + σ₁(W) for symmetric W ≥ 0."""
    W = np.array([[2.0, 1.0], [1.0, 2.0]])
    for name, truth in (("rnn", 3.0), ("skip", 4.0), ("leaky", 2.0)):
        cell = plain(build_cell, name, W)
        assert norm_at_rest(cell) == pytest.approx(truth, rel=1e-14)
        assert cell.step_norm_bound(block_norms(cell), 0.0) == pytest.approx(truth, rel=1e-14)


@pytest.mark.parametrize("name", ["forget-gate", "gru"])
def test_an_open_and_a_closed_gate_attain_the_square_root(name, build_cell):
    """J = [[1, 0], [w, 0]]: unit 1 keeps, unit 2 copies w·unit 1; its norm √(1 + w²) is above max(1, w)."""
    w = 1.5
    W = np.array([[0.0, 0.0], [w, 0.0]])
    gate = [40.0, -40.0]  # f (or z) is 1 and 0 to 4e−18
    bias = [*gate, 0, 0] if name == "forget-gate" else [40.0, 40.0, *gate, 0, 0]
    cell = plain(build_cell, name, W, bias=bias)
    truth = np.hypot(1.0, w)
    assert norm_at_rest(cell) == pytest.approx(truth, rel=1e-14)
    assert cell.step_norm_bound(block_norms(cell), 0.0) == pytest.approx(truth, rel=1e-14)


def test_a_gru_that_resets_before_attains_it_too(build_cell):
    cell = plain(build_cell, "gru", np.array([[0.0, 0.0], [1.5, 0.0]]), bias=[40, 40, 40, -40, 0, 0], reset="before")
    assert norm_at_rest(cell) == pytest.approx(np.hypot(1.0, 1.5), rel=1e-14)


def test_the_lstm_attains_its_block_bound(build_cell):
    """f = o = i = 1 and tanh at 0: [[W, I], [W, I]] with symmetric W has norm √2·√(σ₁² + 1)."""
    W = np.diag([2.0, 0.5])
    cell = plain(build_cell, "lstm", W)
    rows = np.zeros((8, 2))
    rows[4:6] = W
    cell = replace(cell, weight_hh=rows, bias=np.array([40.0] * 4 + [0.0] * 2 + [40.0] * 2))
    assert norm_at_rest(cell) == pytest.approx(np.sqrt(2 * (4 + 1)), rel=1e-13)
    assert cell.step_norm_bound(block_norms(cell), 0.0) == pytest.approx(np.sqrt(10), rel=1e-13)


def test_what_has_no_bound_says_inf_and_a_zero_block_passes_nothing(build_cell):
    for name in ("forget-gate", "input-gate", "lstm", "gru"):
        cell = build_cell(name, activation="relu")
        assert cell.step_norm_bound(block_norms(cell), np.inf) == np.inf
        still = dict.fromkeys(cell.gates, 0.0)
        if name in ("forget-gate", "input-gate"):
            assert cell.step_norm_bound(still, np.inf) == 1.0


def test_units_that_read_themselves_alone_attain_the_largest_weight(build_cell):
    """At a = 0 the slope of tanh is 1: ‖J‖ = max|w|, and no unit hears another."""
    cell = build_cell("indrnn", hidden=3, inputs=1)
    cell.weight_hh[:, 0], cell.bias[...] = [0.5, -1.75, 1.0], 0.0
    assert norm_at_rest(cell) == 1.75
    assert cell.step_norm_bound(block_norms(cell), 0.0) == pytest.approx(1.75, rel=1e-14)
