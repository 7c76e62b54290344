"""Bounds on stacks and on decoders that hear themselves: never exceeded, attained where theory says so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.cells import CELLS
from gradscope.cells.activations import find_activation
from gradscope.networks.dropout import SeededDropout
from gradscope.networks.seq2seq import Seq2Seq, run_seq2seq
from gradscope.networks.stack import Stack
from gradscope.networks.trajectory import GivenSteps, run_network
from gradscope.numerics.propagate import measure_norms
from gradscope.theory.bounds import step_norm_bounds
from gradscope.theory.composition_bounds import decoder_step_bounds, feedback_gain, stack_bound


def cell_of(name, hidden, inputs, seed, gain=1.0, **settings):
    rng = np.random.default_rng([seed, hidden, inputs])
    rows = len(CELLS[name].gates) * hidden
    return CELLS[name].from_layer(
        rng.normal(size=(rows, inputs)),
        rng.normal(size=CELLS[name].recurrent_shape(hidden)) * gain / np.sqrt(hidden),
        rng.normal(size=rows) / 2,
        rng.normal(size=rows) / 2,
        **settings,
    )


@given(
    name=st.sampled_from(sorted(CELLS)),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    T=st.integers(0, 15),
    seed=st.integers(0, 999),
    gain=st.sampled_from([0.1, 1.0, 4.0]),
    rate=st.sampled_from([0.0, 0.5]),
    anchor=st.sampled_from(["end", "start"]),
)
@settings(max_examples=60, deadline=None)
def test_a_stack_never_exceeds_its_bound(name, sizes, T, seed, gain, rate, anchor):
    cells = tuple(cell_of(name, h, i, seed, gain) for h, i in zip(sizes, (2, *sizes), strict=False))
    stack = Stack(cells, SeededDropout(rate, seed))
    rng = np.random.default_rng(seed)
    s0 = rng.uniform(-1, 1, size=(2, stack.state_size))
    tape = run_network(stack, GivenSteps(3 * rng.normal(size=(T, 2, 2))), s0)
    bound = stack_bound(cells, T, 1.0, anchor, mask_gain=1 / (1 - rate))
    assert bound.shape == (T + 1,)
    assert bound[0] == 0.0
    norms = measure_norms(tape, anchor=anchor)
    assert (np.where(norms.zero, -np.inf, norms.log10_norm).max(axis=1) <= bound + 1e-10).all()


def test_attained_by_linear_scalars_that_all_pull_the_same_way():
    """a below, b above, u between: the bound is the norm of [[a, 0], [u a, b]]^k itself."""
    cells = tuple(cell_of("rnn", 1, 1, 0, activation=find_activation("identity")) for _ in range(2))
    a, b, u = 0.9, 0.5, 2.0
    for cell, w in zip(cells, (a, b), strict=True):
        cell.weight_hh[...], cell.weight_ih[...], cell.bias[...] = w, u, 0.0
    J = np.array([[a, 0.0], [u * a, b]])
    found = stack_bound(cells, 200, 1.0, "end")
    for k in (1, 2, 10, 200):
        truth = np.log10(np.linalg.norm(np.linalg.matrix_power(J, k), 2))
        assert found[k] == pytest.approx(truth, abs=1e-10)
        assert found[k] >= truth


def test_a_bound_that_does_not_exist_is_infinite():
    relu = {"activation": find_activation("relu")}
    cells = (cell_of("lstm", 2, 2, 0, **relu), cell_of("lstm", 2, 2, 1, **relu))
    assert stack_bound(cells, 3, 1.0, "end").tolist() == [0.0, np.inf, np.inf, np.inf]


def test_layers_that_pass_nothing_are_bounded_apart():
    cells = tuple(cell_of("rnn", 2, 2, seed) for seed in (0, 1))
    cells[1].weight_ih[...] = 0.0
    apart = [float(np.linalg.norm(cell.weight_hh, 2)) for cell in cells]
    assert stack_bound(cells, 5, 1.0, "end")[5] == pytest.approx(5 * np.log10(max(apart)), abs=1e-12)


@given(
    name=st.sampled_from(["rnn", "skip", "forget-gate", "input-gate", "lstm", "gru"]),
    seed=st.integers(0, 999),
    temperature=st.sampled_from([0.3, 1.0]),
    embedded=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_a_decoder_that_hears_itself_never_exceeds_its_bound(name, seed, temperature, embedded):
    rng = np.random.default_rng(seed)
    V, S = 4, 6
    embedding = rng.normal(size=(V, 2)) if embedded else None
    encoder, decoder = cell_of(name, 3, 2, seed), cell_of(name, 3, 2 if embedded else V, seed + 1)
    head = rng.normal(size=(V, 3))
    model = Seq2Seq(encoder, decoder, head, rng.normal(size=V), embedding, "soft", temperature=temperature)
    s0 = rng.uniform(-1, 1, size=(1, encoder.state_size))
    tape = run_seq2seq(model, GivenSteps(rng.normal(size=(4, 1, 2))), s0, np.zeros(S, dtype=int))
    at_hand_over = float(np.max(np.abs(tape.state(4))))
    bounds = decoder_step_bounds(decoder, S, at_hand_over, feedback_gain(decoder, head, embedding, temperature))
    for step in range(S):
        norm = np.linalg.norm(tape.dense(5 + step)[0], 2)
        assert np.log10(norm) <= bounds[step] + 1e-12
    assert np.array_equal(decoder_step_bounds(decoder, S, at_hand_over), step_norm_bounds(decoder, S, at_hand_over))


def test_the_softmax_passes_at_most_one_half():
    """Attained by two equally likely symbols: diag(p) − p pᵀ = ¼ [[1, −1], [−1, 1]], norm ½."""
    p = np.array([0.5, 0.5])
    assert np.linalg.norm(np.diag(p) - np.outer(p, p), 2) == pytest.approx(0.5, rel=1e-15)
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.dirichlet(np.full(rng.integers(2, 9), 0.3))
        assert np.linalg.norm(np.diag(p) - np.outer(p, p), 2) <= 0.5 * (1 + 1e-14)
