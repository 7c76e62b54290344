"""Bring the step Jacobians of any model: here a map that gradscope has no cell for, differentiated by complex steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import gradscope


def step(state: np.ndarray, x: np.ndarray, W: np.ndarray) -> np.ndarray:
    """A leaky unit with a sine for a nonlinearity."""
    return 0.7 * state + 0.3 * np.sin(W @ state + x)


def main() -> None:
    """Differentiate every step, save (K, n, n), first step first, and measure."""
    rng = np.random.default_rng(0)
    n, W, state, jacobians = 10, rng.standard_normal((10, 10)), np.zeros(10), []
    for _ in range(80):
        x = rng.standard_normal(n)
        bumped = state + 1e-30j * np.eye(n)
        jacobians.append(np.array([step(column, x, W).imag for column in bumped]).T / 1e-30)
        state = step(state, x, W)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jacobians.npy"
        np.save(path, np.array(jacobians))
        summary = gradscope.gradients(str(path)).results[0].summary
    print(f"{summary['verdict']}: {summary['log10_rate']:+.3f} decades per step, horizon {summary['horizon']}")


if __name__ == "__main__":
    main()
