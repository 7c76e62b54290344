"""Dropout between layers: masks that are the same whenever a stretch of the run is made again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array

#: Keeps the masks' random numbers apart from those that the same seed draws weights and inputs with.
STREAM = 0x6D61736B


@dataclass(frozen=True)
class SeededDropout:
    """Inverted dropout as in PyTorch: each unit, sample and step is 0 with probability p, else 1/(1−p).

    Attributes
    ----------
    rate : float
        p, 0 ≤ p < 1.
    seed : int or ndarray of int
        One seed per network when networks run side by side; its shape is that of the axes before the batch.
    """

    rate: float
    seed: int | Array

    def __post_init__(self) -> None:
        """Refuse what is no probability, and 1, which would cut the layers apart."""
        if not 0.0 <= self.rate < 1.0:
            raise UsageError(f"dropout is a probability below 1, not {self.rate:g}: at 1 no layer would hear another")

    @property
    def largest(self) -> float:
        """1/(1−p), the largest factor that a mask can hold; bounds reckon with it."""
        return 1.0 / (1.0 - self.rate)

    def mask(self, layer: int, first: int, last: int, batch: tuple[int, ...], width: int) -> Array:
        """What multiplies the h that layer ``layer`` passes up at steps first … last, shape (steps, *batch, width).

        Drawn step by step from (seed, layer, step), so that a recomputed stretch sees the same mask.
        """
        seeds = np.broadcast_to(np.asarray(self.seed), batch[:-1])
        out = np.empty((last - first + 1, *batch, width))
        for step in range(first, last + 1):
            for index in np.ndindex(seeds.shape):
                rng = np.random.default_rng([STREAM, int(seeds[index]), layer, step])
                kept = rng.random((batch[-1], width)) >= self.rate
                out[step - first][index] = kept / (1.0 - self.rate)
        return out
