"""The contraction certificate of a gated cell in a report: for every input, and for those like the ones of this run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.cells.cell import Cell
from gradscope.cells.intervals import Interval
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.tape import chunks
from gradscope.sources.source import RecurrentBlock
from gradscope.theory.contraction import Contraction, contraction_of, every_drive, input_bound

#: What a contraction is proven for, in the words of ``summary.contracts_for``.
EVERY_INPUT = "every input"
LIKE_THESE = "every input whose drive U x + b stays within this run's range"
#: Steps whose drives decide whether the rest is worth reading: a part of the inputs never proves less than all.
FIRST = 64


@dataclass(frozen=True)
class ProvenContraction:
    """What is proven of one layer.

    Attributes
    ----------
    every : Contraction or None
        For every input whatever.
    here : Contraction or None
        For every input whose drive U x_t + b stays within the range that this run's inputs gave.
    """

    every: Contraction | None
    here: Contraction | None


def prove_contraction(case: Case) -> ProvenContraction | None:
    """The certificates of a single gated layer; None for other networks."""
    network, trajectory = case.network, case.tape
    if not isinstance(network, Layer) or not isinstance(trajectory, Trajectory) or network.weight_axes:
        return None
    cell, start = network.cell, trajectory.state(0)
    box = Interval(*(np.asarray(end(start, axis=0), dtype=np.float64) for end in (np.min, np.max)))
    every = contraction_of(cell, every_drive(cell), box)
    if every is not None:
        return ProvenContraction(every, every)
    T = trajectory.n_steps
    if not T or contraction_of(cell, _drives(cell, trajectory, min(T, FIRST)), box) is None:
        return ProvenContraction(None, None)
    return ProvenContraction(None, contraction_of(cell, _drives(cell, trajectory, T), box))


@dataclass(frozen=True)
class ContractionOfWeights:
    """What the weights prove from the state 0, whatever is run.

    Attributes
    ----------
    every : Contraction or None
        For every input.
    within : float or None
        The largest b such that it contracts for all inputs with |x_j| ≤ b; None where ``every`` says it, or not even
        the silent network does.
    """

    every: Contraction | None
    within: float | None


def contraction_by_weights(blocks: Sequence[RecurrentBlock]) -> ContractionOfWeights | None:
    """The same for ``spectrum``, which reads no inputs; None unless all blocks are the gates of one cell."""
    cell = blocks[0].cell
    if cell is None or any(block.cell is not cell or block.gate is None or block.hears_output for block in blocks):
        return None
    start = Interval.around(np.zeros(cell.state_size), 0.0)
    every = contraction_of(cell, every_drive(cell), start)
    return ContractionOfWeights(every, None if every is not None or not cell.input_size else input_bound(cell, start))


def _drives(cell: Cell, trajectory: Trajectory, last: int) -> Interval:
    """The range of U x_t + b over steps 1 … last and the batch."""
    low, high = np.inf, -np.inf
    for first, until in chunks(last, 1024):
        drive: Array = np.asarray(cell.drive(trajectory.inputs.read(first, until)), dtype=np.float64)
        flat = drive.reshape(-1, drive.shape[-1])
        low, high = np.minimum(low, flat.min(axis=0)), np.maximum(high, flat.max(axis=0))
    return Interval(np.asarray(low), np.asarray(high))
