"""C07: is there nothing between vanishing and exploding? The order–chaos transition of tanh networks."""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Estimate, Experiment, Finding, Line, Picture, estimate
from gradscope.article_claims.runs import claim_generator, gaussian, leading_exponent, rnn
from gradscope.article_claims.runs import run as run_layer
from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.mean_field import tanh_mean_field

N, DRAWS, STEPS, TRANSIENT = 200, 8, 400, 200
#: Finite N lowers λ₁ beyond g = 1 by 0.02–0.03 at N = 200 and raises ln ρ by 0.042 below it, s.d. 0.022 over draws.
FINITE_SIZE = 0.042 + 4.5 * 0.022 / DRAWS**0.5


def experiment(seed: int) -> Finding:
    """λ₁(g) beside the mean field ½ ln χ: one sign change at g = 1, a continuum of rates; input moves it up."""
    rng, found = claim_generator(seed, "C07"), Experiment()
    W = gaussian(rng, DRAWS, N, N)
    measured = {}
    for gain in (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0):
        exponents = measure(gain * W, rng)
        measured[gain] = estimate(exponents)
        field = tanh_mean_field(gain).exponent
        found.equal(
            f"g={gain}: λ₁, mean of {DRAWS} networks of {N}, against ½ ln χ",
            measured[gain],
            field,
            allowance=FINITE_SIZE,
        )
        if gain < 1:
            # At rest the exponent is that of W itself; 200 steps of transient and 400 measured leave O(1/T).
            radius = np.log(np.abs(np.linalg.eigvals(gain * W)).max(axis=-1))
            found.equal(f"g={gain}: λ₁ against ln ρ(W)", float(np.mean(exponents - radius)), 0.0, allowance=0.02)
            found.at_most(f"g={gain}: ordered, λ₁ of every draw", float(exponents.max()), 0.0)
        elif gain >= 2:
            found.at_least(f"g={gain}: chaotic, λ₁ of every draw", float(exponents.min()), 0.0)
    noise = rng.standard_normal((STEPS + TRANSIENT, DRAWS, 1, N))
    driven = {}
    for gain in (1.5, 2.0):
        driven[gain] = estimate(measure(gain * W, rng, noise))
        field = tanh_mean_field(gain, input_variance=1.0).exponent
        found.equal(f"g={gain} with N(0, 1) input: λ₁ against ½ ln χ", driven[gain], field, allowance=FINITE_SIZE)
        found.at_most("… lower than without input by", driven[gain].mean - measured[gain].mean, -0.05)
    found.at_most("g=1.5: input makes chaos orderly, λ₁", driven[1.5], 0.0)
    found.draw(_picture(measured, driven))
    values = ", ".join(f"{gain:g}: {value:+.3f}" for gain, value in measured.items())
    fields = ", ".join(f"{gain:g}: {tanh_mean_field(gain).exponent:+.3f}" for gain in measured)
    input_field = tanh_mean_field(1.5, input_variance=1.0).exponent
    return found.finding(
        f"λ₁(g) {values}; with input at 1.5: {driven[1.5]:+.3f}",
        f"mean field {fields}; {input_field:+.3f}; sign change at g=1 (±{FINITE_SIZE:.2f} at N={N})",
        f"λ₁ is {measured[0.5].mean:+.2f} at g = 0.5, {measured[0.8].mean:+.2f} at 0.8, {measured[1.0].mean:+.3f} at 1"
        f", {measured[1.5].mean:+.2f} at 1.5 and {measured[3.0].mean:+.2f} at 3; random input takes that of g = 1.5 to "
        f"{driven[1.5].mean:+.2f}.",
    )


def measure(W: Array, rng: np.random.Generator, noise: Array | None = None) -> Array:
    """λ₁ of tanh networks (draws, n, n) side by side, after a transient."""
    draws, n = W.shape[0], W.shape[-1]
    state = rng.standard_normal((draws, 1, n))
    network = rnn(W, weight_ih=None if noise is None else np.broadcast_to(np.eye(n), W.shape))
    x = np.zeros((STEPS + TRANSIENT, draws, 1, 0)) if noise is None else noise
    settled = network.advance(state, x[:TRANSIENT])[-1]
    return leading_exponent(run_layer(network, x[TRANSIENT:], state=settled), rng)[:, 0]


def _picture(measured: dict[float, Estimate], driven: dict[float, Estimate]) -> Picture:
    """λ₁ against the gain, at rest and with input, beside the mean field."""
    gains = np.linspace(0.5, 3.0, 51)
    at_rest, with_input = ([tanh_mean_field(g, input_variance=v).exponent for g in gains] for v in (0.0, 1.0))
    return Picture(
        "order-chaos",
        "From order to chaos: the growth rate crosses zero, and input moves the crossing",
        f"Growth rate of tanh networks of {N} units (mean of {DRAWS}) and of infinitely many (mean field).",
        "gain g of W",
        "growth rate (nats per step)",
        (
            Line(f"measured at rest, N = {N}", list(measured), list(measured.values()), "measured"),
            Line("mean field at rest", gains, at_rest, "theory"),
            Line("measured with N(0, 1) input", list(driven), list(driven.values()), "corner"),
            Line("mean field with N(0, 1) input", gains, with_input, "eigen"),
        ),
        marks=(("0: neither vanishes nor explodes", 0.0),),
    )


CLAIM = Claim(
    "C07",
    "There is no regime in between: the gradient of a recurrent network vanishes or explodes.",
    "false",
    experiment,
    "The growth rate λ₁ of the gradient (nats per step) in tanh networks of 200 units, eight draws, while the gain "
    "g of W goes from 0.5 to 3; at rest and with random input.",
    "The rate goes continuously through zero near g = 1, the edge of chaos; there a gradient neither vanishes nor "
    "explodes for hundreds of steps. Input moves the edge to larger g: the same W can explode at rest and vanish in "
    "use.",
)
