"""Every cell's linearisation against complex-step derivatives of its own `step`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.cells.activations import GATE_ACTIVATIONS, find_activation
from gradscope.errors import ShapeError, UsageError

#: The complex step and the analytic form both round about n·G times.
EXACT = 1e-13
#: With a layer norm the complex step itself cancels: of two units' derivative only ε/var ≥ 1e−6 is left of terms of
#: size 1. test_fifty_digits.py is the finer judge there.
CANCELLED = 1e-10


def allowed_for(extra):
    return CANCELLED if "norm" in extra else EXACT


def close(found, truth, allowed=EXACT):
    assert found.shape == truth.shape
    assert np.max(np.abs(found - truth)) <= allowed * max(np.max(np.abs(truth)), 1e-300)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "identity"])
def test_state_and_drive_jacobians_are_the_derivatives_of_step(variant, activation, build_cell, derivative):
    name, extra = variant
    rng = np.random.default_rng(3)
    for hidden in (1, 2, 5):
        cell = build_cell(name, hidden=hidden, activation=activation, **extra)
        s, drive = rng.normal(size=(4, cell.state_size)), 2 * rng.normal(size=(4, cell.n_gates * hidden))
        jacobian = cell.linearise(s, drive).jacobian
        close(jacobian.dense(), derivative(lambda v, c=cell, d=drive: c.step(v, d), s), allowed_for(extra))
        by_drive = derivative(lambda v, c=cell, at=s: c.step(at, v), drive)
        eye = np.broadcast_to(np.eye(jacobian.drive_size), (4, jacobian.drive_size, jacobian.drive_size))
        close(jacobian.push_drive(eye), by_drive, allowed_for(extra))
        rows = np.broadcast_to(np.eye(cell.state_size), (4, cell.state_size, cell.state_size))
        close(jacobian.pull_drive(rows), by_drive, allowed_for(extra))


def test_the_oracle_sees_a_planted_error(build_cell, derivative):
    cell = build_cell("gru")
    s, drive = np.full((1, 3), 0.3), np.linspace(-1, 1, 9)[None]
    wrong = cell.linearise(s, drive + 1e-9).jacobian.dense()
    with pytest.raises(AssertionError):
        close(wrong, derivative(lambda v: cell.step(v, drive), s))


def test_weight_cotangents_are_the_derivative_by_the_recurrent_weights(variant, build_cell):
    name, extra = variant
    cell = build_cell(name, hidden=2, **extra)
    rng = np.random.default_rng(5)
    s, drive = rng.normal(size=(1, cell.state_size)), rng.normal(size=(1, 2 * cell.n_gates))
    g = rng.normal(size=(1, cell.state_size))
    truth = np.empty(cell.weight_hh.shape)
    for index in np.ndindex(truth.shape):
        moved = cell.weight_hh.astype(complex)
        moved[index] += 1e-30j
        truth[index] = (g * replace(cell, weight_hh=moved).step(s, drive)).sum().imag / 1e-30
    (blocks,) = cell.linearise(s, drive).jacobian.weight_cotangents(g)
    if cell.recurrent == "none":
        assert blocks == ()
        return
    close(
        np.concatenate([rows[0, :, None] * columns[0, None, :] for rows, columns in blocks]), truth, allowed_for(extra)
    )


@given(hidden=st.integers(1, 8), wide=st.integers(1, 30), seed=st.integers(0, 99), steps=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_pull_push_and_dense_are_one_operator(variant, hidden, wide, seed, steps, build_cell):
    name, extra = variant
    cell = build_cell(name, hidden=hidden, seed=seed, **extra)
    rng = np.random.default_rng(seed)
    n = cell.state_size
    s, drive = rng.normal(size=(steps, 2, n)), rng.normal(size=(steps, 2, cell.n_gates * hidden))
    jacobian = cell.linearise(s, drive).jacobian
    J = jacobian.dense()
    assert jacobian.shape == (steps, 2)
    assert jacobian.state_size == n
    R, Q = rng.normal(size=(steps, 2, wide, n)), rng.normal(size=(steps, 2, n, wide))
    close(jacobian.pull(R), R @ J)
    close(jacobian.push(Q), J @ Q)
    close(jacobian.square(R), R @ J @ np.swapaxes(J, -1, -2), 1e-12)
    P = R[-1]
    for one_more, step in zip(jacobian.pull_through(P), J[::-1], strict=True):
        P = P @ step
        close(one_more, P, 1e-12)
    P = Q[0]
    for one_more, step in zip(jacobian.push_through(P), J, strict=True):
        P = step @ P
        close(one_more, P, 1e-12)
    u, v = Q[..., :1], R[..., :1, :]
    close(jacobian.square(v), v @ J @ np.swapaxes(J, -1, -2), 1e-12)
    adjoint = v @ jacobian.push(u) - jacobian.pull(v) @ u
    assert np.max(np.abs(adjoint)) <= EXACT * np.linalg.norm(u) * np.linalg.norm(v) * np.linalg.norm(J)
    one = jacobian[steps - 1]
    assert one.shape == (2,)
    close(one.push(Q[-1]), J[-1] @ Q[-1])
    close(jacobian[0:1].pull(R[:1]), R[:1] @ J[:1])
    D = rng.normal(size=(steps, 2, jacobian.drive_size, wide))
    close(v @ jacobian.push_drive(D), jacobian.pull_drive(v) @ D, 1e-12)


def test_networks_side_by_side_are_the_networks_one_by_one(variant, build_cell):
    name, extra = variant
    cell = build_cell(name, lead=(4,), **extra)
    rng = np.random.default_rng(8)
    x, s = rng.normal(size=(5, 4, 2, 2)), rng.normal(size=(5, 4, 2, cell.state_size))
    drive = cell.drive(x)
    together = cell.linearise(s, drive).jacobian
    Q, R = rng.normal(size=(5, 4, 2, cell.state_size, 3)), rng.normal(size=(5, 4, 2, 3, cell.state_size))
    g = rng.normal(size=(4, 2, cell.state_size))
    arrays = {key: value for key, value in vars(cell).items() if isinstance(value, np.ndarray)}
    for k in range(4):
        alone = replace(cell, **{key: value[k] for key, value in arrays.items()})
        close(cell.step(s[0], drive[0])[k], alone.step(s[0, k], alone.drive(x[0, k])))
        single = alone.linearise(s[:, k], alone.drive(x[:, k])).jacobian
        close(together.push(Q)[:, k], single.push(Q[:, k]))
        close(together[2].pull(R[2])[k], single[2].pull(R[2, k]))
        for block, other in zip(together[1].weight_cotangents(g)[0], single[1].weight_cotangents(g[k])[0], strict=True):
            close(block.rows[k], other.rows)
            close(block.columns[k], other.columns)


def test_float32_is_differentiated_where_it_went_in_float64(variant, build_cell):
    name, extra = variant
    cell = build_cell(name, **extra)
    arrays = {key: value.astype(np.float32) for key, value in vars(cell).items() if isinstance(value, np.ndarray)}
    single = replace(cell, **arrays)
    double = replace(cell, **{key: value.astype(np.float64) for key, value in arrays.items()})
    rng = np.random.default_rng(2)
    s = rng.normal(size=(1, cell.state_size)).astype(np.float32)
    x = rng.normal(size=(1, 2)).astype(np.float32)
    assert single.step(s, single.drive(x)).dtype == np.float32
    jacobian = single.linearise(s, single.drive(x)).jacobian.dense()
    assert jacobian.dtype == np.float64
    # Pre-activations of size 1 to 5 carry float32's 6e−8; slopes change by no more than that times their size.
    close(jacobian, double.linearise(s.astype(float), double.drive(x.astype(float))).jacobian.dense(), 3e-6)


def test_hard_gates_have_their_slopes_on_both_sides_of_the_kinks(build_cell):
    """Piecewise linear: a real difference inside a piece is exact up to rounding over the step."""
    for gate in ("hard_sigmoid", "hard_sigmoid_keras3"):
        for name in ("lstm", "gru"):
            cell = build_cell(name, activation="identity", gate_activation=GATE_ACTIVATIONS[gate])
            s, drive = np.full((1, cell.state_size), 0.2), np.linspace(-4, 4, cell.n_gates * 3)[None]
            J = cell.linearise(s, drive).jacobian.dense()
            eye = 1e-6 * np.eye(cell.state_size)
            difference = (cell.step(s + eye, drive) - cell.step(s - eye, drive)).T / 2e-6
            close(J[0], difference, 1e-8)


def test_questions_that_are_wrong(build_cell):
    with pytest.raises(UsageError, match="reset is 'after' or 'before', not 'never'"):
        build_cell("gru", reset="never")
    for leak in (-0.1, 1.5, float("nan")):
        with pytest.raises(UsageError, match="leak is a share from 0 to 1"):
            build_cell("leaky", leak=leak)
    with pytest.raises(UsageError, match="norm is 'none' or 'layer', not 'batch'"):
        build_cell("rnn", norm="batch")
    with pytest.raises(ShapeError, match="the gru reads inputs of width 2, these have 5"):
        build_cell("gru").drive(np.zeros((1, 5)))
    with pytest.raises(UsageError, match="Did you mean 'tanh'"):
        find_activation("tahn")


def test_what_is_made_of_shared_weights_is_made_once(build_cell):
    """Stretches of one trajectory share the transpose and the square of W."""
    cell, rng = build_cell("rnn", hidden=5), np.random.default_rng(7)
    recurrent = cell.linearise(rng.normal(size=(9, 5)), rng.normal(size=(9, 5))).jacobian.recurrent
    early, late = recurrent[:4], recurrent[4:]
    assert early[1:].weights_transposed is late.weights_transposed
    assert early.weights_squared is late[2].weights_squared
    np.testing.assert_array_equal(late.weights_transposed, recurrent.weights[0].T)
