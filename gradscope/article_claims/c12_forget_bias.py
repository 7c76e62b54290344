"""C12: does the forget gate fix the memory? Forget bias against time scale."""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Estimate, Experiment, Finding, Line, Picture, estimate
from gradscope.article_claims.runs import build, cell, claim_generator, leading_exponents, log_norms, run
from gradscope.networks.layer import Layer
from gradscope.sources.ensembles import chrono_bias


def experiment(seed: int) -> Finding:
    """∏f has e-folding time 1/ln(1+e^(−b)); a bias of 1 is no long memory; other paths can still explode."""
    rng, found = claim_generator(seed, "C12"), Experiment()
    times, lines = {}, []
    for bias in (0.0, 1.0, 5.0):
        lstm = cell("lstm", [np.zeros((2, 2))] * 4, biases=[0.0, bias, 0.0, 0.0])
        course = log_norms(run(Layer(lstm), 100))[:, 0]
        lines.append(Line(f"forget bias {bias:g}", range(101), course / np.log(10)))
        # ‖∂s_k/∂s_0‖ holds ∂h_k/∂c_0 too, a factor of the last step alone: slopes between lags are ln f exactly.
        rate = float(course[60] - course[30]) / 30
        times[bias] = -1 / rate
        found.equal(
            f"b_f={bias:g}, no recurrent weights: e-folding time",
            times[bias],
            1 / np.log1p(np.exp(-bias)),
            allowance=1e-6,
        )
    found.equal("b_f=1: steps to 1e-3", np.log(1000) * times[1.0], 22.05, allowance=0.01)
    found.equal("b_f=1: half-life", np.log(2) * times[1.0], 2.213, allowance=5e-4)
    found.equal("b_f=5: mean age 1/(1−f) less e-folding time", (1 + np.exp(5.0)) - times[5.0], 0.5, allowance=0.01)
    biases = chrono_bias(rng, 4000, 100)
    kept = (1 / (1 + np.exp(-biases))) ** 100
    u = np.linspace(1, 99, 200_001)
    height = (u / (1 + u)) ** 100
    # The trapezoidal rule, written out: numpy has it under another name before 2.0.
    exact = float(np.sum(np.diff(u) * (height[1:] + height[:-1])) / 2) / 98
    chrono = found.mean("chrono, T_max=100: mean f^100", kept, exact)
    fixed = (1 / (1 + np.exp(-1.0))) ** 100
    found.equal("b_f=1: log10 f^100", np.log10(fixed), -13.6, allowance=0.05)
    mean = [np.log10(np.mean((1 / (1 + np.exp(-biases))) ** k)) for k in range(101)]
    found.draw(
        Picture(
            "forget-bias",
            "The forget bias sets how long an LSTM remembers",
            "Norm of ∂s_k/∂s_0 of an LSTM without recurrent weights; chrono: mean over units of the forget gates' "
            "product, made for up to 100 steps.",
            "lag k",
            "what is left",
            (*lines, Line("chrono initialisation", range(101), mean)),
            powers=True,
        )
    )
    exponents = _full_state(seed, rng, found)
    return found.finding(
        f"τ = {times[0.0]:.2f}, {times[1.0]:.3f}, {times[5.0]:.2f} for b_f = 0, 1, 5; f^100 {fixed:.1e} at b_f=1, "
        f"{chrono:.3f} chrono; λ₁ of the whole state {', '.join(f'{v:+.3f}' for v in exponents)} (b_f 0, 1, 5, W×20)",
        f"1.44, 3.192, 148.91 = 1/ln(1+e^(−b)); 2.5e-14, {exact:.3f}; rising with b_f, and above 0 once W is large",
        f"With a forget bias of 0, 1 and 5 the memory fades to 1/e within {times[0.0]:.1f}, {times[1.0]:.1f} and "
        f"{times[5.0]:.0f} steps. After 100 steps {fixed:.0g} is left at bias 1, {chrono.mean:.2f} with the chrono "
        f"initialisation. With W_hh twenty times as large the LSTM explodes, {exponents[3].mean:+.2f} nats a step.",
    )


def _full_state(seed: int, rng: np.random.Generator, found: Experiment) -> list[Estimate]:
    """An LSTM of 64 units with PyTorch's initialisation, driven: λ₁ of (h, c) against ln σ(b_f).

    Eight input sequences side by side, after 750 steps: five times the memory of b_f = 5.
    """
    x = rng.standard_normal((1350, 8, 16))
    exponents = []
    for options in ("forget_bias=0", "forget_bias=1", "forget_bias=5", "gain=20"):
        network = build(f"lstm:hidden=64,init=uniform,{options}", seed)
        exponents.append(estimate(leading_exponents(network, x, rng, transient=750)))
    for index, bias in enumerate((0.0, 1.0, 5.0)):
        direct = -np.log1p(np.exp(-bias))
        # Typical, not guaranteed: the h-paths add to the direct one; gates that move average a lower ln f.
        found.at_least(
            f"lstm, b_f={bias:g}: λ₁ of the whole state over ln σ(b_f)", exponents[index], direct, allowance=0.03
        )
    found.at_least("lstm: λ₁ at b_f=1 over b_f=0", exponents[1].mean - exponents[0].mean, 0.1)
    found.at_least("lstm: λ₁ at b_f=5 over b_f=1", exponents[2].mean - exponents[1].mean, 0.05)
    found.at_least("lstm, W_hh×20: explodes, λ₁", exponents[3], 0.05)
    return exponents


CLAIM = Claim(
    "C12",
    "The LSTM's forget gate keeps what matters, so memory is no longer lost.",
    "conditional",
    experiment,
    "An LSTM without recurrent weights, in which the forget gate alone remembers; the chrono initialisation; then "
    "whole driven LSTMs of 64 units.",
    "A forget gate of bias b remembers for 1/ln(1 + e^(−b)) steps. It has to be set to the time that the task "
    "needs, and the other paths through the LSTM can still explode.",
)
