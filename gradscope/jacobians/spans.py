"""Stretches of step Jacobians of different make, one after another in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradscope.jacobians.step_jacobian import Array, StepJacobian, Steps, WeightCotangent


@dataclass(frozen=True)
class SpanJacobian(StepJacobian):
    """Parts with a time axis each, read as one (an encoder's last steps and a decoder's first, say)."""

    parts: tuple[StepJacobian, ...]

    takes_strides: ClassVar[bool] = False

    @property
    def state_size(self) -> int:
        """The parts' common state size."""
        return self.parts[0].state_size

    @property
    def shape(self) -> tuple[int, ...]:
        """(all steps, ..., batch)."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    def __getitem__(self, steps: Steps) -> StepJacobian:
        """Index time, into whichever part holds it."""
        if isinstance(steps, int):
            if steps < 0:
                steps += self.shape[0]
            for part in self.parts:
                if steps < part.shape[0]:
                    return part[steps]
                steps -= part.shape[0]
            raise IndexError("step beyond the last part")
        if not isinstance(steps, slice):
            raise IndexError("steps are taken one after another")
        first, last, stride = steps.indices(self.shape[0])
        if stride != 1:
            raise IndexError("steps are taken one after another")
        kept, offset = [], 0
        for part in self.parts:
            low, high = max(first - offset, 0), min(last - offset, part.shape[0])
            if low < high:
                kept.append(part[low:high])
            offset += part.shape[0]
        return kept[0] if len(kept) == 1 else SpanJacobian(tuple(kept) or (self.parts[0][:0],))

    def _each(self, apply: Callable[[StepJacobian, Array], Array], block: Array) -> Array:
        """Apply every part to its own stretch of a block with a time axis (or without, for all steps alike)."""
        whole = np.broadcast_to(block, (*self.shape, *block.shape[-2:]))
        cuts = np.cumsum([part.shape[0] for part in self.parts])[:-1]
        return np.concatenate(
            [apply(part, piece) for part, piece in zip(self.parts, np.split(whole, cuts), strict=True)]
        )

    def pull(self, R: Array) -> Array:
        return self._each(lambda part, piece: part.pull(piece), R)

    def push(self, Q: Array) -> Array:
        return self._each(lambda part, piece: part.push(piece), Q)

    def weight_cotangents(self, g: Array) -> tuple[tuple[WeightCotangent, ...], ...]:
        """Every part's own copies, one stretch after another; empty where one of them does not know its weights."""
        cuts = np.cumsum([part.shape[0] for part in self.parts])[:-1]
        parts = [part.weight_cotangents(piece) for part, piece in zip(self.parts, np.split(g, cuts), strict=True)]
        if not all(parts):
            return ()
        return tuple(
            tuple(
                WeightCotangent(*(np.concatenate([np.asarray(block[i]) for block in blocks]) for i in (0, 1)))
                for blocks in zip(*layers, strict=True)
            )
            for layers in zip(*parts, strict=True)
        )
