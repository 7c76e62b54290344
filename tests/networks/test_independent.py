"""The control network: a weight of its own at every step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.errors import UsageError
from gradscope.networks.independent import Independent
from gradscope.networks.layer import Layer
from gradscope.networks.trajectory import run_network, step_bytes
from gradscope.numerics.backprop import backpropagate
from gradscope.numerics.propagate import measure_norms


def drawn(seed, H, lead=()):
    return lambda t: np.random.default_rng([seed, t]).normal(size=(*lead, H, H)) / np.sqrt(H)


def control(build, hidden=3, seed=0, lead=(), **kind):
    return Independent.from_draws(build("rnn", hidden, seed=seed, lead=lead, **kind), drawn(seed, hidden, lead))


def test_every_step_is_an_rnn_with_its_own_weight(build_cell, derivative, close):
    network = control(build_cell)
    rng = np.random.default_rng(0)
    x, s = rng.normal(size=(5, 2, 2)), rng.normal(size=(2, 3))
    states = network.advance(s, x, first=4)
    jacobians = network.linearise(states, x, first=4).jacobian
    seen = []
    for t in range(5):
        W = drawn(0, 3)(4 + t)
        step = Layer(replace(network.cell, weight_hh=W))
        close(states[t + 1], step.advance(states[t], x[t : t + 1])[1], 1e-15)
        close(jacobians[t].dense(), derivative(lambda v, t=t, step=step: step.advance(v, x[t : t + 1])[1], states[t]))
        seen.append(W)
    assert len({W.tobytes() for W in seen}) == 5
    assert np.array_equal(network.cell.weight_hh, drawn(0, 3)(1))


@given(
    H=st.integers(1, 6), wide=st.integers(1, 30), seed=st.integers(0, 99), networks=st.booleans(), T=st.integers(1, 4)
)
@settings(max_examples=20, deadline=None)
def test_pull_push_and_dense_are_one_operator(H, wide, seed, networks, T, build_cell, close):
    lead = (3,) if networks else ()
    network = control(build_cell, H, seed, lead)
    rng = np.random.default_rng(seed)
    x, s = rng.normal(size=(T, *lead, 2, 2)), rng.normal(size=(*lead, 2, H))
    jacobian = network.linearise(network.advance(s, x), x).jacobian
    J = jacobian.dense()
    R, Q = rng.normal(size=(T, *lead, 2, wide, H)), rng.normal(size=(T, *lead, 2, H, wide))
    close(jacobian.pull(R), R @ J)
    close(jacobian.push(Q), J @ Q)
    close(jacobian.square(R), R @ J @ np.swapaxes(J, -1, -2))
    P = R[-1]
    for one_more, step in zip(jacobian.pull_through(P), J[::-1], strict=True):
        P = P @ step
        close(one_more, P, 1e-12)
    P = Q[0]
    for one_more, step in zip(jacobian.push_through(P), J, strict=True):
        P = step @ P
        close(one_more, P, 1e-12)
    for t in range(T):
        close(jacobian[t].pull(R[t]), (R @ J)[t])
        close(jacobian[t : t + 1].push(Q[t : t + 1]), (J @ Q)[t : t + 1])
        close(
            jacobian[t].pull_drive(R[t]) @ np.ones((H, 1)), (R[t] @ jacobian[t].push_drive(np.ones((*lead, 2, H, 1))))
        )


def test_networks_side_by_side(build_cell, close):
    network = control(build_cell, lead=(2,))
    x = np.random.default_rng(1).normal(size=(4, 2, 3, 2))
    states = network.advance(np.zeros((2, 3, 3)), x)
    J = network.linearise(states, x).jacobian.dense()
    for k in range(2):
        cell = replace(network.cell, **{n: v[k] for n, v in vars(network.cell).items() if isinstance(v, np.ndarray)})
        alone = Independent(cell, lambda t, k=k: drawn(0, 3, (2,))(t)[k])
        single = alone.advance(np.zeros((3, 3)), x[:, k])
        close(states[:, k], single)
        close(J[:, k], alone.linearise(single, x[:, k]).jacobian.dense())


def test_a_long_run_draws_its_weights_again_and_is_the_same_run(build_cell, given_inputs):
    network = control(build_cell, 16)
    x = given_inputs(np.random.default_rng(1).normal(size=(300, 1, 2)))
    whole = run_network(network, x, np.zeros((1, 16)))
    assert step_bytes(network, 1) > 8 * 16 * 16
    cut = run_network(network, x, np.zeros((1, 16)), memory=1)
    cut.spacing, cut.checkpoints, cut._held = 100, np.stack([whole.state(t) for t in (0, 100, 200, 300)]), None
    for t in (1, 100, 101, 250, 300):
        assert np.array_equal(cut.state(t), whole.state(t))
        assert np.array_equal(cut.dense(t), whole.dense(t))
    # A rank-adaptive product is exact to 1e−10; where the tape is cut must not change a single bit.
    assert np.array_equal(measure_norms(whole).log10_norm, measure_norms(cut).log10_norm)


def test_bounded_by_the_product_of_its_own_norms(build_cell, given_inputs):
    network = control(build_cell, 5)
    tape = run_network(network, given_inputs(np.random.default_rng(1).normal(size=(20, 1, 2))), np.zeros((1, 5)))
    logs = np.log10(network.step_norms(1, 20))
    measured = measure_norms(tape).log10_norm[:, 0]
    assert (measured[1:] <= np.cumsum(logs[::-1]) + 1e-12).all()
    linear = control(build_cell, 5, activation="identity")
    tape = run_network(linear, given_inputs(np.zeros((20, 1, 2))), np.zeros((1, 5)))
    assert measure_norms(tape).log10_norm[1, 0] == pytest.approx(logs[-1], abs=1e-12)


def test_each_copys_gradient_uses_its_own_slope(build_cell, given_inputs, close):
    network = control(build_cell)
    x = np.random.default_rng(3).normal(size=(3, 1, 2))
    tape = run_network(network, given_inputs(x), np.zeros((1, 3)))
    direct = np.ones((1, 3))
    for gradient in backpropagate(tape, lambda t: direct if t == 3 else None):
        if not gradient.step:
            continue
        ((block,),) = gradient.weights
        found = block.rows[0, :, None] * block.columns[0] * 2.0 ** gradient.exponent[0]
        truth = np.empty((3, 3))
        for i, j in np.ndindex(3, 3):

            def weights(t, i=i, j=j, step=gradient.step):
                W = drawn(0, 3)(t).astype(complex)
                W[i, j] += 1e-30j * (t == step)
                return W

            cell = replace(network.cell, weight_hh=network.cell.weight_hh.astype(complex))
            moved = Independent(cell, weights)
            truth[i, j] = moved.advance(np.zeros((1, 3), dtype=complex), x)[-1].sum().imag / 1e-30
        close(found, truth)


def test_a_layer_norm_is_refused(build_cell):
    with pytest.raises(UsageError, match="norm=layer is not defined for 'dnn'"):
        control(build_cell, norm="layer")
