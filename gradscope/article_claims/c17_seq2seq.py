"""C17: the encoder's last state is the decoder's first; its output is fed back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding, estimate
from gradscope.article_claims.runs import cell, claim_generator, gaussian
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.seq2seq import Seq2Seq, run_seq2seq
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.networks.trajectory import GivenSteps
from gradscope.numerics.backprop import backpropagate
from gradscope.numerics.bottleneck import measure_bottleneck

H, SYMBOLS, WIDTH, T, S = 6, 9, 6, 8, 20


def _model(rng: np.random.Generator) -> tuple[Seq2Seq, Array, Array]:
    """An encoder–decoder, its inputs and a target."""
    encoder = cell("rnn", [gaussian(rng, H, H)], weight_ih=gaussian(rng, H, WIDTH), biases=[0])
    decoder = cell("rnn", [gaussian(rng, H, H, gain=1.2)], weight_ih=gaussian(rng, H, SYMBOLS), biases=[0])
    head = gaussian(rng, SYMBOLS, H, gain=2.0)
    # No decoding ends early: End is the least likely symbol.
    head_bias = 0.1 * rng.standard_normal(SYMBOLS) - 50.0 * (np.arange(SYMBOLS) == SYMBOLS - 1)
    model = Seq2Seq(encoder, decoder, head, head_bias, feedback="teacher", max_steps=S)
    x, target = rng.standard_normal((T, 1, WIDTH)), rng.integers(0, SYMBOLS - 1, S)
    return model, x, target


def experiment(seed: int) -> Finding:
    """One vector carries everything over: rank ≤ its size; what is fed back passes gradient only if it is soft."""
    rng, found = claim_generator(seed, "C17"), Experiment()
    several = [_path_of_soft_feedback(*_model(rng)) for _ in range(8)]
    model, x, target = _model(rng)
    decoder = model.decoder
    tapes = {
        name: run_seq2seq(replace(model, feedback=name), GivenSteps(x), np.zeros((1, H)), target)
        for name in ("teacher", "soft", "greedy")
    }
    teacher = tapes["teacher"]
    terms = {t: teacher.direct_term(t) for t in range(T + 1, T + S + 1)}
    ranks = measure_bottleneck(teacher, {t: term for t, term in terms.items() if term is not None}).rank
    rank = found.at_most(
        f"rank of the {S} gradients ∂L_s/∂h_T handed to the encoder", float(ranks[T, 0]), H, identity=True
    )
    found.at_least(f"… of {S} losses, more than one direction", rank, 2)
    for name, tape in tapes.items():
        if name != "greedy":
            error = _against_complex_steps(model, tape, name, x, target, rng)
            found.at_most(f"{name}: ∂L/∂s_0 along a direction against complex steps, relative", error, 1e-9)
    alike, apart = _same_end(model, x, rng)
    found.at_most("other inputs with the same h_T: largest change of the decoder's states", alike, 1e-9)
    found.at_least("… with another h_T", apart, 1e-2)
    soft = estimate([*several, _output_path(tapes["soft"], decoder.weight_hh)])
    greedy = _output_path(tapes["greedy"], decoder.weight_hh)
    found.at_least("soft feedback, 9 models: J beyond φ′W, the path through the output", soft, 0.05)
    found.equal("greedy feedback (argmax): the same path", greedy, 0.0)
    found.equal("teacher forcing: the same path", _output_path(teacher, decoder.weight_hh), 0.0)
    again = run_seq2seq(replace(model, start=0), GivenSteps(x), np.zeros((1, H)), _decoded(tapes["greedy"]))
    same = max(float(np.abs(again.dense(t) - tapes["greedy"].dense(t)).max()) for t in range(1, T + S + 1))
    found.equal("greedy against teacher forcing on its own output: difference of all J", same, 0.0)
    return found.finding(
        f"{S} decoder losses reach the encoder in {rank:.0f} directions (state {H}); "
        f"inputs that end in the same h_T decode alike (to {alike:.0e}, others {apart:.1f} apart); "
        f"path through the output: soft {soft:.2f} of ‖J‖, argmax {greedy:g}, teacher {0:g}",
        f"rank ≤ {H}; h_T is all that is handed over; "
        "soft > 0; argmax and teacher forcing exactly 0: feeding the output back cuts its gradient",
        f"The {S} gradients span {rank:.0f} directions; the state has {H} components. Other inputs that end in the "
        f"same h_T decode alike, to {alike:.0g}. Through the output goes {100 * soft.mean:.0f} % of the Jacobian with "
        f"probabilities, {100 * greedy:.0f} % with the chosen symbol.",
    )


def _path_of_soft_feedback(model: Seq2Seq, x: Array, target: Array) -> float:
    """Share of the path through the output in another model."""
    tape = run_seq2seq(replace(model, feedback="soft"), GivenSteps(x), np.zeros((1, H)), target)
    return _output_path(tape, model.decoder.weight_hh)


def _same_end(model: Seq2Seq, x: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Change of the decoder's states under other inputs whose last one is solved for the old h_T, and left as it is."""
    soft = replace(model, feedback="soft")
    W, U = model.encoder.weight_hh, model.encoder.weight_ih
    other = rng.standard_normal(x.shape)
    target = np.zeros(S, dtype=int)
    tapes = [run_seq2seq(soft, GivenSteps(inputs), np.zeros((1, H)), target) for inputs in (x, other)]
    solved = np.array(other)
    solved[-1, 0] = np.linalg.solve(U, np.arctanh(tapes[0].state(T)[0]) - W @ tapes[1].state(T - 1)[0])
    tapes.append(run_seq2seq(soft, GivenSteps(solved), np.zeros((1, H)), target))
    apart, alike = (
        max(float(np.abs(tape.state(t) - tapes[0].state(t)).max()) for t in range(T, T + S + 1)) for tape in tapes[1:]
    )
    return alike, apart


def _decoded(tape: Seq2SeqTape) -> Array:
    assert tape.decoded is not None
    return np.asarray(tape.decoded[:, 0])


def _output_path(tape: Seq2SeqTape, W: Array) -> float:
    """Largest share of ‖J_t‖ over decoder steps that is not row-proportional to W: what does not go through W_hh."""
    share = 0.0
    for t in range(T + 1, tape.n_steps + 1):
        J = tape.dense(t)[0]
        slope = 1 - tape.state(t)[0] ** 2
        rest = J - slope[:, None] * W
        # Rounding of the slope, 1 − h² against its logarithm, is no path.
        size = float(np.linalg.norm(rest, 2) / np.linalg.norm(J, 2))
        share = max(share, size if size > 1e-10 else 0.0)
    return share


def _against_complex_steps(
    model: Seq2Seq, tape: Seq2SeqTape, feedback: str, x: Array, target: Array, rng: np.random.Generator
) -> float:
    """The whole loss written out once more, with complex arithmetic, as a function of s_0."""
    *_, (step, vector, exponent, _) = backpropagate(tape, tape.direct_term)
    gradient = np.ldexp(vector[0], int(exponent[0]))
    direction = rng.standard_normal(H)
    state = 1e-30j * direction
    for inputs in x[:, 0]:
        state = np.tanh(model.encoder.weight_hh @ state + model.encoder.weight_ih @ inputs)
    read, total = np.eye(SYMBOLS)[0], 0j
    for symbol in target:
        state = np.tanh(model.decoder.weight_hh @ state + model.decoder.weight_ih @ read)
        logits = model.head_weight @ state + model.head_bias
        weights = np.exp(logits - logits.real.max())
        total -= np.log(weights[symbol] / weights.sum())
        read = np.eye(SYMBOLS)[symbol] if feedback == "teacher" else weights / weights.sum()
    assert step == 0
    scale = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
    return abs(float(gradient @ direction) - float(total.imag) / 1e-30) / scale


CLAIM = Claim(
    "C17",
    "The encoder's last state is the decoder's h_0, and each output joins the input of the next step.",
    "true",
    experiment,
    "The gradients that 20 decoder losses hand to the encoder's last state; and what passes through the output that "
    "is fed back, as probabilities, as the chosen symbol, or replaced by the target.",
    "As described. All that the decoder can teach the encoder passes through that one vector; and a symbol that was "
    "chosen passes no gradient, probabilities do.",
)
