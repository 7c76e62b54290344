"""Encoder–decoders: one tape over both phases, three kinds of feedback, the loss, the bottleneck."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradscope
from gradscope.analysis.cases import cases_of
from gradscope.analysis.request import GradientsRequest
from gradscope.cells import CELLS
from gradscope.errors import ShapeError, UsageError
from gradscope.jacobians.spans import SpanJacobian
from gradscope.networks import parameter_gradients
from gradscope.networks.parameter_gradients import measure_parameter_gradients
from gradscope.networks.seq2seq import Seq2Seq, run_seq2seq
from gradscope.networks.trajectory import run_network
from gradscope.numerics.backprop import backpropagate, measure_loss_gradients
from gradscope.numerics.bottleneck import measure_bottleneck
from gradscope.numerics.propagate import measure_norms
from gradscope.numerics.tape import Tape
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source

V = 4


def model_of(build, name="gru", feedback="soft", embedded=True, hidden=3, seed=0, **settings):
    rng = np.random.default_rng([seed, 11])
    width = 2 if embedded else V
    return Seq2Seq(
        build(name, hidden, 2, seed=seed),
        build(name, hidden, width, seed=seed + 1),
        2 * rng.normal(size=(V, hidden)),
        rng.normal(size=V),
        2 * rng.normal(size=(V, 2)) if embedded else None,
        feedback,
        **settings,
    )


def softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


def run_by_hand(model, x, s, target, symbols=None, moved=None):
    """States and loss, written out once more; ``moved = (j, s_j)`` replaces the state at step j."""
    H = model.decoder.hidden_size
    E = np.eye(V) if model.embedding is None else model.embedding
    loss, T = 0.0, len(x)
    states = [s]
    for t in range(1, T + len(target) + 1):
        if moved is not None and moved[0] == t - 1:
            states[-1] = moved[1]
        s = states[-1]
        if t <= T:
            states.append(model.encoder.step(s, model.encoder.drive(x[t - 1])))
            continue
        k = t - T - 1
        if k == 0:
            read = np.broadcast_to(E[model.start], (len(s), E.shape[1]))
        elif model.feedback == "soft":
            read = softmax((s[:, :H] @ model.head_weight.T + model.head_bias) / model.temperature) @ E
        else:
            read = E[(target if model.feedback == "teacher" else symbols)[k - 1]]
        states.append(model.decoder.step(s, model.decoder.drive(read)))
        y = softmax(states[-1][:, :H] @ model.head_weight.T + model.head_bias)
        loss = loss - np.log(np.take_along_axis(y, target[k][:, None], axis=1))[:, 0]
    return states, loss


@pytest.mark.parametrize("name", sorted(CELLS))
@pytest.mark.parametrize("feedback", ["teacher", "soft", "greedy"])
@pytest.mark.parametrize("embedded", [True, False])
def test_states_jacobians_and_loss_gradients(name, feedback, embedded, build_cell, derivative, close, given_inputs):
    model = model_of(build_cell, name, feedback, embedded, temperature=0.7, max_steps=3, end=2, start=1)
    rng = np.random.default_rng(5)
    x, target = rng.normal(size=(4, 2, 2)), rng.integers(V, size=(2, 3))
    s0 = rng.normal(size=(2, model.encoder.state_size)) / 2
    tape = run_seq2seq(model, given_inputs(x), s0, target)
    assert isinstance(tape, Tape)
    S = tape.decoder_steps
    wanted = target.T[:S]
    states, loss = run_by_hand(model, x, s0, wanted, tape.decoded)
    close(np.array([tape.state(t) for t in range(tape.n_steps + 1)]), states)
    if tape.scored.all():
        close(tape.loss_value(), loss)
    gradients = {g.step: g.vector * 2.0 ** g.exponent[:, None] for g in backpropagate(tape, tape.direct_term)}
    P = np.broadcast_to(np.eye(tape.state_size), (2, tape.state_size, tape.state_size))
    for j in range(tape.n_steps - 1, -1, -1):
        P = tape.pull(j + 1, P)

        def outcome(v, j=j):
            return run_by_hand(model, x, s0, wanted, tape.decoded, (j, v))

        close(P, derivative(lambda v: outcome(v)[0][-1], states[j]))
        if tape.scored.all():
            # A term at s_j itself counts towards ∂L/∂s_j: the moved state has to be scored as well.
            def total(v, j=j):
                k, H = j - 4, model.decoder.hidden_size
                after = outcome(v)[1]
                if k < 1:
                    return after
                for state, sign in ((v, 1.0), (states[j], -1.0)):
                    y = softmax(state[:, :H] @ model.head_weight.T + model.head_bias)
                    after = after - sign * np.log(np.take_along_axis(y, wanted[k - 1][:, None], axis=1))[:, 0]
                return after

            close(gradients[j], derivative(lambda v: total(v)[:, None], states[j])[:, 0])


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("feedback", ["teacher", "soft"])
def test_weight_gradients_of_encoder_and_decoder_copies(name, feedback, build_cell, given_inputs):
    """Every lag 0 … T+S−1 has one; their sums over each phase are complex-step derivatives by that phase's W_hh."""
    model = model_of(build_cell, name, feedback)
    rng = np.random.default_rng(6)
    x, target = rng.normal(size=(4, 2, 2)), rng.integers(V, size=(2, 3))
    s0 = rng.normal(size=(2, model.encoder.state_size)) / 2
    tape = run_seq2seq(model, given_inputs(x), s0, target)
    found = measure_loss_gradients(tape, tape.direct_term).log10_dweight
    total = {"encoder": 0.0, "decoder": 0.0}
    for gradient in backpropagate(tape, tape.direct_term):
        if gradient.step == 0:
            continue
        ((block,),) = gradient.weights
        scale = 2.0 ** gradient.exponent[:, None, None]
        copy = scale * block.rows[..., :, None] * block.columns[..., None, :]
        lag = tape.n_steps - gradient.step
        np.testing.assert_allclose(found[lag], np.log10(np.linalg.norm(copy, axis=(-2, -1))), atol=1e-12)
        total["encoder" if gradient.step <= 4 else "decoder"] += copy.sum(axis=0)
    assert np.isnan(found[tape.n_steps]).all()
    for phase, summed in total.items():
        cell = getattr(model, phase)
        by_entry = np.empty(cell.weight_hh.shape)
        for entry in np.ndindex(cell.weight_hh.shape):
            W = cell.weight_hh.astype(complex)
            W[entry] += 1e-30j
            moved = replace(model, **{phase: replace(cell, weight_hh=W)})
            by_entry[entry] = run_by_hand(moved, x, s0, target.T)[1].sum().imag / 1e-30
        np.testing.assert_allclose(summed, by_entry, atol=1e-12 * np.abs(by_entry).max())


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("feedback", ["teacher", "soft"])
def test_parameter_gradients_of_both_networks(name, feedback, build_cell, given_inputs):
    """Input weights, recurrent weights and bias of encoder and decoder, against complex steps in every entry."""
    model = model_of(build_cell, name, feedback)
    rng = np.random.default_rng(8)
    x, target = rng.normal(size=(4, 2, 2)), rng.integers(V, size=(2, 3))
    s0 = rng.normal(size=(2, model.encoder.state_size)) / 2
    tape = run_seq2seq(model, given_inputs(x), s0, target)
    found = measure_parameter_gradients(tape, tape.direct_term, biases=1)
    fields = {"weight_ih_l0": "weight_ih", "weight_hh_l0": "weight_hh", "bias_ih_l0": "bias"}
    assert found.names == tuple(f"{phase}.{key}" for phase in ("encoder", "decoder") for key in fields)
    for title, values in zip(found.names, found.values, strict=True):
        phase, _, key = title.partition(".")
        summed = (values * 2.0 ** found.exponent[:, None, None]).sum(axis=0)
        cell = getattr(model, phase)
        before = getattr(cell, fields[key])
        by_entry = np.empty(before.shape)
        for entry in np.ndindex(before.shape):
            after = before.astype(complex)
            after[entry] += 1e-30j
            moved = replace(model, **{phase: replace(cell, **{fields[key]: after})})
            by_entry[entry] = run_by_hand(moved, x, s0, target.T)[1].sum().imag / 1e-30
        np.testing.assert_allclose(summed.reshape(before.shape), by_entry, atol=1e-12 * np.abs(by_entry).max())


@pytest.mark.parametrize("silent", ["encoder", "decoder"])
def test_a_part_without_gradient_has_no_say_in_the_scale(silent, build_cell, given_inputs, monkeypatch):
    model = model_of(build_cell, "rnn", "teacher")
    rng = np.random.default_rng(9)
    tape = run_seq2seq(model, given_inputs(rng.normal(size=(3, 1, 2))), np.zeros((1, 3)), rng.integers(V, size=(1, 2)))
    summed = parameter_gradients._summed

    def far_down(run, gradients, biases):
        found = summed(run, gradients, biases)
        if run is getattr(tape, silent):
            return replace(found, values=tuple(0 * v for v in found.values), exponent=0 * found.exponent)
        return replace(found, exponent=found.exponent - 3000)

    whole = measure_parameter_gradients(tape, tape.direct_term).log10_norms()
    monkeypatch.setattr(parameter_gradients, "_summed", far_down)
    low = measure_parameter_gradients(tape, tape.direct_term).log10_norms()
    assert np.all((low > whole - 3000 * np.log10(2) - 3) & (low < whole - 3000 * np.log10(2) + 1e-9))


def test_the_summary_has_the_whole_gradient_of_both():
    text = "seq2seq:cell=gru,hidden=4"
    (result,) = gradscope.gradients(text, steps=6, batch=3).results
    (case,) = cases_of(build_source(parse_source(text), seed=0), GradientsRequest(steps=6, batch=3))
    sums = {}
    for gradient in backpropagate(case.tape, case.tape.direct_term):
        for number, block in enumerate(gradient.weights[0] if gradient.step else ()):
            scale = 2.0 ** gradient.exponent[:, None, None]
            copy = (scale * block.rows[..., :, None] * block.columns[..., None, :]).mean(axis=0)
            key = (gradient.step <= 6, number)
            sums[key] = sums.get(key, 0.0) + copy
    total = 0.5 * np.log10(sum(np.square(value).sum() for value in sums.values()))
    assert result.summary["log10_dloss_dweight_total"] == pytest.approx(total, abs=1e-12)


@given(
    name=st.sampled_from(sorted(CELLS)),
    hidden=st.integers(1, 5),
    embedded=st.booleans(),
    wide=st.integers(1, 30),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_pull_push_and_dense_are_one_operator(name, hidden, embedded, wide, seed, build_cell, close, given_inputs):
    model = model_of(build_cell, name, "soft", embedded, hidden, seed)
    rng = np.random.default_rng(seed)
    n = model.encoder.state_size
    tape = run_seq2seq(
        model, given_inputs(rng.normal(size=(3, 2, 2))), rng.normal(size=(2, n)), rng.integers(V, size=3)
    )
    jacobian = tape.jacobians(2, 5)
    assert isinstance(jacobian, SpanJacobian)
    assert jacobian.shape == (4, 2)
    J = jacobian.dense()
    R, Q = rng.normal(size=(4, 2, wide, n)), rng.normal(size=(4, 2, n, wide))
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
    for k in range(4):
        close(tape.dense(2 + k), J[k], 1e-13)
        close(jacobian[k].pull(R[k]), (R @ J)[k])
        close(jacobian[k - 4].push(Q[k]), (J @ Q)[k])
    close(jacobian[1:3].push(Q[1:3]), (J @ Q)[1:3])
    close(jacobian[2:].push(Q[2:]), (J @ Q)[2:])
    drive = rng.normal(size=(2, tape.jacobian(5).drive_size, wide))
    close(R[3] @ tape.jacobian(5).push_drive(drive), tape.jacobian(5).pull_drive(R[3]) @ drive)


def test_greedy_feedback_is_teacher_forcing_with_its_own_symbols(build_cell, close, given_inputs):
    """Argmax passes no gradient: the two tapes are the same, bit by bit; soft feedback adds a path."""
    greedy = model_of(build_cell, feedback="greedy", max_steps=5)
    x, s0 = given_inputs(np.random.default_rng(5).normal(size=(4, 1, 2))), np.zeros((1, 3))
    target = np.arange(5) % V
    found = run_seq2seq(greedy, x, s0, target)
    forced = run_seq2seq(replace(greedy, feedback="teacher"), x, s0, found.decoded[:, 0])
    soft = run_seq2seq(replace(greedy, feedback="soft"), x, s0, target)
    for t in range(1, found.n_steps + 1):
        assert np.array_equal(found.dense(t), forced.dense(t))
    # The first decoder step reads the start symbol, whatever the feedback.
    close(found.dense(5), soft.dense(5), 1e-15)
    assert not np.allclose(found.dense(6), soft.dense(6), rtol=0, atol=1e-3)


def test_soft_feedback_at_temperature_zero_is_greedy(build_cell, close, given_inputs):
    greedy = model_of(build_cell, feedback="greedy", max_steps=5)
    x, s0 = given_inputs(np.random.default_rng(5).normal(size=(4, 1, 2))), np.zeros((1, 3))
    found = run_seq2seq(greedy, x, s0, np.zeros(5, dtype=int))
    cold = run_seq2seq(replace(greedy, feedback="soft", temperature=1e-4), x, s0, np.zeros(5, dtype=int))
    close(cold.state(found.n_steps), found.state(found.n_steps))
    close(cold.dense(found.n_steps), found.dense(found.n_steps))


def certain(model, symbol):
    """The same model with a head that says one symbol whatever h is."""
    return replace(model, head_weight=0 * model.head_weight, head_bias=10.0 * (np.arange(V) == symbol))


def test_decoding_ends_at_end_or_at_max_steps(build_cell, given_inputs):
    x, s0 = given_inputs(np.ones((2, 1, 2))), np.zeros((1, 3))
    model = model_of(build_cell, feedback="greedy", max_steps=6)
    says_end = run_seq2seq(certain(model, V - 1), x, s0, np.zeros(4, dtype=int))
    assert says_end.decoder_steps == 1
    assert says_end.decoded.tolist() == [[V - 1]]
    never = run_seq2seq(certain(model, 1), x, s0, np.zeros(4, dtype=int))
    assert never.decoder_steps == 6
    assert never.direct_term(2 + 4) is not None
    assert never.direct_term(2 + 5) is None
    assert never.direct_term(2) is None
    named = run_seq2seq(certain(replace(model, end=1), 1), x, s0, np.zeros(4, dtype=int))
    assert named.decoder_steps == 1
    for feedback in ("teacher", "soft"):
        forced = run_seq2seq(certain(replace(model, feedback=feedback), V - 1), x, s0, np.zeros(4, dtype=int))
        assert forced.decoder_steps == 4


def test_a_sample_that_has_ended_is_scored_no_more(build_cell, given_inputs):
    model = model_of(build_cell, "rnn", "greedy", max_steps=4, hidden=1)
    # The head says End (3) where h > 0 and symbol 0 where h < 0; the input drives the two samples apart.
    model.encoder.weight_ih[...] = 50.0
    model.decoder.weight_ih[...], model.decoder.bias[...], model.decoder.weight_hh[...] = 0.0, 0.0, 50.0
    model = replace(model, head_weight=np.array([[-9.0], [0.0], [0.0], [9.0]]), head_bias=np.zeros(4))
    x = given_inputs(np.array([[[1.0, 1.0], [-1.0, -1.0]]]))
    tape = run_seq2seq(model, x, np.zeros((2, 1)), np.zeros(4, dtype=int))
    assert tape.decoded.tolist() == [[3, 0]] * 4
    assert tape.scored.tolist() == [[True, True]] + [[False, True]] * 3
    assert not tape.direct_term(3)[0].any()
    assert tape.direct_term(3)[1].any()
    alone = run_seq2seq(model, given_inputs(x.x[:, :1]), np.zeros((1, 1)), np.zeros(4, dtype=int))
    assert tape.loss_value()[0] == pytest.approx(alone.loss_value()[0], rel=1e-14)


def test_lags_run_back_through_both_phases(build_cell, given_inputs):
    model = model_of(build_cell, "lstm", "soft")
    x, s0 = given_inputs(np.random.default_rng(5).normal(size=(7, 1, 2))), np.zeros((1, 6))
    tape = run_seq2seq(model, x, s0, np.zeros(3, dtype=int))
    assert tape.phases() == ["decoder"] * 3 + ["encoder"] * 8
    norms = measure_norms(tape).log10_norm[:, 0]
    P = np.eye(6)
    for lag in range(1, 11):
        P = P @ tape.dense(11 - lag)[0]
        assert norms[lag] == pytest.approx(np.log10(np.linalg.norm(P, 2)), abs=1e-10)
    assert np.array_equal(tape.state(7), tape.encoder.state(7))
    assert np.array_equal(tape.state(7), tape.decoder.state(0))
    assert [(s.first, s.last) for s in tape.segments("end")] == [(8, 10), (1, 7)]
    assert [(s.first, s.last) for s in tape.segments("start")] == [(1, 7), (8, 10)]
    assert tape.layers == (model.encoder, model.decoder)
    assert tape.h_components.tolist() == [0, 1, 2]


def test_a_soft_decoder_cut_at_checkpoints_is_the_same_run(build_cell, given_inputs):
    model = model_of(build_cell, "gru", "soft")
    tape = run_seq2seq(model, given_inputs(np.ones((2, 2, 2))), np.zeros((2, 3)), np.zeros(9, dtype=int))
    whole = tape.decoder
    cut = run_network(whole.network, whole.inputs, whole.state(0), memory=1)
    cut.spacing, cut.checkpoints, cut._held = 4, np.stack([whole.state(t) for t in (0, 4, 8, 9)]), None
    for t in range(1, 10):
        assert np.array_equal(cut.state(t), whole.state(t))
        assert np.array_equal(cut.dense(t), whole.dense(t))


def test_the_bottleneck_is_each_decoder_steps_own_gradient(build_cell, given_inputs):
    model = model_of(build_cell, "gru", "teacher", hidden=2)
    tape = run_seq2seq(
        model, given_inputs(np.random.default_rng(5).normal(size=(4, 2, 2))), np.zeros((2, 2)), np.arange(5) % V
    )
    terms = {t: tape.direct_term(t) for t in range(5, 10)}
    found = measure_bottleneck(tape, terms)
    assert found.steps == (5, 6, 7, 8, 9)
    assert found.log10_norm.shape == (5, 10, 2)
    for index, step in enumerate(found.steps):
        for g in backpropagate(tape, lambda t, step=step: terms[step] if t == step else None):
            truth = np.linalg.norm(g.vector, axis=-1) * 2.0**g.exponent
            if g.step > step:
                assert np.isnan(found.log10_norm[index, g.step]).all()
            else:
                assert np.allclose(found.log10_norm[index, g.step], np.log10(truth), rtol=0, atol=1e-12)
    # Five decoder steps speak to the encoder through a state of two numbers.
    assert (found.rank[4] == 2).all()
    assert (found.rank[9] == 1).all()
    assert (found.rank[:5] <= 2).all()


def test_what_does_not_fit_is_refused(build_cell, given_inputs):
    model = model_of(build_cell)
    for change, kind, match in (
        ({"feedback": "sofft"}, UsageError, "unknown feedback 'sofft'.*Did you mean 'soft'"),
        ({"temperature": 0.0}, UsageError, "temperature is above 0, not 0"),
        ({"max_steps": 0}, UsageError, "max_steps is at least 1"),
        ({"encoder": build_cell("lstm")}, ShapeError, r"the encoder \(lstm, 3 units\) cannot hand its state"),
        ({"encoder": build_cell("gru", hidden=4)}, ShapeError, r"\(gru, 4 units\).*\(gru, 3 units\)"),
        ({"head_weight": np.zeros((V, 2))}, ShapeError, r"the head's weight is .* = \(4, 3\)"),
        ({"embedding": np.zeros((V, 5))}, ShapeError, r"the embedding is .* = \(4, 2\), this one is \(4, 5\)"),
        ({"embedding": None}, ShapeError, "reads one-hot symbols, but it has 2 inputs and the head 4"),
        ({"start": 4}, UsageError, "start=4 is no symbol: there are 4"),
        ({"end": -5}, UsageError, "end=-5 is no symbol"),
    ):
        with pytest.raises(kind, match=match):
            replace(model, **change)
    x, s0 = given_inputs(np.zeros((2, 2, 2))), np.zeros((2, 3))
    for target, kind, match in (
        (np.array([0, 4]), UsageError, r"symbols 0 … 4; the head knows 0 … 3"),
        (np.array([0.5]), UsageError, "integers"),
        (np.zeros((3, 2), dtype=int), ShapeError, r"\(batch, S\) = \(2, S\)"),
        (np.zeros(0, dtype=int), ShapeError, "S ≥ 1"),
    ):
        with pytest.raises(kind, match=match):
            run_seq2seq(model, x, s0, target)
