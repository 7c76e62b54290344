"""Write the tables of docs/bounds.md: how far the worst trajectory an optimiser finds stays below each bound.

About a minute on one core; ``--check`` compares what stands on the page with what is measured now.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np  # noqa: TID253 - a script, not a start-up path

from gradscope.cells import CELLS
from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.theory.bounds import product_bounds, stepwise_bound
from gradscope.theory.certificate import certify

TARGET = Path(__file__).with_name("bounds.md")
START, END = "<!-- measured: docs/make_bounds_table.py -->", "<!-- end of what was measured -->"
LAGS = (1, 5, 20, 50)
CELL_LAGS = (1, 3, 8)


def worst_slopes(W: Array, slope: float, k: int, rng: np.random.Generator, *, restarts: int = 24) -> float:
    """log10 of a large ‖D_k W ⋯ D_1 W‖₂ over diagonal D ∈ [0, γ]: each D in turn at its best vertex, until none moves.

    With u, v the leading singular vectors, uᵀ A D B v = Σ_i d_i (Aᵀu)_i (Bv)_i is largest at a vertex, and the new norm
    is at least that: the norm never falls.
    """
    n, best = len(W), -np.inf
    for attempt in range(restarts):
        D = slope * (rng.random((k, n)) if attempt else np.ones((k, n)))
        reached = 0.0
        for _ in range(60):
            before = [np.eye(n)]
            for d in D[:-1]:
                before.append(d[:, None] * (W @ before[-1]))
            after = np.eye(n)
            for j in range(k - 1, -1, -1):
                U, _, Vt = np.linalg.svd(after @ (D[j][:, None] * (W @ before[j])))
                D[j] = np.where((U[:, 0] @ after) * (W @ before[j] @ Vt[0]) > 0, slope, 0.0)
                after = after @ (D[j][:, None] * W)
            norm = float(np.linalg.norm(after, 2))
            if norm <= reached * (1 + 1e-12):
                break
            reached = norm
        best = max(best, reached)
    return float(np.log10(best))


def matrices() -> list[tuple[str, Array, float]]:
    """Name, W, γ."""
    rng = np.random.default_rng(0)
    gaussian = rng.standard_normal((8, 8)) / np.sqrt(8)
    return [
        ("[[.5, 3], [.02, .5]], tanh", np.array([[0.5, 3.0], [0.02, 0.5]]), 1.0),
        ("[[.5, −3], [.02, .5]], tanh", np.array([[0.5, -3.0], [0.02, 0.5]]), 1.0),
        ("Jordan(0.9, n = 4), tanh", 0.9 * np.eye(4) + np.eye(4, k=1), 1.0),
        ("0.6·Gaussian 8 × 8, tanh", 0.6 * gaussian, 1.0),
        ("1.5·Gaussian 8 × 8, tanh", 1.5 * gaussian, 1.0),
        ("3·Gaussian 8 × 8, sigmoid", 3.0 * gaussian, 0.25),
        ("0.95·rotation by 1 rad, tanh", 0.95 * np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]]), 1.0),
    ]


def slope_table() -> list[str]:
    """Decades between the worst product found and each bound, for J_t = D_t W."""
    lines = ["| W, φ | bound | " + " | ".join(f"k = {k}" for k in LAGS) + " |", "|---|---" + "|---" * len(LAGS) + "|"]
    for name, W, slope in matrices():
        rng = np.random.default_rng(1)
        worst = [worst_slopes(W, slope, k, rng) for k in LAGS]
        lines.append(f"| {name} | *worst found, log10* | " + " | ".join(f"{value:+.2f}" for value in worst) + " |")
        proof = certify(W, slope=slope)
        certificate = slope * proof.value
        bounds = product_bounds(W, slope, max(LAGS), proof)
        for bound in bounds:
            gaps = [bound.log10[k] - value for k, value in zip(LAGS, worst, strict=True)]
            if min(gaps) < -1e-9:
                sys.exit(f"{bound.name} is violated for {name}: {min(gaps):.3g} decades. A bug; please report it.")
            shown = bound.name.replace("|", "\\|")
            lines.append(f"| | {shown} | " + " | ".join(f"+{max(gap, 0.0):.2f}" for gap in gaps) + " |")
        said = "vanishes for every input" if certificate < 1 else "says nothing"
        lines.append(f"| | certificate {certificate:.3f} | {said} |" + " |" * (len(LAGS) - 1))
    return lines


def free_cell(name: str, gain: float) -> Cell:
    """Three units, Gaussian recurrent weights, and an input of its own for every pre-activation."""
    cell = CELLS[name]
    rows = 3 * len(cell.gates)
    W = gain * np.random.default_rng(4).standard_normal((rows, 3)) / np.sqrt(3)
    return cell.from_layer(np.eye(rows), W, None, None)


def product_norms(cell: Cell, x: Array) -> Array:
    """log10 ‖J_T ⋯ J_1‖₂ from s_0 = 0 for each sequence of x, shape (T, batch, I)."""
    network = Layer(cell)
    states = network.advance(np.zeros((x.shape[1], cell.state_size)), x)
    product, *rest = network.linearise(states, x).jacobian.dense()
    for J in rest:
        product = J @ product
    return np.asarray(np.log10(np.linalg.norm(product, 2, axis=(-2, -1))))


def worst_inputs(cell: Cell, k: int, rng: np.random.Generator, *, restarts: int = 12) -> float:
    """log10 of a large ‖J_k ⋯ J_1‖₂ over input sequences in [−30, 30]: quasi-Newton ascent from random starts."""
    from scipy.optimize import minimize

    size = cell.input_size
    step = 1e-6

    def negative(flat: Array) -> tuple[float, Array]:
        # The point itself and a central difference in every coordinate, all sequences side by side.
        moved = np.concatenate([flat[None], flat + step * np.eye(flat.size), flat - step * np.eye(flat.size)])
        values = product_norms(cell, np.moveaxis(moved.reshape(-1, k, size), 0, 1))
        up, down = values[1 : flat.size + 1], values[flat.size + 1 :]
        return -float(values[0]), -(up - down) / (2 * step)

    best = -np.inf
    for attempt in range(restarts):
        start = (0.1, 1.0, 4.0)[attempt % 3] * rng.standard_normal((k, size))
        found = minimize(
            negative,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-30, 30)] * start.size,
            options={"maxiter": 60},
        )
        best = max(best, -float(found.fun))
    return best


def cell_table() -> list[str]:
    """Decades between the worst inputs found and the cell's own bound, for every cell."""
    lines = ["| cell, gain of W | " + " | ".join(f"k = {k}: worst, bound above it" for k in CELL_LAGS) + " |"]
    lines.append("|---" + "|---" * len(CELL_LAGS) + "|")
    for name in ("rnn", "skip", "forget-gate", "input-gate", "lstm", "gru"):
        for gain in (0.3, 1.0):
            cell, rng = free_cell(name, gain), np.random.default_rng(3)
            cells = []
            for k in CELL_LAGS:
                worst = worst_inputs(cell, k, rng)
                bound = float(stepwise_bound(cell, k, 0.0, "end")[k])
                if name == "rnn":
                    W = cell.recurrent_blocks()["u"]
                    tighter = product_bounds(W, 1.0, k, certify(W))
                    bound = min(float(each.log10[k]) for each in tighter)
                if worst > bound + 1e-9:
                    sys.exit(
                        f"the bound of {name} is violated by {worst - bound:.3g} decades. A bug; please report it."
                    )
                cells.append(f"{worst:+.2f}, +{max(bound - worst, 0.0):.2f}")
            lines.append(f"| {name}, {gain} | " + " | ".join(cells) + " |")
    return lines


def measured() -> str:
    """What stands between the marks."""
    parts = ["### Any slopes: J_t = D_t W with D_t ∈ [0, γ] free\n", *slope_table()]
    parts += [
        "\n### Any inputs: every cell, each pre-activation with an input of its own, from s_0 = 0\n",
        *cell_table(),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    page = TARGET.read_text(encoding="utf-8")
    head, rest = page.split(START)
    _, tail = rest.split(END)
    text = f"{head}{START}\n\n{measured()}\n\n{END}{tail}"
    if "--check" in sys.argv[1:]:
        if text != page:
            sys.exit("docs/bounds.md is not what is measured now: run python docs/make_bounds_table.py")
    else:
        TARGET.write_text(text, encoding="utf-8")
