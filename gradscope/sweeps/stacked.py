"""Many small networks of one shape measured side by side: the same trajectories, their Jacobian products in one stack.

Each network is run alone, so that its trajectory is bit for bit the one that ``gradients`` measures (a chaotic one
would not forgive a different rounding). What is stacked are the norms of Jacobian products, of steps and of powers,
exact to 1e-10 either way, and the loss gradients. Their last digits depend on what is measured beside
them, so a group is always measured whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np

from gradscope.analysis.cases import Case, cases_of
from gradscope.analysis.gradient_results import Beforehand, measure_case
from gradscope.analysis.losses import LossSide, loss_side
from gradscope.analysis.request import GradientsRequest
from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.networks.trajectory import Segment, Trajectory
from gradscope.numerics.backprop import LossGradients, measure_loss_gradients
from gradscope.numerics.block_bound import log10_block_bound
from gradscope.numerics.lag_norms import LagNorms
from gradscope.numerics.propagate import StepNorms, measure_norms, step_norms
from gradscope.numerics.weight_tails import WeightTails, measure_weight_tails
from gradscope.records import Result
from gradscope.sources.build import build_source
from gradscope.sources.inputs import ArrayInputs
from gradscope.sources.spec import parse_source
from gradscope.theory.power_norms import PowerNorms, power_norms

#: Networks measured side by side hold no more numbers than this in one matrix each: half a megabyte.
NUMBERS_AT_ONCE = 2**16


def case_of(source_text: str, request: GradientsRequest) -> list[Case]:
    """Build a point's network and run it."""
    return cases_of(build_source(parse_source(source_text), seed=request.seed, dtype=request.dtype), request)


def can_be_stacked(case: Case) -> bool:
    """Whether a case is one layer of one cell, held in one stretch."""
    tape = case.trajectory
    return (
        isinstance(tape, Trajectory)
        and isinstance(tape.network, Layer)
        and tape.n_steps > 0
        and tape.spacing >= tape.n_steps
        and not tape.network.weight_axes
    )


def measure_stacked(cases: Sequence[Case], requests: Sequence[GradientsRequest]) -> list[Result]:
    """Measure cases of one shape; what differs between them are numbers only.

    Raises
    ------
    ValueError
        Cases of different shapes, cells or settings.
    """
    size = max(1, NUMBERS_AT_ONCE // cases[0].tape.state_size ** 2)
    parts = [slice(first, first + size) for first in range(0, len(cases), size)]
    return [result for part in parts for result in _measure_together(cases[part], requests[part])]


def _measure_together(cases: Sequence[Case], requests: Sequence[GradientsRequest]) -> list[Result]:
    """The same for as many cases as fit into cache side by side."""
    tape = stack_of_trajectories([case.tape for case in cases])  # type: ignore[misc]
    anchor: Any = requests[0].anchor
    norms, steps = norms_of_each(tape, cases, anchor), step_norms(tape)
    log10_steps = np.where(steps.zero, -np.inf, steps.log10_norm)
    block = log10_block_bound(tape, log10_steps, anchor=anchor, n_networks=len(cases))
    cell = tape.network.layers[0]
    powers = None
    if tape.n_steps and cell.is_slope_times_weight:
        powers = power_norms(cell.recurrent_blocks()[cell.gates[-1]], tape.n_steps)
    losses, tails = measure_losses(tape, cases, requests)
    return [
        measure_case(
            case,
            request,
            Beforehand(
                norms[i],
                StepNorms(steps.log10_norm[:, i], steps.zero[:, i]),
                None if block is None else block[:, i],
                None if powers is None else PowerNorms(powers.log10_norm[:, i], powers.zero[:, i]),
                losses[i],
                tails[i],
            ),
        )
        for i, (case, request) in enumerate(zip(cases, requests, strict=True))
    ]


def norms_of_each(tape: Trajectory, cases: Sequence[Case], anchor: Literal["end", "start"]) -> list[LagNorms]:
    """Norms of the stacked networks; one whose error grows too large on the way is measured by itself, not all anew."""
    doubted = np.zeros(tape.batch_shape, dtype=bool)
    norms = measure_norms(tape, anchor=anchor, doubted=doubted)
    return [
        measure_norms(case.tape, anchor=anchor)
        if doubted[i].any()
        else LagNorms(**{f.name: getattr(norms, f.name)[:, i] for f in fields(norms)})
        for i, case in enumerate(cases)
    ]


def measure_losses(
    tape: Trajectory, cases: Sequence[Case], requests: Sequence[GradientsRequest]
) -> tuple[list[LossGradients | None], list[WeightTails | None]]:
    """Loss gradients and tails of every case, through all networks at once; None for ``--loss none``."""
    sides = [loss_side(case, request) for case, request in zip(cases, requests, strict=True)]
    terms = [side.term if isinstance(side, LossSide) else None for side in sides]
    if all(term is None for term in terms):
        return [None] * len(cases), [None] * len(cases)
    shape = (*tape.batch_shape[1:], tape.state_size)

    def direct_term(t: int) -> Array | None:
        direct = [None if term is None else term(t) for term in terms]
        if all(values is None for values in direct):
            return None
        return np.stack([np.zeros(shape) if values is None else values for values in direct])

    loss = measure_loss_gradients(tape, direct_term)
    tails = measure_weight_tails(tape, direct_term) if requests[0].loss_at == "last" else None
    gradients = [
        None
        if term is None
        else LossGradients(loss.log10_dstate[:, i], loss.log10_dweight[:, i], loss.log10_dweight_layers[:, :, i])
        for i, term in enumerate(terms)
    ]
    if tails is None:
        return gradients, [None] * len(cases)
    return gradients, [
        None if term is None else WeightTails(tails.log10_tail[:, i], tails.log10_mean_tail[:, i])
        for i, term in enumerate(terms)
    ]


def stack_of_trajectories(tapes: Sequence[Trajectory]) -> Trajectory:
    """One tape of batch shape (N, batch) from N tapes of batch shape (batch,), their states as they are."""
    T = tapes[0].n_steps
    segments = [next(iter(tape.segments("start"))) for tape in tapes]
    states = np.stack([segment.states for segment in segments], axis=1)
    x = np.stack([tape.inputs.read(1, T) for tape in tapes], axis=1)
    network = Layer(stack_of_cells([tape.network.layers[0] for tape in tapes]))
    held = Segment(1, T, states, network.linearise(states, x))
    checkpoints = np.stack([tape.checkpoints for tape in tapes], axis=1)
    return Trajectory(network, ArrayInputs(x), checkpoints, max(T, 1), held)


def stack_of_cells(cells: Sequence[Cell]) -> Cell:
    """One cell whose weights carry a leading axis (N, …).

    Raises
    ------
    ValueError
        Different kinds of cells, shapes or activations.
    """
    first = cells[0]
    if len({type(cell) for cell in cells}) > 1:
        raise ValueError("cells to be stacked are of different kinds")
    stacked: dict[str, Any] = {}
    for entry in fields(first):
        values = [getattr(cell, entry.name) for cell in cells]
        if isinstance(values[0], np.ndarray):
            stacked[entry.name] = np.stack(values)
        elif any(value is not values[0] and value != values[0] for value in values):
            raise ValueError(f"cells to be stacked differ in {entry.name}")
    return replace(first, **stacked)
