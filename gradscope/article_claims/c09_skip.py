"""C09: does the skip h = h + u make the parameters easier to optimise?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding, estimate
from gradscope.article_claims.runs import ROUNDING, cell, claim_generator, gaussian, leading_exponent, run
from gradscope.networks.layer import Layer
from gradscope.numerics.backprop import measure_loss_gradients
from gradscope.numerics.exponents import measure_lyapunov

N, STEPS, STARTS = 100, 3000, 6


def experiment(seed: int) -> Finding:
    """The identity path keeps the state's gradient; but h leaves every bound, slopes die, and linear ones explode."""
    rng, found = claim_generator(seed, "C09"), Experiment()
    empty = measure_lyapunov(run(Layer(cell("skip", [np.zeros((8, 8))], biases=[0.1])), 200), rng=rng)
    found.equal("W = 0: largest |exponent|", float(np.abs(empty.exponents).max()), 0.0, allowance=ROUNDING)
    W = gaussian(rng, N, N)
    linear = Layer(cell("skip", [W], biases=[0.0], activation="identity"))
    grows = float(leading_exponent(run(linear, 300, state=0.0), rng)[0])
    found.equal(
        "linear, g=1: exponent is ln max|1+μ|", grows, np.log(np.abs(1 + np.linalg.eigvals(W)).max()), allowance=1e-8
    )
    # ln(1+g) in the limit; ρ(I+W) at N = 100 is within a few per cent.
    found.equal("… and near ln(1+g)", grows, np.log(2), allowance=0.12)
    tape = run(Layer(cell("skip", [W], biases=[0.0])), STEPS, state=rng.standard_normal(N))
    starts = rng.standard_normal((STARTS, N))
    several = tape.network.advance(starts, np.zeros((1000, STARTS, 0)))
    exponents = {}
    for first, last in ((0, 10), (30, 100), (1000, 3000)):
        window = run(tape.network, np.zeros((last - first, STARTS, 0)), state=several[first])
        exponents[last] = estimate(measure_lyapunov(window, k=1, log_det=False, rng=rng).exponents)
    found.at_least("tanh: growth per step, first 10 steps", exponents[10], 0.1)
    found.at_most("… steps 30–100", exponents[100], 0.1)
    found.equal("… steps 1000–3000: algebraic, exponent → 0", exponents[3000], 0.0, allowance=0.01)
    norms = np.array([np.abs(tape.state(t)).max() - np.abs(tape.state(0)).max() - t for t in range(1, STEPS + 1)])
    found.at_most("max|h_t| over |h_0| + t", float(norms.max()), 0.0, allowance=1e-9, identity=True)
    # |u| ≤ 1, so units that drift gain up to 1 a step: half of that at 3000, against √3000 = 55 of a random walk.
    size = estimate(np.abs(tape.state(STEPS)))
    found.at_least("mean|h_3000| over units: the state is unbounded", size, 1500.0)
    slopes = np.exp(next(tape.segments("start")).linearised.traces[0].log_slope).mean(axis=(1, 2))
    early, late = float(slopes[:10].mean()), float(slopes[1000:].mean())
    found.at_most("mean φ′ over steps 1000–3000", late, 0.05)
    vector = rng.standard_normal(N)
    gradients = measure_loss_gradients(tape, lambda t: vector[None] if t == STEPS else None)
    state_gradient = float(gradients.log10_dstate[2000, 0] - gradients.log10_dstate[0, 0])
    found.at_least("∂L/∂h 2000 steps back over ∂L/∂h_T, log10: does not vanish", state_gradient, -1.0)
    lengths = np.log10([np.linalg.norm(tape.state(STEPS - k - 1)) for k in (0, 2999)])
    # ∂L/∂W_t = (φ′ ⊙ ∂L/∂h_t) h_{t−1}ᵀ: taken per unit of ∂L/∂h_t and h_{t−1} it is the mean slope that is left.
    per_unit = [
        float(gradients.log10_dweight[k, 0] - gradients.log10_dstate[k, 0] - length)
        for k, length in zip((0, 2999), lengths, strict=True)
    ]
    found.at_most("∂L/∂W_t per unit of ∂L/∂h_t and h_(t−1), log10: late less early", per_unit[0] - per_unit[1], -0.5)
    return found.finding(
        f"W=0: exponents 0; linear, g=1: {grows:.3f}; tanh: {exponents[10]:.3f} a step at first, {exponents[3000]:.4f} "
        f"after 1000; mean|h| {size:.0f} and unbounded; mean φ′ {early:.2f} → {late:.4f}",
        "0; ln max|1+μ| ≈ ln 2 = 0.693 (explodes); exponent → 0 (not vanishing), |h| up to t, φ′ → 0: du/dW dies",
        f"The state's gradient lives on: it grows by {exponents[10]:.2f} nats a step at first and by "
        f"{exponents[3000]:.4f} after 1000 steps. But |h| is {size:.0f} on average at the end, and the slopes fall "
        f"from {early:.2f} to {late:.4f}. Without tanh it explodes, {grows:.2f} nats a step.",
    )


CLAIM = Claim(
    "C09",
    "The skip h_t = h_(t−1) + u_t links h_k to h_t directly, so the parameters are easier to optimise.",
    "conditional",
    experiment,
    "A skip network of 100 units over 3000 steps: its growth rate early and late, the size of h, the slopes tanh′; "
    "a linear one beside.",
    "The identity path keeps ∂h_t/∂h_k alive. But h leaves every bound, tanh saturates, and ∂u/∂W dies: the way "
    "back is open while W learns less and less from it.",
)
