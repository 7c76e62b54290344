"""C18: can a recursion not be computed in parallel?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding, Line, Picture, estimate
from gradscope.article_claims.runs import claim_generator, gaussian, leading_exponents, rnn, run
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.ensembles import orthogonal

SIZE, STEPS = 48, 200


def scan(A: Array, b: Array, rounds: int) -> Array:
    """y_t = A_t y_{t−1} + b_t (y_0 = 0) by ``rounds`` rounds, each of all steps at once (Blelloch 1990).

    After r rounds every y_t has heard the last 2^r steps.
    """
    A, b = A.copy(), b.copy()
    for shift in 2 ** np.arange(rounds):
        # (A, b) after (A', b') is (A A', A b' + b); the right side is read before anything is written.
        b[shift:] = np.einsum("tij,tj->ti", A[shift:], b[:-shift]) + b[shift:]
        A[shift:] = A[shift:] @ A[:-shift]
    return b


def rounds_needed(A: Array, b: Array, *, tolerance: float = 1e-12) -> tuple[int, float]:
    """The fewest rounds after which the scan is the loop's answer to ``tolerance``, and how far off it then is."""
    truth = loop(A, b)
    for rounds in range(len(A).bit_length() + 1):
        off = float(np.abs(scan(A, b, rounds) - truth).max() / np.abs(truth).max())
        if off <= tolerance:
            return rounds, off
    return len(A), off


def loop(A: Array, b: Array) -> Array:
    """The same, one step after the other."""
    y, out = np.zeros(b.shape[1]), np.empty_like(b)
    for t in range(len(b)):
        y = A[t] @ y + b[t]
        out[t] = y
    return out


def newton_iterations(W: Array, drive: Array, *, tolerance: float = 1e-10) -> int:
    """Iterations until all h_t = tanh(W h_{t−1} + drive_t) hold at once; each is one linear recurrence (DEER)."""
    T = len(drive)
    h = np.zeros_like(drive)
    for iteration in range(1, T + 2):
        before = np.vstack([np.zeros(len(W)), h[:-1]])
        value = np.tanh(before @ W.T + drive)
        if float(np.abs(value - h).max()) <= tolerance:
            return iteration - 1
        J = (1 - value**2)[:, :, None] * W
        h = loop(J, value - np.einsum("tij,tj->ti", J, before))
    return T + 1


def experiment(seed: int) -> Finding:
    """The backward pass is linear, so it scans; the forward pass takes Newton steps, few or many as λ₁ < 0 or > 0."""
    rng, found = claim_generator(seed, "C18"), Experiment()
    W = gaussian(rng, SIZE, SIZE)
    tape = run(rnn(W, weight_ih=np.eye(SIZE)), rng.standard_normal((256, 1, SIZE)))
    J = np.array([tape.dense(t)[0] for t in range(1, 257)])
    # δ_{t−1} = J_tᵀ δ_t + ∂L_{t−1}/∂h_{t−1}: backward in time, so the reversed transposes.
    A, b = np.swapaxes(J[::-1], 1, 2), rng.standard_normal((256, SIZE))
    rounds, difference = rounds_needed(A, b)
    found.at_most("backward recursion of a tanh network, T=256: rounds until the scan is the loop's answer", rounds, 8)
    # Nothing is forgotten on the way, so every round is needed: half the steps are missing without the last.
    lasting, off = rounds_needed(np.broadcast_to(orthogonal(rng, SIZE, 1.0), A.shape), b)
    found.equal("… of an orthogonal W, which forgets nothing", lasting, 8)
    gains = (0.5, 0.9, 1.2, 2.0, 4.0)
    iterations, exponents = [], []
    for gain in gains:
        # A faint input keeps a network this small from settling into a cycle half-way.
        drive = 0.1 * rng.standard_normal((STEPS, SIZE))
        iterations.append(newton_iterations(gain * W, drive))
        inputs = 0.1 * rng.standard_normal((STEPS, 6, SIZE))
        exponents.append(estimate(leading_exponents(rnn(gain * W, weight_ih=np.eye(SIZE)), inputs, rng)))
    for gain, exponent, count in zip(gains, exponents, iterations, strict=True):
        found.at_most(
            f"g={gain}, λ₁={exponent:+.3f}: Newton iterations, never more than T", count, STEPS, identity=True
        )
    found.at_most("g=0.5, predictable: Newton iterations", iterations[0], 15)
    found.at_most("g=0.9: Newton iterations", iterations[1], 30)
    found.at_most("g=0.5 against g=1.2: iterations", iterations[0], iterations[2])
    found.at_most("g=1.2 against g=4: iterations", iterations[2], iterations[4])
    found.at_least("g=4, chaotic: λ₁", exponents[4], 0.0)
    found.at_least("g=4, chaotic: Newton iterations", iterations[4], STEPS / 4)
    found.draw(
        Picture(
            "parallel",
            "The forward pass at once: few iterations in order, many in chaos",
            f"Newton iterations until all {STEPS} steps hold, for five networks.",
            "growth rate λ₁ (nats per step)",
            "iterations",
            (Line("Newton iterations", [e.mean for e in exponents], [float(n) for n in iterations], "measured"),),
            marks=((f"T = {STEPS}, one step after the other", float(STEPS)),),
        )
    )
    listed = ", ".join(f"{g:g}: {n} (λ₁ {e:+.2f})" for g, n, e in zip(gains, iterations, exponents, strict=True))
    return found.finding(
        f"backward, T=256: scan in {rounds} rounds (orthogonal W {lasting}), off by {max(difference, off):.0e}; "
        f"forward, T={STEPS}, Newton iterations {listed}",
        "at most log₂ 256 = 8 rounds, all of them if nothing is forgotten; rounding; "
        "few iterations while λ₁ < 0, more as it nears 0, towards T beyond",
        f"256 steps backward take {rounds} rounds and agree with the loop to {difference:.0g}. {STEPS} steps forward "
        f"take {iterations[0]} iterations in an orderly network (λ₁ = {exponents[0].mean:+.2f}) and {iterations[4]} "
        f"in a chaotic one ({exponents[4].mean:+.2f}).",
    )


CLAIM = Claim(
    "C18",
    "The network is recursive, so it cannot be computed in parallel.",
    "conditional",
    experiment,
    "The backward pass in rounds over all steps at once instead of a loop; the forward pass by Newton's method on "
    "all steps at once, for orderly and chaotic networks.",
    "The backward pass is linear: log₂ T rounds. The forward pass takes a few iterations in a network that forgets "
    "(λ₁ < 0) and towards T in a chaotic one.",
)
