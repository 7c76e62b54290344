"""Hunt for a trajectory that a contraction certificate excludes: random gated layers and stacks at the provable edge.

    python tests/verify/hunt_contractions.py --seconds 600 --seed 1

Each network gets the largest bound on its inputs at which it is proven to contract; inputs at the corners of that box,
and inputs that an optimiser moves towards the largest step, must obey the certificate in its own norm, at every step,
and its bound at every lag. In a stack every coupling of two layers must obey what is said of it as well.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import numpy as np
from scipy.optimize import minimize

from gradscope.analysis.contracting import proof_of
from gradscope.article_claims.runs import log_norms, run
from gradscope.cells.intervals import Interval
from gradscope.networks.layer import Layer
from gradscope.networks.stack import Stack
from gradscope.sources.build import build_source
from gradscope.sources.kinds import NetworkSource
from gradscope.sources.spec import parse_source
from gradscope.theory.contraction import Contraction, drives_within, largest_bound
from gradscope.theory.stack_contraction import StackContraction

CELLS = ("lstm", "gru", "gru:reset=before", "forget-gate", "input-gate")


def draw(rng: np.random.Generator, most_layers: int) -> str:
    """A network that may contract."""
    layers = int(rng.integers(1, most_layers + 1))
    cell = str(rng.choice(CELLS))
    joint = "," if ":" in cell else ":"
    keys = {
        "hidden": int(rng.integers(1, 24)) if layers == 1 else int(rng.integers(1, 9)),
        "layers": layers,
        "dropout": float(rng.choice([0.0, 0.3])) if layers > 1 else 0.0,
        "inputs": int(rng.integers(1, 5)),
        "gain": round(float(10 ** rng.uniform(-2, 0)), 4),
        "input_gain": round(float(10 ** rng.uniform(-2, 0.5)), 4),
        "forget_bias": round(float(rng.uniform(-3, 2)), 3),
        "bias": round(float(rng.normal()), 3),
        "activation": str(rng.choice(["tanh", "sigmoid"])),
        "init": str(rng.choice(["gaussian", "orthogonal", "uniform", "nonnormal"])),
    }
    return cell + joint + ",".join(f"{key}={value}" for key, value in keys.items())


def worst_step(
    found: Contraction | StackContraction, network: Layer | Stack, x: np.ndarray, start: np.ndarray
) -> float:
    """max over steps of ‖D⁻¹J_tD‖_∞ and of block norms, each over what is proven, and of what couples layers."""
    tape = run(network, x, state=start)
    J = np.asarray(tape.jacobians(1, len(x)).dense())
    layers = found.layers if isinstance(found, StackContraction) else (found,)
    worst = [step_of(one, J[..., part, part]) for one, part in zip(layers, network.layer_slices, strict=True)]
    if isinstance(found, StackContraction):
        assert isinstance(network, Stack)
        worst += [coupling(found, network, x, start), whole_step(found, network, J)]
    return max(worst)


def step_of(found: Contraction, J: np.ndarray) -> float:
    """One layer's own block of the Jacobians."""
    v, m = found.weights, len(found.block_norms)
    weighted = float(np.max(np.abs(J) @ v / v)) / found.weighted_factor
    n = J.shape[-1] // m
    blocks = np.linalg.norm(J.reshape(*J.shape[:-2], m, n, m, n).swapaxes(-3, -2), 2, axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.nan_to_num(blocks / found.block_norms)
    return max(weighted, float(share.max()))


def coupling(found: StackContraction, stack: Stack, x: np.ndarray, start: np.ndarray) -> float:
    """∂s^l_t/∂(what layer l reads) by complex step, entry by entry over what is proven."""
    states = stack.advance(np.array(start), x)
    share = 0.0
    for layer, inputs in enumerate(stack.layer_inputs(states, x)):
        cell, part, d = stack.cells[layer], stack.layer_slices[layer], found.layers[layer].domination
        for j in range(cell.input_size if layer else 0):
            moved = inputs.astype(complex)
            moved[..., j] += 1e-30j
            column = np.abs(cell.step(states[:-1, ..., part].astype(complex), cell.drive(moved)).imag / 1e-30)
            with np.errstate(invalid="ignore", divide="ignore"):
                share = max(share, float(np.nan_to_num(column / d.input_entries[:, j], posinf=np.inf).max()))
    return share


def whole_step(found: StackContraction, stack: Stack, J: np.ndarray) -> float:
    """Blocks of the whole Jacobian in the weighted norms of their layers, over N."""
    share = 0.0
    for choice in (c for c in found.choices() if all(norms.weighted for norms in c)):
        N = found.matrix(choice)
        for i, rows in enumerate(stack.layer_slices):
            for j, columns in enumerate(stack.layer_slices[: i + 1]):
                size = np.abs(J[..., rows, columns]) @ found.layers[j].weights / found.layers[i].weights
                share = max(share, float(size.max()) / N[i, j] if N[i, j] else 0.0)
    return share


def attack(text: str, seed: int, rng: np.random.Generator) -> tuple[float, float] | None:
    """The worst step over the proven factor, and the worst lag over the bound (decades); None if nothing is proven."""
    source = build_source(parse_source(text), seed=seed)
    assert isinstance(source, NetworkSource)
    network = source.network
    assert isinstance(network, Layer | Stack)
    cell, radius, n = network.layers[0], float(rng.choice([0.0, 0.5])), network.state_size
    box = Interval.around(np.zeros(n), radius)
    bound = largest_bound(lambda b: proof_of(network, drives_within(cell, b), box) is not None)
    found = None if bound is None else proof_of(network, drives_within(cell, bound), box)
    if found is None or bound is None:
        return None
    x = bound * np.sign(rng.standard_normal((80, 8, cell.input_size)))
    x[:, 4:] = np.repeat(x[::10, 4:], 10, axis=0)
    start = radius * np.sign(rng.standard_normal((8, n)))
    share = worst_step(found, network, x, start)
    over = float(np.max(log_norms(run(network, x, state=start)) / np.log(10) - found.log10_bound(80)[:, None]))

    def minus(y: np.ndarray) -> float:
        moved = bound * np.tanh(y.reshape(10, 1, -1))
        return -worst_step(found, network, moved, start[:1])

    size = 10 * cell.input_size
    result = minimize(minus, 2 * rng.standard_normal(size), method="Powell", options={"maxfev": 60})
    return max(share, -float(result.fun)), over


def main() -> int:
    """Attack until the time is over; 1 if something was exceeded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, default=3, help="the most")
    options = parser.parse_args()
    rng, end = np.random.default_rng(options.seed), time.monotonic() + options.seconds
    tried = broken = 0
    closest = 0.0
    proven: Counter[int] = Counter()
    while time.monotonic() < end:
        text, tried = draw(rng, options.layers), tried + 1
        found = attack(text, tried, rng)
        if found is None:
            continue
        proven[int(text.split("layers=")[1].split(",")[0])] += 1
        closest = max(closest, found[0])
        if found[0] > 1 + 1e-9 or found[1] > 1e-9:
            broken += 1
            print(f"EXCEEDED: {text} seed {tried}: step {found[0]!r}, bound {found[1]!r}", flush=True)
    by_layers = ", ".join(f"{count} of {layers}" for layers, count in sorted(proven.items()))
    print(f"{tried} networks, {proven.total()} proven to contract ({by_layers} layers), {broken} exceeded; ", end="")
    print(f"closest step {closest:.9f} of the factor")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
