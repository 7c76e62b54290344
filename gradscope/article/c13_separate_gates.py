"""C13: a coupled gate f, 1−f; then an input gate of its own."""

from __future__ import annotations

import numpy as np

from gradscope.article.base import Claim, Experiment, Finding
from gradscope.article.runs import ROUNDING, cell, claim_generator, gaussian, leading_exponent, run
from gradscope.networks.layer import Layer


def experiment(seed: int) -> Finding:
    """True as algebra: f, 1−f is a convex combination and bounded; with separate gates |h| reaches i/(1−f)."""
    rng, found = claim_generator(seed, "C13"), Experiment()
    n = 32
    x = 2.0 * rng.standard_normal((1000, 1, n))
    U = 2.0 * np.concatenate([np.eye(n)] * 2)
    coupled = Layer(cell("forget-gate", [gaussian(rng, n, n, gain=5.0) for _ in range(2)], weight_ih=U, biases=[0, 0]))
    start = rng.uniform(-1, 1, (1, n))
    largest = found.at_most(
        "coupled, 1000 driven steps: max|h_t|", float(np.abs(coupled.advance(start, x)).max()), 1.0, allowance=1e-12
    )
    start[0, 0] = 3.0
    found.at_most("coupled, |h_0| = 3: max|h_t|", float(np.abs(coupled.advance(start, x)).max()), 3.0, allowance=1e-12)
    # Gates held by their biases: σ(ln 9) = 0.9, σ(50) = 1 and tanh 50 = 1 to rounding.
    zero = np.zeros((1, 1))
    apart = Layer(cell("input-gate", [zero] * 3, biases=[50.0, np.log(9.0), 50.0]))
    reached = float(np.abs(apart.advance(np.zeros((1, 1)), np.zeros((400, 1, 0)))).max())
    found.equal("separate gates, f=0.9, i=1, u=1: |h_400| reaches i/(1−f)", reached, 10.0, allowance=1e-9)
    U = 2.0 * np.concatenate([np.eye(n)] * 3)
    driven = Layer(cell("input-gate", [gaussian(rng, n, n, gain=5.0) for _ in range(3)], weight_ih=U, biases=[1, 2, 0]))
    free = float(np.abs(driven.advance(np.zeros((1, n)), x)).max())
    found.at_least("separate gates, driven: max|h_t| leaves [−1, 1]", free, 1.5)
    # J = diag(f) + diag(1−f)·W when f is held and u is linear: eigenvalues f + (1−f)μ.
    W = gaussian(rng, n, n, gain=1.4)
    linear = Layer(cell("forget-gate", [np.zeros((n, n)), W], biases=[np.log(9.0), 0.0], activation="identity"))
    exponent = float(leading_exponent(run(linear, 300), rng)[0])
    expected = float(np.log(np.abs(0.9 + 0.1 * np.linalg.eigvals(W)).max()))
    found.equal("coupled, f=0.9, linear u: exponent is ln max|f+(1−f)μ|", exponent, expected, allowance=1e-8)
    fixed = Layer(cell("forget-gate", [np.zeros((n, n)), np.eye(n)], biases=[np.log(9.0), 0.0], activation="identity"))
    unit = float(leading_exponent(run(fixed, 100), rng)[0])
    found.equal("… and 0 at μ = 1, whatever f", unit, 0.0, allowance=ROUNDING)
    return found.finding(
        f"coupled: max|h| {largest:.4f} in 1000 driven steps; separate: {reached:.4f} at f=0.9, i=1 "
        f"and {free:.0f} driven; "
        f"linear exponent {exponent:.6f}",
        f"≤ 1 (convex combination); i/(1−f) = 10: the bound is lost; ln max|f+(1−f)μ| = {expected:.6f}",
    )


CLAIM = Claim(
    "C13",
    "f and 1−f let the old and the new state exclude each other; a separate input gate lets both be large or small.",
    "true",
    experiment,
)
