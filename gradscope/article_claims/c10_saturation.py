"""C10: does tanh saturate?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding, estimate
from gradscope.article_claims.runs import ROUNDING, claim_generator, gaussian, leading_exponents, log_norms, rnn, run
from gradscope.log_domain import LN10


def experiment(seed: int) -> Finding:
    """tanh′ ~ 4e^(−2|a|), σ′ ~ e^(−|a|); taken as 1 − h² they are exactly 0 where the true gradient is not."""
    rng, found = claim_generator(seed, "C10"), Experiment()
    # a = w·h + b is 20 at the tanh unit (h = 1 to rounding) and 40 at the sigmoid unit, at every step.
    tanh = log_norms(run(rnn([[1.0]], bias=[19.0]), 50, state=1.0))[50, 0] / 50 / LN10
    sigmoid = log_norms(run(rnn([[1.0]], bias=[39.0], activation="sigmoid"), 50, state=1.0))[50, 0] / 50 / LN10
    found.equal("tanh unit at 20: log10 per step is log10 4e^(−40)", tanh, (np.log(4) - 40) / LN10, allowance=ROUNDING)
    found.equal("sigmoid unit at 40: log10 per step is log10 e^(−40)", sigmoid, -40 / LN10, allowance=ROUNDING)
    naive = 1 - np.tanh(20.0) ** 2
    found.equal("… the tanh slope as 1 − h², in float64", naive, 0.0)
    W, inputs = gaussian(rng, 64, 64, gain=0.5), 0.3 * rng.standard_normal((200, 6, 64))
    slopes, exponents, fractions = [], [], []
    offsets = (0.0, 2.0, 4.0, 8.0)
    for offset in offsets:
        tape = run(rnn(W, weight_ih=np.eye(64), bias=np.full(64, offset)), inputs)
        log_slope = next(tape.segments("start")).linearised.traces[0].log_slope
        slopes.append(float(log_slope.mean()))
        fractions.append(float(np.mean(log_slope < np.log(0.01))))
        exponents.append(estimate(leading_exponents(tape.network, inputs, rng)))
    control = float(np.log(np.abs(np.linalg.eigvals(W)).max()))
    for index in range(1, len(offsets)):
        found.at_most(
            f"λ₁ at bias {offsets[index]:g}, less than at {offsets[index - 1]:g}",
            exponents[index].mean - exponents[index - 1].mean,
            -0.5,
        )
    decline = (slopes[3] - slopes[2]) / 4
    found.equal("mean ln φ′ per unit of bias, from 4 to 8", decline, -2.0, allowance=0.1)
    share = exponents[3].mean - control
    # λ₁ = (what D takes) + (ln ρ of W alone); D is near a multiple of I there, up to the spread of its logarithms.
    found.equal("bias 8: what saturation takes from λ₁, over mean ln φ′", share / slopes[3], 1.0, allowance=0.2)
    found.equal("fraction of units with φ′ < 0.01, bias 8", fractions[3], 1.0)
    found.at_most("fraction of units with φ′ < 0.01, bias 0", fractions[0], 0.05)
    return found.finding(
        f"tanh at 20: {tanh:.4f} decades a step (1−h² says {naive:g}), sigmoid at 40: {sigmoid:.4f}; "
        f"bias 0 → 8: λ₁ {exponents[0]:.2f} → {exponents[3]:.2f}, ln φ′ {decline:.2f} per unit of bias",
        "−16.7697, −17.3718; −2 per unit: tanh′ ~ 4e^(−2|a|)",
        f"A tanh unit at 20 passes 10^{tanh:.2f} of the gradient a step (1 − h² in floating point says {naive:g}), a "
        f"sigmoid unit at 40 10^{sigmoid:.2f}. From bias 0 to 8 the network's rate falls from {exponents[0].mean:.1f} "
        f"to {exponents[3].mean:.1f} nats a step.",
    )


CLAIM = Claim(
    "C10",
    "A saturated tanh passes hardly any gradient.",
    "true",
    experiment,
    "Units held deep in saturation, where the slope is known exactly; then 64 driven units while their bias goes "
    "from 0 to 8.",
    "tanh′ falls as 4e^(−2|a|) and σ′ as e^(−|a|), a the pre-activation. Neither is ever exactly zero, though 1 − "
    "h² says so beyond |a| of about 19.",
)
