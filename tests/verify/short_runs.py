"""Of short runs, how many claim convergence, and how many of those miss the exponent of a very long run?

    python tests/verify/short_runs.py [SOURCE...]

The table of docs/lyapunov.md: 60 input draws of each network at T = 100, 300 and 1000 after 200 steps, against 120,000
steps. A miss: converged, and the interval holds no value that the long run allows. At most 3 of 60 may miss.
"""

from __future__ import annotations

import sys

import numpy as np

from gradscope.article_claims.runs import build, run
from gradscope.networks.layer import Layer
from gradscope.numerics.exponents import LyapunovSpectrum, measure_lyapunov

NETWORKS = (
    "rnn:hidden=16,inputs=4",
    "rnn:hidden=16,inputs=4,gain=2",
    "leaky:hidden=16,inputs=4,leak=0.05",
    "forget-gate:hidden=16,inputs=4,forget_bias=4",
    "lstm:hidden=8,inputs=4,forget_bias=2",
    "lstm:hidden=8,inputs=4,forget_bias=4",
    "gru:hidden=16,inputs=4,forget_bias=2",
)
DRAWS, LENGTHS = 60, (100, 300, 1000)


def leading(layer: Layer, x: np.ndarray, transient: int, rng: np.random.Generator) -> LyapunovSpectrum:
    """λ₁ of each of the draws, x (T, draws, I), after a transient."""
    state = layer.advance(np.zeros((x.shape[1], layer.state_size)), x[:transient])[-1]
    return measure_lyapunov(run(layer, x[transient:], state=state), k=1, log_det=False, rng=rng)


def count(layer: Layer, truth: float, slack: float, steps: int) -> tuple[int, int]:
    """How many of the draws claim convergence, and how many of those miss."""
    claims = missed = 0
    for draw in range(DRAWS):
        rng = np.random.default_rng([7, draw, steps])
        found = leading(layer, rng.standard_normal((steps + 200, 1, layer.input_size)), 200, rng)
        if found.converged:
            claims += 1
            missed += not found.low[0, 0] - slack <= truth <= found.high[0, 0] + slack
    return claims, missed


def main(sources: list[str]) -> int:
    """Print a line per network; 1 if more than 5 % of the runs of any claim and miss."""
    worst = 0
    for text in sources or NETWORKS:
        layer, rng = build(text, 0), np.random.default_rng(1)
        long = leading(layer, rng.standard_normal((3000, DRAWS, layer.input_size)), 1000, rng).exponents[:, 0]
        truth, slack = float(long.mean()), 2 * float(long.std(ddof=1)) / DRAWS**0.5
        cells = [count(layer, truth, slack, steps) for steps in LENGTHS]
        worst = max(worst, *(missed for _, missed in cells))
        said = ", ".join(f"T={T}: {c} claim, {m} miss" for T, (c, m) in zip(LENGTHS, cells, strict=True))
        print(f"{text}: {truth:+.4f}±{slack:.4f}; {said}", flush=True)
    return int(worst > 0.05 * DRAWS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
