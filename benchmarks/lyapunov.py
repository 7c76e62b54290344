"""Workload C: the full Lyapunov spectrum against a QR at every step, answers compared before anything is timed.

python benchmarks/lyapunov.py [--hidden 128] [--steps 1000] [--gain 1.5] [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled, RowScaledSum
from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.frame import Frame
from gradscope.numerics.tape import StoredTape, Tape

# What issue 5 asks for: exponents equal to the reference's.
AGREEMENT = 1e-10


def driven_tanh(hidden: int, steps: int, gain: float, seed: int = 0) -> StoredTape:
    """A tanh network with noise input, as a tape."""
    rng = np.random.default_rng(seed)
    W = gain * rng.standard_normal((hidden, hidden)) / np.sqrt(hidden)
    h, slopes = np.zeros(hidden), np.empty((steps, 1, 1, hidden))
    for t in range(steps):
        pre_activation = W @ h + 0.3 * rng.standard_normal(hidden)
        h, slopes[t] = np.tanh(pre_activation), 1.0 / np.cosh(pre_activation) ** 2
    return StoredTape(np.zeros((steps + 1, 1, hidden)), DiagonalPlusRowScaled(None, RowScaledSum(slopes, W[None])))


def householder_at_every_step(tape: Tape, Q: Array) -> Array:
    """What a user would otherwise do: numpy.linalg.qr after each Jacobian."""
    total = np.zeros(Q.shape[-1])
    for t in range(1, tape.n_steps + 1):
        Q, R = np.linalg.qr(tape.push(t, Q))
        total += np.log(np.abs(np.diagonal(R[0])))
    return np.sort(total / tape.n_steps)[::-1]


def products_alone(tape: Tape, Q: Array) -> Array:
    """The limit of the workload table: the dense products and nothing else."""
    for t in range(1, tape.n_steps + 1):
        product = tape.push(t, Q)
    return product


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(hidden: int, steps: int, gain: float, repeats: int) -> dict[str, float]:
    """Check the exponents, then time both roads alternately; medians and the spread of the ratio."""
    tape = driven_tanh(hidden, steps, gain)
    Q = Frame.random(tape, hidden, np.random.default_rng(0)).Q
    roads: dict[str, Callable[[], object]] = {
        "project": lambda: measure_lyapunov(tape, align=0, log_det=False),
        "reference": lambda: householder_at_every_step(tape, Q),
        "products": lambda: products_alone(tape, Q),
    }
    found = measure_lyapunov(tape, align=0, log_det=False).exponents[0]
    difference = float(np.abs(found - householder_at_every_step(tape, Q)).max())
    if difference > AGREEMENT:
        raise SystemExit(f"wrong answer: exponents differ by {difference:.1e}, wanted {AGREEMENT:.0e}; nothing timed")
    times: dict[str, list[float]] = {name: [] for name in roads}
    for _ in range(repeats):
        for name, road in roads.items():
            times[name].append(seconds(road))
    ratios = [slow / fast for slow, fast in zip(times["reference"], times["project"], strict=True)]
    return {
        "hidden": hidden,
        "steps": steps,
        "gain": gain,
        "difference": difference,
        **{f"seconds_{name}": statistics.median(values) for name, values in times.items()},
        "speedup": statistics.median(ratios),
        "speedup_low": min(ratios),
        "speedup_high": max(ratios),
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--gain", type=float, default=1.5)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        print(json.dumps(compare(options.hidden, options.steps, options.gain, options.repeats), indent=2))


if __name__ == "__main__":
    main()
