"""Hunt for a trajectory that a contraction certificate excludes: random gated cells near the edge of what is provable.

    python tests/verify/hunt_contractions.py --seconds 600 --seed 1

Each network gets the largest bound on its inputs at which it is proven to contract; inputs at the corners of that box,
and inputs that an optimiser moves towards the largest step, must obey the certificate in its own norm, at every step,
and its bound at every lag.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from scipy.optimize import minimize

from gradscope.article_claims.runs import build, log_norms, run
from gradscope.cells.intervals import Interval
from gradscope.networks.layer import Layer
from gradscope.theory.contraction import Contraction, contraction_of, drives_within, input_bound

CELLS = ("lstm", "gru", "gru:reset=before", "forget-gate", "input-gate")


def draw(rng: np.random.Generator) -> str:
    """A network that may contract."""
    cell = str(rng.choice(CELLS))
    joint = "," if ":" in cell else ":"
    keys = {
        "hidden": int(rng.integers(1, 24)),
        "inputs": int(rng.integers(1, 5)),
        "gain": round(float(10 ** rng.uniform(-2, 0)), 4),
        "input_gain": round(float(10 ** rng.uniform(-2, 0.5)), 4),
        "forget_bias": round(float(rng.uniform(-3, 2)), 3),
        "bias": round(float(rng.normal()), 3),
        "activation": str(rng.choice(["tanh", "sigmoid"])),
        "init": str(rng.choice(["gaussian", "orthogonal", "uniform", "nonnormal"])),
    }
    return cell + joint + ",".join(f"{key}={value}" for key, value in keys.items())


def worst_step(found: Contraction, layer: Layer, x: np.ndarray, start: np.ndarray) -> float:
    """max over steps of ‖D⁻¹J_tD‖_∞ and of block norms, each over what is proven."""
    J = np.asarray(run(layer, x, state=start).jacobians(1, len(x)).dense())
    v, m = found.weights, len(found.block_norms)
    weighted = float(np.max(np.abs(J) @ v / v)) / found.weighted_factor
    n = J.shape[-1] // m
    blocks = np.linalg.norm(J.reshape(*J.shape[:-2], m, n, m, n).swapaxes(-3, -2), 2, axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.nan_to_num(blocks / found.block_norms)
    return max(weighted, float(share.max()))


def attack(text: str, seed: int, rng: np.random.Generator) -> tuple[float, float] | None:
    """The worst step over the proven factor, and the worst lag over the bound (decades); None if nothing is proven."""
    layer = build(text, seed)
    cell, radius = layer.cell, float(rng.choice([0.0, 0.5]))
    box = Interval.around(np.zeros(cell.state_size), radius)
    bound = input_bound(cell, box)
    found = None if bound is None else contraction_of(cell, drives_within(cell, bound), box)
    if found is None or bound is None:
        return None
    x = bound * np.sign(rng.standard_normal((80, 8, cell.input_size)))
    x[:, 4:] = np.repeat(x[::10, 4:], 10, axis=0)
    start = radius * np.sign(rng.standard_normal((8, cell.state_size)))
    share = worst_step(found, layer, x, start)
    over = float(np.max(log_norms(run(layer, x, state=start)) / np.log(10) - found.log10_bound(80)[:, None]))

    def minus(y: np.ndarray) -> float:
        moved = bound * np.tanh(y.reshape(10, 1, -1))
        return -worst_step(found, layer, moved, start[:1])

    size = 10 * cell.input_size
    result = minimize(minus, 2 * rng.standard_normal(size), method="Powell", options={"maxfev": 60})
    return max(share, -float(result.fun)), over


def main() -> int:
    """Attack until the time is over; 1 if something was exceeded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, end = np.random.default_rng(options.seed), time.monotonic() + options.seconds
    tried = proven = broken = 0
    closest = 0.0
    while time.monotonic() < end:
        text, tried = draw(rng), tried + 1
        found = attack(text, tried, rng)
        if found is None:
            continue
        proven += 1
        closest = max(closest, found[0])
        if found[0] > 1 + 1e-9 or found[1] > 1e-9:
            broken += 1
            print(f"EXCEEDED: {text} seed {tried}: step {found[0]!r}, bound {found[1]!r}", flush=True)
    print(f"{tried} networks, {proven} proven to contract, {broken} exceeded; closest step {closest:.9f} of the factor")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
