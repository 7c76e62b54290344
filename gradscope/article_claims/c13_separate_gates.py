"""C13: a coupled gate f, 1−f; then an input gate of its own."""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Estimate, Experiment, Finding, estimate
from gradscope.article_claims.runs import ROUNDING, cell, claim_generator, gaussian, leading_exponent, run
from gradscope.cells.input_gate import InputGate
from gradscope.jacobians.step_jacobian import Array
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
        "coupled, 1000 driven steps: max|h_t|",
        float(np.abs(coupled.advance(start, x)).max()),
        1.0,
        allowance=1e-12,
        identity=True,
    )
    start[0, 0] = 3.0
    found.at_most(
        "coupled, |h_0| = 3: max|h_t|",
        float(np.abs(coupled.advance(start, x)).max()),
        3.0,
        allowance=1e-12,
        identity=True,
    )
    # Gates held by their biases: σ(ln 9) = 0.9, σ(50) = 1 and tanh 50 = 1 to rounding.
    zero = np.zeros((1, 1))
    apart = Layer(cell("input-gate", [zero] * 3, biases=[50.0, np.log(9.0), 50.0]))
    reached = float(np.abs(apart.advance(np.zeros((1, 1)), np.zeros((400, 1, 0)))).max())
    found.equal("separate gates, f=0.9, i=1, u=1: |h_400| reaches i/(1−f)", reached, 10.0, allowance=1e-9)
    U = 2.0 * np.concatenate([np.eye(n)] * 3)
    driven = Layer(cell("input-gate", [gaussian(rng, n, n, gain=5.0) for _ in range(3)], weight_ih=U, biases=[1, 2, 0]))
    free = float(np.abs(driven.advance(np.zeros((1, n)), x)).max())
    found.at_least("separate gates, driven: max|h_t| leaves [−1, 1]", free, 1.5)
    open_ = _both_open(rng, found)
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
        f"and beyond {min(free, 100):.3g} driven; both gates open in {100 * open_.mean:.1f}±{100 * open_.half:.1f} % "
        "of units and steps; "
        f"linear exponent {exponent:.6f}",
        f"≤ 1 (convex combination); i/(1−f) = 10: the bound is lost; 25 % if gates go their own ways; "
        f"ln max|f+(1−f)μ| = {expected:.6f}",
        f"With f and 1−f |h| stays within {largest:.4f}. With two gates it reaches {reached:.2f} at f = 0.9, i = 1, "
        f"and passes {min(free, 100):.0f} in the driven network; both are open {100 * open_.mean:.0f} % of the time.",
    )


def gates(layer: Layer, x: Array) -> tuple[Array, Array]:
    """i and f of an ``input-gate`` cell along its run: two arrays (T, n)."""
    cell_ = layer.cell
    assert isinstance(cell_, InputGate)
    n = cell_.hidden_size
    h = layer.advance(np.zeros((1, n)), x)[:-1, 0]
    a = h @ cell_.weight_hh.T + x[:, 0] @ cell_.weight_ih.T + cell_.bias
    return 1 / (1 + np.exp(-a[:, :n])), 1 / (1 + np.exp(-a[:, n : 2 * n]))


def _both_open(rng: np.random.Generator, found: Experiment) -> Estimate:
    """Separate gates of independent weights: open and shut together as often as not; f and 1−f never are."""
    n, both, neither = 32, [], []
    for _ in range(16):
        layer = Layer(
            cell(
                "input-gate",
                [gaussian(rng, n, n) for _ in range(3)],
                weight_ih=gaussian(rng, 3 * n, n),
                biases=[0.0, 0.0, 0.0],
            )
        )
        i, f = gates(layer, rng.standard_normal((300, 1, n)))
        both.append(float(np.mean((i > 0.5) & (f > 0.5))))
        neither.append(float(np.mean((i < 0.5) & (f < 0.5))))
    for words, shares in (("open", both), ("shut", neither)):
        share = estimate(shares)
        # By the symmetry of the weights each gate is open half the time, whatever the other does: 1/4 exactly.
        error = share.half / 2.13
        found.equal(f"separate gates, 16 networks: both {words}", share, 0.25, allowance=4.5 * error)
    return estimate(both)


CLAIM = Claim(
    "C13",
    "f and 1−f let the old and the new state exclude each other; a separate input gate lets both be large or small.",
    "true",
    experiment,
    "The largest |h| of 32 driven units over 1000 steps, with f and 1−f and with two gates of their own.",
    "With f and 1−f the new state is a mean of the old one and the candidate, so h keeps within their range. With "
    "two gates the limit is i/(1−f), and there is none as f nears 1: C11 tells what that costs.",
)
