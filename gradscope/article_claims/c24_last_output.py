"""C24: is h_n of a Bi-LSTM the hidden state of the last time step? What each direction learns from either."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding
from gradscope.article_claims.runs import cell, claim_generator, gaussian, run
from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.networks.parameter_gradients import measure_parameter_gradients
from gradscope.networks.readout import SoftmaxCrossEntropy
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.backprop import backpropagate

H, WIDTH, T = 6, 4, 20


def at_last_output(tape: Trajectory, backward: bool) -> int:
    """The own step whose h stands in out[−1]: the last forward, the first of a direction that starts at x_T."""
    return 1 if backward else tape.n_steps


def at_own_end(tape: Trajectory, backward: bool) -> int:
    """The own step whose h stands in h_n: the last that the direction took, which is x_1 for the backward one."""
    return tape.n_steps


def experiment(seed: int) -> Finding:
    """One loss on [forward; backward] of out[−1], one on h_n: the gradient of each direction's weights, and steps."""
    rng, found = claim_generator(seed, "C24"), Experiment()
    pair = [_lstm(rng), _lstm(rng)]
    x = rng.standard_normal((T, 1, WIDTH))
    loss = SoftmaxCrossEntropy(rng.standard_normal((3, 2 * H)), np.zeros(3), np.array([0]))
    shares: dict[str, float] = {}
    for name, where in (("out[−1]", at_last_output), ("h_n", at_own_end)):
        tapes = [run(Layer(pair[0]), x), run(Layer(pair[1]), x[::-1])]
        read = [where(tape, backward) for tape, backward in zip(tapes, (False, True), strict=True)]
        h = np.concatenate([tape.state(t)[..., :H] for tape, t in zip(tapes, read, strict=True)], axis=-1)
        halves = np.split(loss.gradient(h), 2, axis=-1)
        recurrent, steps = zip(
            *(_learnt(tape, t, half) for tape, t, half in zip(tapes, read, halves, strict=True)), strict=True
        )
        norms = [float(np.linalg.norm(gradient)) for gradient in recurrent]
        shares[name] = norms[1] / (norms[0] + norms[1])
        slope = float(np.sum(recurrent[1] * (direction := rng.standard_normal(recurrent[1].shape))))
        exact = _complex_step(pair, x, loss, direction, read[1])
        scale = float(np.linalg.norm(direction)) * max(norms)
        found.at_most(
            f"{name}: backward direction's ∂L/∂W_hh against a complex step", abs(slope - exact) / scale, 1e-12
        )
        found.equal(f"{name}: steps that teach the forward direction", steps[0], T)
        found.equal(f"{name}: steps that teach the backward direction", steps[1], 1 if name == "out[−1]" else T)
    found.equal("out[−1]: share of ‖∂L/∂W_hh‖ that the backward direction gets", shares["out[−1]"], 0.0)
    found.at_least("h_n: share of ‖∂L/∂W_hh‖ that the backward direction gets", shares["h_n"], 0.05)
    found.at_most("… and no more than that of an equal partner", shares["h_n"], 0.95)
    below = _layer_below(rng, found)
    return found.finding(
        f"backward share of ‖∂L/∂W_hh‖: {shares['out[−1]']:g} with a loss on out[−1] (1 step of {T}), "
        f"{shares['h_n']:.2f} on h_n ({T} steps); in the layer below {below:.2f} even then",
        f"exactly 0 from 1 step; about one half from {T}; a layer below is taught through both directions above",
        f"With the last output the backward direction receives {100 * shares['out[−1]']:.0f} % of the gradient, with "
        f"h_n {100 * shares['h_n']:.0f} %; in a layer below {100 * below:.0f} % even with the last output.",
    )


def _lstm(rng: np.random.Generator, width: int = WIDTH) -> Cell:
    blocks = [gaussian(rng, H, H) for _ in range(4)]
    return cell("lstm", blocks, weight_ih=gaussian(rng, 4 * H, width), biases=[0.0, 1.0, 0.0, 0.0])


def _term(tape: Trajectory, t: int, dL_dh: Array) -> Callable[[int], Array | None]:
    direct = np.zeros((1, tape.state_size))
    direct[..., :H] = dL_dh
    return lambda step: direct if step == t else None


def _learnt(tape: Trajectory, t: int, dL_dh: Array) -> tuple[Array, int]:
    """∂L/∂W_hh of one direction, and at how many of its steps the input weights are taught at all."""
    term = _term(tape, t, dL_dh)
    gradients = measure_parameter_gradients(tape, term)
    recurrent = gradients.values[gradients.names.index("weight_hh_l0")][0] * 2.0 ** float(gradients.exponent[0])
    taught = sum(bool(np.any(found.vector)) for found in backpropagate(tape, term) if found.step)
    return recurrent, taught


def _complex_step(pair: list[Cell], x: Array, loss: SoftmaxCrossEntropy, direction: Array, read: int) -> float:
    """dL/dε along ``direction`` in W_hh of the backward direction, by running both directions as written."""
    halves = []
    for backward, (own, inputs) in enumerate(zip(pair, (x, x[::-1]), strict=True)):
        W = own.weight_hh + (1e-30j * direction if backward else 0)
        h, c = np.zeros(H, dtype=complex), np.zeros(H, dtype=complex)
        for x_t in inputs[: read if backward else T, 0]:
            i, f, g, o = np.split(own.weight_ih @ x_t + own.bias + W @ h, 4)
            i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
        halves.append(h)
    return float(loss.value(np.concatenate(halves)[None])[0].imag / 1e-30)


def _layer_below(rng: np.random.Generator, found: Experiment) -> float:
    """A loss on out[−1] of two layers: the forward direction above teaches the lower backward one all the same."""
    below, above = [_lstm(rng), _lstm(rng)], _lstm(rng, 2 * H)
    x = rng.standard_normal((T, 1, WIDTH))
    tapes = [run(Layer(below[0]), x), run(Layer(below[1]), x[::-1])]
    out = np.concatenate(
        [
            np.stack([tapes[0].state(t)[..., :H] for t in range(1, T + 1)]),
            np.stack([tapes[1].state(T + 1 - t)[..., :H] for t in range(1, T + 1)]),
        ],
        axis=-1,
    )
    top = run(Layer(above), out)
    dL_dh = rng.standard_normal((1, H))
    received = np.zeros((T + 1, 1, 2 * H))
    for step in backpropagate(top, _term(top, T, dL_dh)):
        if step.step:
            drive = top.jacobian(step.step).pull_drive(step.vector[..., None, :])[..., 0, :]
            received[step.step] = (drive @ above.weight_ih) * 2.0 ** step.exponent[..., None]
    norms = []
    for backward, tape in enumerate(tapes):

        def term(t: int, tape: Trajectory = tape, backward: int = backward) -> Array | None:
            if not t:
                return None
            direct = np.zeros((1, tape.state_size))
            direct[..., :H] = received[T + 1 - t if backward else t][..., backward * H : (backward + 1) * H]
            return direct

        gradients = measure_parameter_gradients(tape, term)
        value = gradients.values[gradients.names.index("weight_hh_l0")][0] * 2.0 ** float(gradients.exponent[0])
        norms.append(float(np.linalg.norm(value)))
    share = norms[1] / sum(norms)
    found.at_least("two layers, loss on out[−1]: backward share in the layer below", share, 0.02)
    return share


CLAIM = Claim(
    "C24",
    "In a Bi-LSTM hidden holds every step's hidden state and h_n that of the last time step.",
    "conditional",
    experiment,
    "One loss on the last output of a bidirectional LSTM and one on h_n: what each direction's W_hh receives.",
    "h_n holds each direction's own end, and that of the backward one is at x_1. A loss on the last output teaches "
    "the backward direction's W_hh of the top layer nothing: read h_n.",
)
