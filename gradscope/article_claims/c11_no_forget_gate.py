"""C11: without a forget gate, does c grow until tanh saturates at once?"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gradscope.article_claims.claim import Claim, Estimate, Experiment, Finding, estimate
from gradscope.article_claims.runs import cell, claim_generator, run
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import log_sech_squared
from gradscope.networks.layer import Layer

UNITS, BATCH, STEPS = 50, 20, 1000
#: |c| where 1 − tanh²(c) < 0.01.
SATURATED = 2.993


def cell_states(rng: np.random.Generator, *, forget_bias: float, drift: float, steps: int = STEPS) -> Array:
    """c_0 … c_T of independent units: no recurrent weights, N(0, 1) pre-activations (candidate N(drift, 1))."""
    zero = np.zeros((UNITS, UNITS))
    lstm = cell("lstm", [zero] * 4, weight_ih=np.eye(4 * UNITS), biases=[0.0, forget_bias, drift, 0.0])
    x = rng.standard_normal((steps, BATCH, 4 * UNITS))
    x[..., UNITS : 2 * UNITS] = 0.0
    return Layer(lstm).advance(np.zeros((BATCH, 2 * UNITS)), x)[..., UNITS:].reshape(steps + 1, -1)


def over_groups(measure: Callable[[Array], float], c: Array) -> Estimate:
    """A statistic of the walks, its mean over ten groups of them."""
    return estimate([measure(group) for group in np.split(c, 10, axis=1)])


def growth_exponent(c: Array) -> float:
    """Slope of ln rms c against ln t, t ≥ 100."""
    t = np.arange(100, len(c))
    return float(np.polyfit(np.log(t), np.log(np.sqrt(np.mean(c[100:] ** 2, axis=1))), 1)[0])


def first_passage(c: Array) -> float:
    """Median first step with tanh′(c) < 0.01."""
    reached = np.abs(c) > SATURATED
    return float(np.median(np.where(reached.any(axis=0), reached.argmax(axis=0), len(c))))


def experiment(seed: int) -> Finding:
    """c grows as t with a drift and as √t without; saturation takes some fifty steps; ∂h/∂c dies, ∂c/∂c does not."""
    rng, found = claim_generator(seed, "C11"), Experiment()
    # σ(60) is 1 to rounding: no forgetting.
    drifting = cell_states(rng, forget_bias=60.0, drift=0.5)
    centred = cell_states(rng, forget_bias=60.0, drift=0.0)
    powers = over_groups(growth_exponent, drifting), over_groups(growth_exponent, centred)
    found.equal("growth of rms c, with drift: power of t", powers[0], 1.0, allowance=0.06)
    # rms over 1000 walks: the power is known to about 0.02 over a decade of t.
    found.equal("growth of rms c, zero mean: power of t", powers[1], 0.5, allowance=0.08)
    over = float(np.max(np.abs(centred) - np.arange(STEPS + 1)[:, None]))
    found.at_most("|c_t| over |c_0| + t", over, 0.0, identity=True)
    passage = over_groups(first_passage, drifting), over_groups(first_passage, centred)
    variance = _increment_variance()
    # Median exit time of Brownian motion from (−a, a) is 0.758 a²/v; discrete steps overshoot a by 0.58√v.
    low, high = (0.758 * (SATURATED + extra) ** 2 / variance for extra in (0.0, 0.58 * np.sqrt(variance)))
    middle, half = (low + high) / 2, (high - low) / 2
    # The median of 1000 exit times of that law has s.e. 0.05·middle, 4.5 of them are 0.22; the mean of ten medians of
    # 100 each is as good, its bias of order 1/100.
    found.equal(
        "steps until tanh saturates, zero mean (median; exit time of a random walk)",
        passage[1],
        middle,
        allowance=half + 0.22 * middle,
    )
    found.at_least("… with drift: not at once", passage[0], 15.0)
    found.at_most("… with drift: sooner than without", passage[0], passage[1].mean)
    lstm = cell("lstm", [np.zeros((1, 1))] * 4, biases=[0.0, 60.0, 1.0, 0.0])
    tape = run(Layer(lstm), STEPS)
    product = np.eye(2)
    for t in range(1, STEPS + 1):
        product = tape.dense(t)[0] @ product
    found.equal("one unit: ∂c_1000/∂c_0", product[1, 1], 1.0, allowance=1e-9)
    collapse = float(log_sech_squared(tape.state(STEPS)[0, 1]) / np.log(10))
    found.at_most("… log10 tanh′(c_1000), the factor of ∂h/∂c", collapse, -100.0)
    forgetting = cell_states(rng, forget_bias=1.0, drift=0.5)
    bound = (1 + math.e) * 1.0
    found.at_most("control, forget bias 1: max|c| against 1/(1−f)", float(np.abs(forgetting).max()), bound)
    reset = np.concatenate([cell_states(rng, forget_bias=60.0, drift=0.0, steps=20) for _ in range(5)])
    found.at_most(
        "control, reset every 20 steps: fraction of steps saturated", float(np.mean(np.abs(reset) > SATURATED)), 0.1
    )
    return found.finding(
        f"rms c ~ t^{powers[0]:.3f} with drift, t^{powers[1]:.3f} without; "
        f"tanh saturates after {passage[0]:.0f} and {passage[1]:.0f} steps; "
        f"∂c/∂c stays {product[1, 1]:g}, ∂h/∂c falls to 10^{collapse:.0f} at 1000",
        f"t and √t; some {middle:.0f} steps, not at once; 1; collapse; none of it with a forget gate or resets",
        f"c grows as t^{powers[0].mean:.2f} with a drift and as t^{powers[1].mean:.2f} without; half of the units are "
        f"saturated after {passage[0]:.0f} and {passage[1]:.0f} steps. ∂c/∂c stays {product[1, 1]:g}; tanh′(c), on "
        f"the way from c to h, falls to 10^{collapse:.0f}.",
    )


def _increment_variance() -> float:
    """E(i·u)² = E σ²(z)·E tanh²(z), z ~ N(0, 1), by quadrature."""
    z, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / weight.sum()
    return float((weight @ (1 / (1 + np.exp(-z)) ** 2)) * (weight @ np.tanh(z) ** 2))


CLAIM = Claim(
    "C11",
    "Without a forget gate c_t grows and grows, and tanh(c_t) saturates at once: no new information gets in.",
    "conditional",
    experiment,
    "The cell states of 1000 independent LSTM units whose forget gate is held at 1, over 1000 steps, with and "
    "without a drift; a forget gate, and resets, beside.",
    "c grows and tanh(c) saturates, after some tens of steps and not at once. What is in c stays there (∂c_t/∂c_0 = "
    "1); the way from c to h closes. A forget gate below 1, or a reset, prevents it.",
)
