"""C16: bidirectional and stacked networks, and the trap in out[−1]."""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding
from gradscope.article_claims.runs import ROUNDING, cell, claim_generator, gaussian, log_norms, rnn, run
from gradscope.networks.bidirectional import measure_last_output, output_input_jacobians
from gradscope.networks.stack import Stack
from gradscope.numerics.exponents import measure_lyapunov


def experiment(seed: int) -> Finding:
    """Which half of which output has seen which input; and a stack's exponents beside its layers'."""
    rng, found = claim_generator(seed, "C16"), Experiment()
    H, width, T = 6, 3, 8
    pair = tuple(
        cell(
            "lstm", [gaussian(rng, H, H) for _ in range(4)], weight_ih=gaussian(rng, 4 * H, width), biases=[0, 1, 0, 0]
        )
        for _ in range(2)
    )
    jacobians = output_input_jacobians([(pair[0], pair[1])], rng.standard_normal((T, 1, width)))
    sizes = np.abs(jacobians[:, :, 0]).max(axis=-1)
    t, j = np.arange(T)[:, None], np.arange(T)[None, :]
    future = float(sizes[..., :H].max(axis=-1)[j > t].max())
    past = float(sizes[..., H:].max(axis=-1)[j < t].max())
    found.equal("forward half: largest ∂out_t/∂x_j with j > t", future, 0.0)
    found.equal("backward half: largest ∂out_t/∂x_j with j < t", past, 0.0)
    last = measure_last_output(jacobians, H)
    seen = int(np.count_nonzero(last.forward)), last.steps_seen_backward
    found.equal("out_T, forward half: inputs seen", seen[0], T)
    found.equal("out_T, backward half: inputs seen", seen[1], 1)
    first = int(np.count_nonzero(sizes[0, :, H:].max(axis=-1)))
    found.equal("out_1, backward half (what h_n holds): inputs seen", first, T)
    both = sizes.max(axis=-1)
    found.at_least("every out_t depends on every x_j: smallest", float(both.min()), 1e-12)
    _stack(rng, found)
    return found.finding(
        f"future in the forward half {future:g}, past in the backward half {past:g}; "
        f"out_T: {seen[0]} of {T} inputs forward, {seen[1]} backward; out_1 backward: {first}; "
        "stack = union of its layers",
        f"exactly 0; {T}, 1, {T}: a loss on out[−1] trains the backward net on one step, read h_n instead",
        f"The forward half of out_t depends on inputs after t by {future:g}, the backward half on inputs before t by "
        f"{past:g}; so the backward half of the last output has seen {seen[1]} of {T} inputs, that of the first "
        f"{first}.",
    )


def _stack(rng: np.random.Generator, found: Experiment) -> None:
    """Linear layers: block lower triangular, exponents of both, norms at finite lag above either."""
    n = 8
    A, B, C = gaussian(rng, n, n), gaussian(rng, n, n, gain=0.8), gaussian(rng, n, n)
    below, above = rnn(A, activation="identity").cell, rnn(B, activation="identity", weight_ih=C).cell
    tape = run(Stack((below, above)), 40)
    found.equal("stack: block above the diagonal of J", float(np.abs(tape.dense(1)[0, :n, n:]).max()), 0.0)
    spectrum = measure_lyapunov(tape, rng=rng).exponents[0]
    union = np.sort(np.log(np.abs(np.concatenate([np.linalg.eigvals(A), np.linalg.eigvals(B)]))))[::-1]
    found.equal(
        "stack of two linear layers: exponents less ln|eigenvalues| of both",
        float(np.abs(spectrum - union).max()),
        0.0,
        allowance=1e-7,
    )
    alone = [log_norms(run(rnn(W, activation="identity"), 40))[:, 0] for W in (A, B)]
    short = float(np.max(np.maximum(*alone) - log_norms(tape)[:, 0]))
    found.at_most("… finite-lag norm at least each layer's: largest shortfall", short, 0.0, allowance=40 * ROUNDING)


CLAIM = Claim(
    "C16",
    "A bidirectional network sees both sides of every step; its halves are concatenated and can be stacked.",
    "true",
    experiment,
    "Which output of a bidirectional LSTM depends on which input: ∂out_t/∂x_j for all t and j.",
    "It does. The trap is to read the last output alone, whose backward half has made one step; h_n holds each "
    "direction's own end. A stack's growth rates are those of its layers together.",
)
