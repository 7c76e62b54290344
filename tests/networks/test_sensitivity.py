"""∂h_t/∂x_j at every j: against complex steps, closed forms, and the control of theory C08."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.errors import InputError, UsageError
from gradscope.networks.dropout import SeededDropout
from gradscope.networks.independent import Independent
from gradscope.networks.layer import Layer
from gradscope.networks.sensitivity import measure_influence, measure_sensitivity, sensitivity_of
from gradscope.networks.seq2seq import Seq2Seq, run_seq2seq
from gradscope.networks.stack import Stack
from gradscope.networks.tangents import every_input_apart, input_weight, push_inputs
from gradscope.networks.trajectory import run_network
from gradscope.numerics.tape import tape_of_matrices


def networks(build):
    yield Layer(build("lstm", 3))
    yield Layer(build("gru", 4, norm="layer"))
    yield Stack((build("gru", 3), build("gru", 2, 3)), SeededDropout(0.3, 1))
    yield Independent.from_draws(build("rnn", 3), lambda t: np.random.default_rng(t).normal(size=(3, 3)))


def by_complex_step(network, s0, x, t, derivative):
    """∂h_t/∂x_j, shape (t, batch, H, I)."""
    out = []
    for j in range(t):

        def h(v, j=j):
            moved = x.astype(complex)
            moved[j] = v
            return network.advance(s0.astype(complex), moved)[t][..., network.output_components]

        out.append(derivative(h, x[j]))
    return np.array(out)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("step", [None, 3])
def test_every_number_against_complex_steps(number, step, build_cell, derivative, given_inputs, close):
    network = list(networks(build_cell))[number]
    rng = np.random.default_rng(2)
    x, s0 = rng.normal(size=(6, 2, 2)), rng.normal(size=(2, network.state_size))
    t = 6 if step is None else step
    truth = by_complex_step(network, s0, x, t, derivative)
    found = sensitivity_of(run_network(network, given_inputs(x), s0), step=step)
    assert found.step == t
    assert np.allclose(found.log10_norm, np.log10(np.linalg.norm(truth, 2, axis=(-2, -1))), rtol=0, atol=1e-11)
    squares = np.square(truth).sum(axis=(-2, -1))
    assert np.allclose(found.log10_norm_frobenius, np.log10(squares) / 2, rtol=0, atol=1e-11)
    assert np.allclose(found.share, squares / squares.sum(axis=0), rtol=1e-10, atol=0)
    assert np.allclose(found.log10_total, np.log10(squares.sum(axis=0)) / 2, rtol=0, atol=1e-11)
    sigma = np.linalg.svd(np.concatenate(list(truth), axis=-1), compute_uv=False)
    p = sigma / sigma.sum(axis=-1, keepdims=True)
    assert np.allclose(found.effective_rank, np.exp(-(p * np.log(p)).sum(axis=-1)), rtol=1e-10)
    assert (found.rank == len(network.output_components)).all()
    forward = push_inputs(network, network.advance(s0, x), x, every_input_apart(x))
    close(forward[t - 1].reshape(2, -1, 6, 2)[:, :, :t], np.moveaxis(truth, 0, -2), 1e-11)


def test_networks_side_by_side(build_cell, given_inputs):
    cell = build_cell("gru", lead=(3,))
    x = np.random.default_rng(2).normal(size=(5, 3, 2, 2))
    together = sensitivity_of(run_network(Layer(cell), given_inputs(x), np.zeros((3, 2, 3))))
    assert together.share.shape == (5, 3, 2)
    assert np.allclose(together.share.sum(axis=0), 1.0, rtol=1e-12)
    assert together.rank.shape == (3, 2)


def scalar(build, w, u=1.0, activation="identity"):
    cell = build("rnn", hidden=1, inputs=1, activation=activation)
    cell.weight_hh[...], cell.weight_ih[...], cell.bias[...] = w, u, 0.0
    return Layer(cell)


def test_a_geometric_series_far_below_what_float64_holds(build_cell, given_inputs):
    """w = 1e−3, T = 500: ‖∂h_T/∂x_1‖ = 10^−1497, the total is √(1/(1 − w²))."""
    found = sensitivity_of(run_network(scalar(build_cell, 1e-3), given_inputs(np.zeros((500, 1, 1))), np.zeros((1, 1))))
    assert np.allclose(found.log10_norm[:, 0], -3.0 * np.arange(499, -1, -1), rtol=1e-13, atol=1e-13)
    assert found.log10_total[0] == pytest.approx(-0.5 * np.log10(1 - 1e-6), abs=1e-15)
    assert found.rank[0] == 1
    assert found.effective_rank[0] == pytest.approx(1.0)
    assert found.share[-1, 0] == pytest.approx(1 - 1e-6, rel=1e-12)
    assert found.share[0, 0] == 0.0


def test_growing_gradients_put_the_share_on_the_first_input(build_cell, given_inputs):
    found = sensitivity_of(run_network(scalar(build_cell, 100.0), given_inputs(np.zeros((90, 1, 1))), np.zeros((1, 1))))
    assert found.share[0, 0] == pytest.approx(1 - 1e-4, rel=1e-12)
    assert found.log10_norm[0, 0] == pytest.approx(2 * 89, rel=1e-13)


def test_rank_is_bounded_by_the_state_and_by_what_is_fed(build_cell, given_inputs):
    """A delay line of 4 units with one input holds 4 inputs; one step of it holds one (theory C21)."""
    cell = build_cell("rnn", hidden=4, inputs=1, activation="identity")
    cell.weight_hh[...], cell.weight_ih[...], cell.bias[...] = np.eye(4, k=-1), np.eye(4, 1), 0.0
    tape = run_network(Layer(cell), given_inputs(np.zeros((9, 1, 1))), np.zeros((1, 4)))
    found = sensitivity_of(tape)
    assert found.rank[0] == 4
    assert found.effective_rank[0] == pytest.approx(4.0)
    assert np.isnan(found.log10_norm[:5]).all()
    assert np.array_equal(found.share[:, 0], [0] * 5 + [0.25] * 4)
    assert sensitivity_of(tape, step=1).rank[0] == 1


def test_nothing_to_hear(build_cell, given_inputs):
    deaf = sensitivity_of(
        run_network(scalar(build_cell, 0.5, u=0.0), given_inputs(np.ones((4, 1, 1))), np.ones((1, 1)))
    )
    assert np.isnan(deaf.log10_norm).all()
    assert np.isnan(deaf.share).all()
    assert deaf.rank[0] == 0
    assert deaf.effective_rank[0] == 0.0
    none = sensitivity_of(run_network(scalar(build_cell, 0.5), given_inputs(np.ones((0, 1, 1))), np.ones((1, 1))))
    assert none.log10_norm.shape == (0, 1)
    assert none.rank[0] == 0


def test_a_decoders_state_hears_the_encoders_inputs(build_cell, derivative, given_inputs):
    rng = np.random.default_rng(3)
    model = Seq2Seq(
        build_cell("gru"),
        build_cell("gru", inputs=4, seed=1),
        rng.normal(size=(4, 3)),
        rng.normal(size=4),
        feedback="soft",
    )
    x, s0 = rng.normal(size=(3, 1, 2)), np.zeros((1, 3))
    tape = run_seq2seq(model, given_inputs(x), s0, np.zeros(2, dtype=int))
    U = model.encoder.weight_ih
    found = measure_sensitivity(tape, np.arange(3), lambda j: U if j <= 3 else None)
    assert np.isnan(found.log10_norm[3:]).all()
    product = tape.dense(5)[0] @ tape.dense(4)[0]
    truth = product @ by_complex_step(Layer(model.encoder), s0, x, 3, derivative)[:, 0]
    assert np.allclose(found.log10_norm[:3, 0], np.log10(np.linalg.norm(truth, 2, axis=(-2, -1))), rtol=0, atol=1e-11)


def test_what_comes_between_acts_through_the_slopes_only(build_cell):
    """Theory C08: linear, exactly nothing; tanh, less when x_2 … x_9 are five times larger."""
    x = np.random.default_rng(0).normal(size=(12, 3, 2))
    s0 = np.zeros((3, 8))
    linear = measure_influence(Layer(build_cell("rnn", 8, activation="identity")), x, s0, rng=np.random.default_rng(1))
    assert np.array_equal(linear.original, linear.permuted)
    assert np.array_equal(linear.original, linear.rescaled)
    tanh = measure_influence(Layer(build_cell("rnn", 8)), x, s0, rng=np.random.default_rng(1))
    assert (tanh.original != tanh.permuted).all()
    assert (tanh.rescaled < tanh.original - 1).all()
    beside = measure_influence(Layer(build_cell("rnn", 8)), x, s0, rng=np.random.default_rng(1), source=9)
    assert np.array_equal(beside.original, beside.rescaled)


def test_wrong_questions(build_cell, given_inputs):
    network = scalar(build_cell, 0.5)
    x = np.zeros((4, 1, 1))
    tape = run_network(network, given_inputs(x), np.zeros((1, 1)))
    with pytest.raises(UsageError, match="step 9 is outside this run of 4 steps"):
        sensitivity_of(tape, step=9)
    with pytest.raises(UsageError, match="x_1 and h_10 must be in order and within the 4 input steps"):
        measure_influence(network, x, np.zeros((1, 1)), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="came without their inputs"):
        measure_sensitivity(tape_of_matrices(np.ones((2, 1, 1))), np.arange(1), lambda j: input_weight(network, j, j))
