"""C22: must sequences not be too long? What truncation leaves out, exactly, against forget bias and length."""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding, Line, Picture
from gradscope.article_claims.runs import build, cell, claim_generator, gaussian, rnn, run
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.networks.readout import LinearLoss, SoftmaxCrossEntropy
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.weight_tails import measure_weight_tails

#: Relative bias at which truncation counts as harmless.
BIAS = 0.05


def log10_tails(tape: Trajectory, dL_dh: Array) -> Array:
    """log10 ‖Σ_{lag ≥ K} ∂L/∂W_hh^(T−lag)‖_F of the batch's mean loss, K = 0 … T."""
    direct = np.zeros((*tape.batch_shape, tape.state_size))
    direct[..., tape.network.output_components] = dL_dh
    tails = measure_weight_tails(tape, lambda t: direct if t == tape.n_steps else None)
    assert tails is not None
    return tails.log10_mean_tail


def shortest(log10_tail: Array, whole: int = 0) -> int:
    """The shortest truncation K whose tail is at most `BIAS` of the tail at ``whole``."""
    return int(np.argmax(log10_tail - log10_tail[whole] <= np.log10(BIAS)))


def experiment(seed: int) -> Finding:
    """The bias of cutting at K is the tail beyond K: it follows the network's memory, not the sequence's length."""
    rng, found = claim_generator(seed, "C22"), Experiment()
    _against_complex_steps(rng, found)
    _constant_gate(found)
    driven = {bias: _driven(seed, rng, bias, 80) for bias in (0, 1, 3)}
    needed = {bias: K for bias, (K, _) in driven.items()}
    longer, _ = _driven(seed, rng, 0, 320)
    found.at_least("driven lstm: K at forget bias 1 over that at 0", needed[1] / needed[0], 1.3)
    found.at_least("driven lstm: K at forget bias 3 over that at 1", needed[3] / needed[1], 1.5)
    found.at_most("driven lstm, forget bias 0: K of 80 steps", needed[0], 20)
    found.at_most(
        "… and four times as long a sequence needs no longer K: difference", abs(longer - needed[0]), 0, allowance=3
    )
    found.draw(
        Picture(
            "truncation",
            "What a cut after K steps loses falls with the network's memory",
            "Share of ∂L/∂W_hh that is lost, median of sixteen sequences of 80 steps.",
            "truncation length K (steps)",
            "share lost",
            tuple(Line(f"forget bias {bias}", range(81), course) for bias, (_, course) in driven.items()),
            powers=True,
            marks=((f"{100 * BIAS:g} %", float(np.log10(BIAS))),),
        )
    )
    return found.finding(
        f"5 % bias at K = {needed[0]}, {needed[1]}, {needed[3]} of 80 steps (forget bias 0, 1, 3), {longer} of 320; "
        "with constant gates the bias is f^K",
        "what a cut at K loses is the tail beyond K: K grows with the forget bias and does not with the sequence",
        f"The loss is 5 % at K = {needed[0]}, {needed[1]} and {needed[3]} of 80 steps. Of 320 steps K = {longer} at "
        "forget bias 0.",
    )


def _against_complex_steps(rng: np.random.Generator, found: Experiment) -> None:
    """Every entry of tail_K of a small rnn, by moving the oldest T − K copies of W alone."""
    n, T = 3, 9
    W, drives = gaussian(rng, n, n, gain=1.1), rng.standard_normal((T, n))
    loss = SoftmaxCrossEntropy(rng.standard_normal((2, n)), np.zeros(2), np.array([0]))
    tape = run(rnn(W, weight_ih=np.eye(n)), drives[:, None])
    tails = log10_tails(tape, loss.gradient(tape.state(T)))
    worst = 0.0
    for K in range(T - 1):
        exact = np.zeros((n, n))
        for place in np.ndindex(n, n):
            moved = W.astype(complex)
            moved[place] += 1e-30j
            h: Array = np.zeros(n)
            for t, drive in enumerate(drives, start=1):
                h = np.tanh((moved if t <= T - K else W) @ h + drive)
            exact[place] = float(loss.value(h[None])[0].imag / 1e-30)
        worst = max(worst, abs(10.0 ** tails[K] / float(np.linalg.norm(exact)) - 1))
    found.at_most("rnn: ‖tail_K‖ against complex steps in the oldest copies, relative", worst, 1e-10)


def _constant_gate(found: Experiment) -> None:
    """The control, W_hh = 0 and a state at rest: every older copy counts f less, so tail_K = (f^K − f^T)/(f − f^T)."""
    T = 60
    for bias in (0.0, 1.0, 3.0):
        f = 1 / (1 + np.exp(-bias))
        lstm = cell("lstm", [np.zeros((2, 2))] * 4, biases=[0.0, bias, 0.4, 0.0])
        rest = 0.5 * np.tanh(0.4) / (1 - f)
        tape = run(Layer(lstm), T, state=[0.5 * np.tanh(rest)] * 2 + [rest] * 2)
        tails = log10_tails(tape, LinearLoss(np.array([1.0, -0.5])).gradient(np.zeros((1, 2))))
        K = np.arange(1, T)
        exact = np.log10((f**K - f**T) / (f - f**T))
        # The output gate hears of the last step alone, so that shares are those of the copies before it.
        off = float(np.abs(tails[1:T] - tails[1] - exact).max())
        found.at_most(f"W_hh = 0, forget bias {bias:g}: log10 of the bias against the closed form", off, 1e-9)


def _driven(seed: int, rng: np.random.Generator, bias: int, T: int) -> tuple[int, Array]:
    """K of a driven lstm, 8 → 32, and log10 of the bias at each K: medians over sixteen sequences."""
    network = build(f"lstm:hidden=32,inputs=8,forget_bias={bias}", seed)
    found, courses = [], []
    for _ in range(16):
        tape = run(network, rng.standard_normal((T, 1, 8)))
        loss = SoftmaxCrossEntropy(rng.standard_normal((10, 32)) / np.sqrt(32), np.zeros(10), np.array([0]))
        tails = log10_tails(tape, loss.gradient(tape.state(T)[..., :32]))
        found.append(shortest(tails))
        courses.append(tails - tails[0])
    return int(np.median(found)), np.median(courses, axis=0)


CLAIM = Claim(
    "C22",
    "To avoid vanishing and exploding gradients, sequences must not be too long.",
    "conditional",
    experiment,
    "How much of ∂L/∂W_hh is lost when backpropagation is cut after K steps, in driven LSTMs with forget bias 0, 1 "
    "and 3, and in a sequence four times as long.",
    "What a cut loses is set by how long the network remembers and not by how long the sequence is: long sequences "
    "do no harm, and can be cut where the network's memory ends.",
)
