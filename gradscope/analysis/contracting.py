"""The contraction certificate of gated layers in a report: for every input, and for those like the ones of this run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.cells.cell import Cell
from gradscope.cells.intervals import Interval
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.networks.stack import Stack
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.tape import chunks
from gradscope.sources.kinds import NetworkSource
from gradscope.sources.source import Source
from gradscope.theory.contraction import Contraction, contraction_of, drives_within, every_drive, largest_bound
from gradscope.theory.stack_contraction import StackContraction, stack_contraction

#: What a contraction is proven for, in the words of ``summary.contracts_for``.
EVERY_INPUT = "every input"
LIKE_THESE = "every input whose drive U x + b stays within this run's range"
#: Steps whose drives decide whether the rest is worth reading: a part of the inputs never proves less than all.
FIRST = 64
#: Of one layer, or of a stack.
Proof: TypeAlias = Contraction | StackContraction


@dataclass(frozen=True)
class ProvenContraction:
    """What is proven of a layer or a stack.

    Attributes
    ----------
    every : Proof or None
        For every input whatever.
    here : Proof or None
        For every input whose drive U x_t + b of the (bottom) layer stays within the range that this run's inputs gave.
    """

    every: Proof | None
    here: Proof | None


def prove_contraction(case: Case) -> ProvenContraction | None:
    """The certificates of gated layers; None for other networks."""
    network, trajectory = case.network, case.tape
    if not isinstance(network, Layer | Stack) or not isinstance(trajectory, Trajectory) or network.weight_axes:
        return None
    cell, start = network.layers[0], trajectory.state(0)
    box = Interval(*(np.asarray(end(start, axis=0), dtype=np.float64) for end in (np.min, np.max)))
    every = proof_of(network, every_drive(cell), box)
    if every is not None:
        return ProvenContraction(every, every)
    T = trajectory.n_steps
    if not T or proof_of(network, _drives(cell, trajectory, min(T, FIRST)), box) is None:
        return ProvenContraction(None, None)
    return ProvenContraction(None, proof_of(network, _drives(cell, trajectory, T), box))


def proof_of(network: Layer | Stack, drive: Interval, start: Interval) -> Proof | None:
    """What is proven while the drives of the bottom layer stay within ``drive`` and all of s_0 within ``start``."""
    if isinstance(network, Layer):
        return contraction_of(network.cell, drive, start)
    starts = [start[part] for part in network.layer_slices]
    # A mask's entries are 0 or its gain.
    masks = None if network.dropout is None else Interval(np.zeros(()), np.asarray(network.mask_gain))
    return stack_contraction(network.cells, drive, starts, masks=masks)


@dataclass(frozen=True)
class ContractionOfWeights:
    """What the weights prove from the state 0, whatever is run.

    Attributes
    ----------
    every : Proof or None
        For every input.
    within : float or None
        The largest b such that it contracts for all inputs with |x_j| ≤ b; None where ``every`` says it, or not even
        the silent network does.
    """

    every: Proof | None
    within: float | None


def contraction_by_weights(source: Source) -> ContractionOfWeights | None:
    """The same for ``spectrum``, which reads no inputs; None for what is no layer or stack of gated cells."""
    network = source.network if isinstance(source, NetworkSource) else None
    if not isinstance(network, Layer | Stack) or network.weight_axes:
        return None
    if any(block.gate is None or block.hears_output for block in source.blocks):
        return None
    cell, start = network.layers[0], Interval.around(np.zeros(network.state_size), 0.0)
    every = proof_of(network, every_drive(cell), start)
    if every is not None or not cell.input_size:
        return ContractionOfWeights(every, None)
    within = largest_bound(lambda b: proof_of(network, drives_within(cell, b), start) is not None)
    return ContractionOfWeights(None, within)


def _drives(cell: Cell, trajectory: Trajectory, last: int) -> Interval:
    """The range of U x_t + b over steps 1 … last and the batch."""
    low, high = np.inf, -np.inf
    for first, until in chunks(last, 1024):
        drive: Array = np.asarray(cell.drive(trajectory.inputs.read(first, until)), dtype=np.float64)
        flat = drive.reshape(-1, drive.shape[-1])
        low, high = np.minimum(low, flat.min(axis=0)), np.maximum(high, flat.max(axis=0))
    return Interval(np.asarray(low), np.asarray(high))
