"""C14: does tanh carry more information than sigmoid or ReLU because of its range?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding, estimate
from gradscope.article_claims.runs import claim_generator, gaussian, leading_exponent, leading_exponents, rnn, run
from gradscope.theory.mean_field import critical_gain


def experiment(seed: int) -> Finding:
    """Every tanh network is a sigmoid network: W′=4W, U′=2U, b′=2b−2W1, s=(h+1)/2; only the slope at 0 differs."""
    rng, found = claim_generator(seed, "C14"), Experiment()
    n, T = 32, 200
    W, U, b = gaussian(rng, n, n, gain=0.9), gaussian(rng, n, n), 0.1 * rng.standard_normal(n)
    x = rng.standard_normal((T, 1, n))
    tanh = run(rnn(W, weight_ih=U, bias=b), x)
    converted = rnn(4 * W, weight_ih=2 * U, bias=2 * b - 2 * W @ np.ones(n), activation="sigmoid")
    sigmoid = run(converted, x, state=0.5)
    state = max(float(np.abs(sigmoid.state(t) - (tanh.state(t) + 1) / 2).max()) for t in range(T + 1))
    slope = max(float(np.abs(sigmoid.dense(t) - tanh.dense(t)).max()) for t in range(1, T + 1))
    # σ₁ of the driven products is below 1 here, so rounding does not grow along the way.
    found.at_most("converted sigmoid network: max|s − (h+1)/2|", state, 1e-12)
    found.at_most("… max difference of the step Jacobians", slope, 1e-12)
    exponents = [float(leading_exponent(tape, np.random.default_rng(0))[0]) for tape in (tanh, sigmoid)]
    found.equal("… λ₁ of the sigmoid network less the tanh network's", exponents[1] - exponents[0], 0.0, allowance=1e-9)
    several = rng.standard_normal((T, 8, n))
    plain = estimate(
        leading_exponents(rnn(W, weight_ih=U, bias=b, activation="sigmoid"), several, rng, state=0.5)
        - leading_exponents(rnn(W, weight_ih=U, bias=b), several, rng)
    )
    found.at_most("control, equal W: λ₁ of sigmoid less tanh", plain, -0.5)
    quiet = [
        float(leading_exponent(run(rnn(W, bias=offset, activation=name), 400, state=middle), rng)[0])
        for name, middle, offset in (("tanh", 0.0, np.zeros(n)), ("sigmoid", 0.5, -0.5 * W @ np.ones(n)))
    ]
    found.equal("… at rest at a = 0: exactly ln 4", quiet[0] - quiet[1], np.log(4), allowance=1e-8)
    gains = [critical_gain(name) for name in ("tanh", "relu", "sigmoid")]
    for name, gain, exact in zip(("tanh", "relu", "sigmoid"), gains, (1.0, np.sqrt(2), 10.149), strict=True):
        found.equal(f"critical gain, {name}", gain, exact, allowance=1e-3)
    return found.finding(
        f"after conversion: states differ by {state:.0e}, Jacobians by {slope:.0e}, "
        f"λ₁ by {abs(exponents[1] - exponents[0]):.0e}; "
        f"at equal W λ₁ {plain:+.2f}, at rest −{quiet[0] - quiet[1]:.4f}; "
        f"critical gains {gains[0]:.0f}, {gains[1]:.4f}, {gains[2]:.3f}",
        "0 (the same functions, no more information); −ln 4 = −1.3863 at rest; 1, √2, 10.149",
        f"Rewritten, states and step Jacobians agree to {max(state, slope):.0g}. With the same W the sigmoid network "
        f"loses {-plain.mean:.2f} nats a step more; at rest {quiet[0] - quiet[1]:.4f}, which is ln 4.",
    )


CLAIM = Claim(
    "C14",
    "tanh is used because its range (−1, 1) carries more information than that of sigmoid or ReLU.",
    "false",
    experiment,
    "A tanh network rewritten as a sigmoid network (4W, 2U, 2b − 2W·1), both on the same input; then both with the "
    "same W.",
    "Every tanh network is a sigmoid network with other weights, so the range carries nothing. What differs is the "
    "slope at 0, and with it the gain at which gradients stay: 1 for tanh, √2 for relu, 10.15 for sigmoid.",
)
