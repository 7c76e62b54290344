"""Train the example: Adam on windows of the sonnets, a checkpoint on the way now and then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.example.language_model import Arrays, fresh, loss_and_gradients
from gradscope.example.sonnets import SYMBOLS, sonnets, tokens_of

#: Letters a window is long, windows side by side, and the state's and the embedding's size.
WINDOW, BATCH, HIDDEN, WIDTH = 60, 8, 16, 8
#: Training steps after which the weights are kept.
CHECKPOINTS = (0, 25, 50, 100, 200)
#: Weights are kept to 1/1024. Processors round products of matrices differently in the last bit; so much coarser, the
#: files are the same on each.
GRAIN = 1024
#: The last letters of the text are never trained on; the inputs that are measured are cut from them.
HELD_OUT = WINDOW + BATCH * 16


@dataclass(frozen=True)
class Trained:
    """Weights after each of :data:`CHECKPOINTS`, and the loss (nats a letter) on letters not trained on."""

    checkpoints: dict[int, Arrays]
    losses: dict[int, float]

    @property
    def model(self) -> Arrays:
        """The last weights."""
        return self.checkpoints[max(self.checkpoints)]


def train(*, seed: int = 0, rate: float = 0.01) -> Trained:
    """Train from fresh weights, a second or two; the same seed gives the same weights."""
    rng = np.random.default_rng(seed)
    arrays = fresh(len(SYMBOLS), WIDTH, HIDDEN, rng)
    tokens = tokens_of(sonnets())[:-HELD_OUT]
    first = {name: np.zeros_like(value) for name, value in arrays.items()}
    second = {name: np.zeros_like(value) for name, value in arrays.items()}
    kept = {0: _kept(arrays)}
    for step in range(1, max(CHECKPOINTS) + 1):
        starts = rng.integers(0, len(tokens) - WINDOW, size=BATCH)
        _, gradients = loss_and_gradients(arrays, np.stack([tokens[at : at + WINDOW + 1] for at in starts]))
        norm = np.sqrt(sum(float(np.sum(value**2)) for value in gradients.values()))
        for name, value in gradients.items():
            value = value / max(norm, 1.0)
            first[name] += 0.1 * (value - first[name])
            second[name] += 0.01 * (value**2 - second[name])
            mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.99**step)
            arrays[name] = arrays[name] - rate * mean / (np.sqrt(square) + 1e-8)
        if step in CHECKPOINTS:
            kept[step] = _kept(arrays)
    windows = held_out()
    return Trained(kept, {step: loss_and_gradients(weights, windows)[0] for step, weights in kept.items()})


def held_out() -> np.ndarray:
    """Windows (batch, T + 1) of the letters that training never saw."""
    tokens = tokens_of(sonnets())[-HELD_OUT:]
    return np.stack([tokens[at : at + WINDOW + 1] for at in range(0, BATCH * 16, 16)])


def _kept(arrays: Arrays) -> Arrays:
    return {name: np.round(value * GRAIN) / GRAIN for name, value in arrays.items()}
