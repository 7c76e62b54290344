"""C03: is ∂L/∂W_i = ∂L/∂h_t (tanh′)^(t−i) W^(t−i) h_{i−1}ᵀ?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Estimate, Experiment, Finding, estimate
from gradscope.article_claims.runs import ROUNDING, claim_generator, gaussian, log_norms, rnn, run, spectral_norm
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.readout import SoftmaxCrossEntropy
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.backprop import backpropagate
from gradscope.numerics.propagate import step_norms

LN10 = float(np.log(10.0))


def contributions(tape: Trajectory, loss: SoftmaxCrossEntropy) -> list[Array]:
    """∂L/∂(copy of W at step i), i = 1 … T, from the backward pass."""
    T = tape.n_steps
    direct = loss.gradient(tape.state(T))
    found = []
    for step in backpropagate(tape, lambda t: direct if t == T else None):
        for (block,) in step.weights:
            outer = block.rows[0, :, None] * block.columns[0, None, :]
            found.append(np.ldexp(outer, int(step.exponent[0])))
    return found[::-1]


def complex_step(W: Array, drives: Array, loss: SoftmaxCrossEntropy, copy: int, direction: Array) -> float:
    """dL along ``direction`` of one copy of W alone: exact to rounding, and knows nothing of Jacobians."""
    h = np.zeros(len(W), dtype=np.complex128)
    for i, drive in enumerate(drives, start=1):
        h = np.tanh((W + 1e-30j * direction if i == copy else W) @ h + drive)
    return float(loss.value(h[None])[0].imag / 1e-30)


def commuted(W: Array, slopes: Array) -> Array:
    """The article's (tanh′)^m W^m: all slopes taken to the left of all W; newest slope first."""
    return np.asarray(np.prod(slopes, axis=0)[:, None] * np.linalg.matrix_power(W, len(slopes)))


def in_order(W: Array, slopes: Array) -> Array:
    """J_t ⋯ J_{i+1} = D_t W ⋯ D_{i+1} W; oldest slope first in ``slopes``."""
    P = np.eye(len(W))
    for slope in slopes:
        P = slope[:, None] * (W @ P)
    return P


def experiment(seed: int) -> Finding:
    """The true contribution by complex steps; the article's own formula beside it; the chain of bounds."""
    rng, found = claim_generator(seed, "C03"), Experiment()
    n, T = 8, 10
    W, drives = gaussian(rng, n, n, gain=1.2), rng.standard_normal((T, n))
    loss = SoftmaxCrossEntropy(rng.standard_normal((3, n)), np.zeros(3), np.array([0]))
    tape = run(rnn(W, weight_ih=np.eye(n)), drives[:, None])
    worst = 0.0
    for i, gradient in enumerate(contributions(tape, loss), start=1):
        direction = rng.standard_normal((n, n))
        truth = complex_step(W, drives, loss, i, direction)
        # The scale of the inner product, so that an accidental cancellation is no error.
        scale = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
        worst = max(worst, abs(float(np.sum(gradient * direction)) - truth) / scale if i > 1 else 0.0)
    found.at_most("t−i+1 factors φ′, backward pass against complex steps: relative error", worst, 1e-12)
    off = _scalar_unit(rng, found)
    errors = _order(rng, found)
    _chain_of_bounds(rng, found)
    return found.finding(
        f"with t−i+1 slopes: error {worst:.1e}; the article's is off by 1−h² "
        f"({off[0]:.3f}, {off[1]:.3f}, {off[2]:.3f} in one unit); "
        f"taking D out of the product: relative error {errors[0]:.2f} at lag 8, {errors[1]:.2f} at lag 30",
        "0; exactly 1−h_i²; of order 1, unless D and W commute",
        f"In one unit the exact gradient is {off[0]:.3f}, {off[1]:.3f} and {off[2]:.3f} times the article's at three "
        f"steps. With 32 units, taking all tanh′ in front of all W is wrong by {100 * errors[0].mean:.0f} % at lag 8. "
        f"Backpropagation agrees with the exact gradient to {worst:.0g}.",
    )


def _scalar_unit(rng: np.random.Generator, found: Experiment) -> list[float]:
    """One unit, h₀ = 0.3: truth/article = 1 − h_i² exactly, at every step."""
    w, drives, T = 0.8, rng.standard_normal((4, 1)) * 0.6, 4
    loss = SoftmaxCrossEntropy(np.array([[1.0], [-0.5]]), np.zeros(2), np.array([0]))
    h = [0.3]
    for x in drives[:, 0]:
        h.append(float(np.tanh(w * h[-1] + x)))
    dL = float(loss.gradient(np.array([[h[T]]]))[0, 0])
    ratios = []
    for i in range(1, T):
        article = dL * float(np.prod([1 - h[k] ** 2 for k in range(i + 1, T + 1)])) * w ** (T - i) * h[i - 1]
        state = complex(h[0])
        for k in range(1, T + 1):
            state = np.tanh((w + (1e-30j if k == i else 0)) * state + drives[k - 1, 0])
        truth = float(loss.value(np.array([[state]]))[0].imag / 1e-30)
        ratios.append(truth / article)
        found.equal(
            f"one unit: true contribution over the article's at step {i}, 1−h²",
            ratios[-1],
            1 - h[i] ** 2,
            allowance=1e-12,
        )
    return ratios


def _order(rng: np.random.Generator, found: Experiment) -> list[Estimate]:
    """(ΠD)W^m against Π(D W), over 20 draws: equal when they commute, O(1) otherwise."""
    draws = np.empty((2, 20))
    for column in draws.T:
        W, slopes = gaussian(rng, 32, 32, gain=1.5), np.exp(-rng.uniform(0, 2, (30, 32)))
        for index, lag in enumerate((8, 30)):
            truth = in_order(W, slopes[:lag])
            column[index] = spectral_norm(commuted(W, slopes[:lag][::-1]) - truth) / spectral_norm(truth)
    errors = [estimate(row) for row in draws]
    found.at_least("(ΠD)W^8 against Π(DW): relative error", errors[0], 0.3)
    diagonal = np.diag(rng.uniform(0.5, 1.5, 32))
    truth = in_order(diagonal, slopes)
    control = spectral_norm(commuted(diagonal, slopes[::-1]) - truth) / spectral_norm(truth)
    found.at_most("… with a diagonal W, which commutes with D", control, 1e-12)
    same = np.broadcast_to(slopes[:, :1], slopes.shape)
    truth = in_order(W, same)
    control = spectral_norm(commuted(W, same[::-1]) - truth) / spectral_norm(truth)
    # A product of 30 factors of size 32: 30·32·eps times the departure from normality.
    found.at_most("… with D a multiple of I, which commutes with W", control, 1e-10)
    return errors


def _chain_of_bounds(rng: np.random.Generator, found: Experiment) -> None:
    """σ₁(ΠJ) ≤ Πσ₁(J) ≤ Π max(D)·σ₁(W)^m ≤ (γσ₁)^m at every lag."""
    n, T = 16, 30
    W = gaussian(rng, n, n, gain=1.5)
    tape = run(rnn(W, weight_ih=np.eye(n)), 0.3 * rng.standard_normal((T, 1, n)))
    sigma = np.log(spectral_norm(W))
    largest = next(tape.segments("start")).linearised.traces[0].log_slope.max(axis=-1)[:, 0]
    columns = [
        log_norms(tape)[1:, 0],
        np.cumsum(step_norms(tape).log10_norm[:, 0]) * LN10,
        np.cumsum(largest + sigma),
        np.arange(1, T + 1) * sigma,
    ]
    names = ("σ₁(ΠJ)", "Πσ₁(J)", "Π max(D)σ₁(W)", "(γσ₁)^m")
    for name, upper, below, above in zip(names, names[1:], columns, columns[1:], strict=False):
        found.at_most(
            f"{name} over {upper}, largest ln over {T} lags", float(np.max(below - above)), 0.0, allowance=T * ROUNDING
        )


CLAIM = Claim(
    "C03",
    "The gradient at W_i is ∂L/∂h_t times (tanh′) and W, both to the power t−i, times h_{i−1} transposed.",
    "false",
    experiment,
    "The exact gradient at one step's W, by moving that W alone, beside backpropagation and beside the article's "
    "formula.",
    "There is one factor tanh′ more than there are W, that of step i itself. And they alternate, D_t W D_(t−1) W …: "
    "they can be gathered into powers if they commute, as numbers do and matrices in general do not.",
)
