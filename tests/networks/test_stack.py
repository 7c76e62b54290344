"""Stacks: block-triangular step Jacobians, dropout masks, layers on their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.errors import ShapeError, UsageError
from gradscope.networks.dropout import SeededDropout
from gradscope.networks.layer import Layer
from gradscope.networks.stack import Stack, split_stack
from gradscope.networks.trajectory import run_network
from gradscope.numerics.backprop import measure_loss_gradients
from gradscope.numerics.layer_blocks import measure_layer_blocks
from gradscope.numerics.propagate import measure_norms

NAMES = ["rnn", "skip", "forget-gate", "input-gate", "lstm", "gru"]


def stack_of(build, name, sizes=(3, 2, 4), seed=0, dropout=None, **kind):
    widths = (2, *sizes[:-1])
    cells = [build(name, hidden=h, inputs=i, seed=seed + h, **kind) for h, i in zip(sizes, widths, strict=True)]
    return Stack(tuple(cells), dropout)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dropout", [None, SeededDropout(0.4, 3)])
def test_step_jacobian_is_the_derivative_of_the_whole_step(name, dropout, build_cell, derivative, close):
    stack = stack_of(build_cell, name, dropout=dropout)
    rng = np.random.default_rng(1)
    s, x = rng.normal(size=(2, stack.state_size)), rng.normal(size=(1, 2, 2))
    states = stack.advance(s, x, first=7)
    jacobian = stack.linearise(states, x, first=7).jacobian[0]
    close(jacobian.dense(), derivative(lambda v: stack.advance(v, x, first=7)[1], s), 1e-13)
    by_input = derivative(lambda v: stack.advance(s.astype(complex), v[None], first=7)[1], x[0])
    close(
        jacobian.push_drive(np.broadcast_to(stack.input_matrix(7, 7), (2, *stack.input_matrix(7, 7).shape))),
        by_input,
        1e-13,
    )


def test_a_layer_never_depends_on_those_above(build_cell):
    stack = stack_of(build_cell, "lstm")
    x = np.ones((4, 1, 2))
    J = stack.linearise(stack.advance(np.zeros((1, stack.state_size)), x), x).jacobian.dense()
    for a, upper in enumerate(stack.layer_slices):
        for lower in stack.layer_slices[a + 1 :]:
            assert not J[..., upper, lower].any()
            assert J[..., lower, upper].any()


@given(
    name=st.sampled_from(NAMES),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    wide=st.integers(1, 30),
    seed=st.integers(0, 99),
    rate=st.sampled_from([None, 0.5]),
    networks=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_pull_push_and_dense_are_one_operator(name, sizes, wide, seed, rate, networks, build_cell, close):
    lead = (2,) if networks else ()
    dropout = None if rate is None else SeededDropout(rate, seed)
    stack = stack_of(build_cell, name, sizes, seed=seed, lead=lead, dropout=dropout)
    rng = np.random.default_rng(seed)
    n, batch = stack.state_size, (*lead, 3)
    x = rng.normal(size=(4, *batch, 2))
    jacobian = stack.linearise(stack.advance(rng.normal(size=(*batch, n)), x), x).jacobian
    assert jacobian.shape == (4, *batch)
    J = jacobian.dense()
    R, Q = rng.normal(size=(4, *batch, wide, n)), rng.normal(size=(4, *batch, n, wide))
    D = rng.normal(size=(4, *batch, jacobian.drive_size, wide))
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
    close(R @ jacobian.push_drive(D), jacobian.pull_drive(R) @ D)
    close(jacobian[1:3].pull(R[1:3]), (R @ J)[1:3])
    close(jacobian[2].push(Q[2]), (J @ Q)[2])
    close(jacobian[3].pull(np.eye(n)), J[3])


def test_networks_side_by_side_have_masks_of_their_own(build_cell, close):
    together = stack_of(build_cell, "gru", lead=(3,), dropout=SeededDropout(0.5, np.array([4, 5, 6])))
    x, s = np.random.default_rng(0).normal(size=(5, 3, 2, 2)), np.zeros((3, 2, together.state_size))
    states = together.advance(s, x)
    J = together.linearise(states, x).jacobian.dense()
    for k in range(3):
        cells = tuple(
            replace(cell, **{key: value[k] for key, value in vars(cell).items() if isinstance(value, np.ndarray)})
            for cell in together.cells
        )
        alone = Stack(cells, SeededDropout(0.5, 4 + k))
        single = alone.advance(s[k], x[:, k])
        close(states[:, k], single)
        close(J[:, k], alone.linearise(single, x[:, k]).jacobian.dense())


def test_a_run_cut_at_checkpoints_is_the_same_run(build_cell, given_inputs, close):
    stack = stack_of(build_cell, "lstm", dropout=SeededDropout(0.3, 9))
    x = given_inputs(np.random.default_rng(0).normal(size=(9, 2, 2)))
    s0 = np.zeros((2, stack.state_size))
    whole, cut = run_network(stack, x, s0), run_network(stack, x, s0, memory=1)
    cut.spacing, cut.checkpoints = 2, np.stack([whole.state(t) for t in (0, 2, 4, 6, 8, 9)])
    cut._held = None
    for t in range(1, 10):
        assert np.array_equal(cut.state(t), whole.state(t))
        assert np.array_equal(cut.dense(t), whole.dense(t))
    assert np.array_equal(cut.jacobians(2, 5).dense(), whole.jacobians(2, 5).dense())


def test_dropout_drops_what_it_says():
    mask = SeededDropout(0.25, 1).mask(0, 1, 50, (4,), 30)
    assert mask.shape == (50, 4, 30)
    assert set(np.unique(mask)) == {0.0, 1 / 0.75}
    # 6,000 independent draws: 4.5 standard errors of a share of 1/4.
    assert abs((mask == 0).mean() - 0.25) < 4.5 * np.sqrt(0.25 * 0.75 / mask.size)
    assert np.array_equal(mask[10:20], SeededDropout(0.25, 1).mask(0, 11, 20, (4,), 30))
    assert not np.array_equal(mask, SeededDropout(0.25, 1).mask(1, 1, 50, (4,), 30))
    assert not np.array_equal(mask, SeededDropout(0.25, 2).mask(0, 1, 50, (4,), 30))


def test_a_unit_that_is_dropped_passes_nothing_up_or_down(build_cell, monkeypatch):
    mask = np.array([1.0, 0.0, 1.0])
    monkeypatch.setattr(
        SeededDropout,
        "mask",
        lambda self, layer, first, last, batch, width: np.broadcast_to(mask, (last - first + 1, *batch, width)),
    )
    stack = stack_of(build_cell, "rnn", (3, 2), dropout=SeededDropout(0.5, 0))
    x = np.ones((3, 1, 2))
    jacobian = stack.linearise(stack.advance(np.zeros((1, 5)), x), x).jacobian
    (coupling,) = jacobian.couplings
    assert not coupling.pull(np.eye(2)[None])[..., 1].any()
    moved = stack.advance(np.zeros((1, 5)), x)[1, :, 3:]
    silent = replace(stack.cells[1], weight_ih=stack.cells[1].weight_ih * mask)
    assert np.array_equal(moved, Stack((stack.cells[0], silent)).advance(np.zeros((1, 5)), x)[1, :, 3:])


def test_layers_alone_are_the_diagonal_blocks(build_cell, close):
    stack = stack_of(build_cell, "lstm", dropout=SeededDropout(0.5, 2))
    x, s0 = np.random.default_rng(3).normal(size=(6, 2, 2)), np.zeros((2, stack.state_size))
    J = stack.linearise(stack.advance(s0, x), x).jacobian.dense()
    for part, where in zip(split_stack(stack, x, s0), stack.layer_slices, strict=True):
        assert part.direction == "forward"
        close(part.network.advance(part.initial_state, part.inputs), part.states)
        alone = part.network.linearise(part.states, part.inputs).jacobian.dense()
        close(alone, J[..., where, where])


def test_the_table_of_layers_is_the_blocks_of_the_product(build_cell, given_inputs):
    stack = stack_of(build_cell, "gru", (3, 2))
    tape = run_network(stack, given_inputs(np.random.default_rng(3).normal(size=(8, 2, 2))), np.zeros((2, 5)))
    table = measure_layer_blocks(tape, stack.layer_slices)
    assert table.shape == (9, 2, 2, 2)
    P = np.broadcast_to(np.eye(5), (2, 5, 5))
    for lag in range(9):
        if lag:
            P = P @ tape.dense(9 - lag)
        for a, upper in enumerate(stack.layer_slices):
            for b, lower in enumerate(stack.layer_slices):
                truth = np.linalg.norm(P[..., upper, lower], 2, axis=(-2, -1))
                if (truth == 0).all():
                    assert np.isnan(table[lag, a, b]).all()
                else:
                    assert np.max(np.abs(table[lag, a, b] - np.log10(truth))) < 1e-12
    picked = measure_layer_blocks(tape, stack.layer_slices, [0, 5])
    assert np.array_equal(picked, table[[0, 5]], equal_nan=True)


def test_a_layer_that_vanishes_beside_one_that_does_not_keeps_its_digits(build_cell, given_inputs):
    """Linear scalars a = 1 below b = 1e−3: blocks are 1, b^k, and U Σ_{j=1..k} b^{k−j} a^{j}."""
    below, above = (build_cell("rnn", hidden=1, inputs=1, activation="identity") for _ in range(2))
    for cell, w in ((below, 1.0), (above, 1e-3)):
        cell.weight_hh[...], cell.weight_ih[...], cell.bias[...] = w, 1.0, 0.0
    stack = Stack((below, above))
    tape = run_network(stack, given_inputs(np.zeros((500, 1, 1))), np.zeros((1, 2)))
    at_500 = measure_layer_blocks(tape, stack.layer_slices, [500])[0, :, :, 0]
    assert at_500[0, 0] == 0.0
    assert np.isnan(at_500[0, 1])
    assert at_500[1, 1] == pytest.approx(-1500, rel=1e-13)
    assert at_500[1, 0] == pytest.approx(np.log10(1 / (1 - 1e-3)), rel=1e-12)


def test_loss_gradients_reach_every_layer(build_cell, given_inputs):
    stack = stack_of(build_cell, "lstm", (3, 2))
    tape = run_network(stack, given_inputs(np.ones((4, 1, 2))), np.zeros((1, 10)))
    g = np.zeros((1, 10))
    g[:, stack.output_components] = 1.0
    found = measure_loss_gradients(tape, lambda t: g if t == 4 else None, n_layers=2)
    assert np.isfinite(found.log10_dweight_layers[:3]).all()
    both = np.log10(np.sqrt((10 ** (2 * found.log10_dweight_layers[:4])).sum(axis=1)))
    assert np.allclose(both[:3], found.log10_dweight[:3], rtol=0, atol=1e-12)
    assert measure_norms(tape).log10_norm.shape == (5, 1)


def test_one_layer_is_a_layer(build_cell):
    cell = build_cell("lstm")
    stack, layer = Stack((cell,)), Layer(cell)
    x, s0 = np.ones((3, 1, 2)), np.zeros((1, 6))
    assert np.array_equal(stack.advance(s0, x), layer.advance(s0, x))
    assert np.array_equal(stack.h_components, layer.h_components)
    assert np.array_equal(stack.output_components, layer.output_components)
    assert stack.layer_slices == layer.layer_slices
    assert Stack((build_cell("rnn"),)).h_components is None


def test_what_does_not_fit_is_refused(build_cell):
    with pytest.raises(ShapeError, match="layer 1 reads inputs of width 2, layer 0 has 3 units"):
        Stack((build_cell("rnn"), build_cell("rnn")))
    for rate in (1.0, 1.5, -0.1, float("nan")):
        with pytest.raises(UsageError, match="dropout is a probability below 1"):
            SeededDropout(rate, 0)
