"""∂h_t/∂θ for every t: how sharply the state, and with it any loss, depends on the weights.

Gradients with respect to states can stay bounded while these grow with memory: for h_t = λ h_{t−1} + x_t with unit
white x, E(∂h/∂λ)² = (1+λ²)/(1−λ²)³ although ∂h_t/∂h_i = λ^(t−i) ≤ 1 (Zucchet and Orvieto 2024). Two roads to the same
numbers: forward, S_t = J_t S_{t−1} + ∂s_t/∂θ, columns (parameters) in blocks; or, for each t, the rows of h_t pulled
back to every copy of θ and summed, rows in blocks. :func:`plan_sensitivity` says which is cheaper and what it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradscope.jacobians.step_jacobian import Array, StepJacobian
from gradscope.log_domain import LOG10_2
from gradscope.networks.parameter_terms import ParameterMatrix, Term, joined, parameter_matrices, terms_of
from gradscope.networks.trajectory import Trajectory

#: Steps whose copies are summed in one product on the way back.
STEPS_AT_ONCE = 32
#: Powers of two within which a running sum may lie before it is rescaled.
ROOM = 400

Road = Literal["forward", "adjoint"]


@dataclass(frozen=True)
class Plan:
    """How the sensitivities will be measured, and the bytes that it takes at a time."""

    road: Road
    block: int
    size: int


@dataclass(frozen=True)
class WeightSensitivity:
    """log10 ‖∂h_t/∂θ‖_F, arrays of shape (steps asked for, *batch_shape); −inf where it is exactly zero.

    Attributes
    ----------
    steps : tuple of int
        t.
    log10_norms : dict of str to ndarray
        By kind: ``weight_hh``, ``weight_ih``, ``bias`` (one, where PyTorch has two of equal gradient), ``forget_bias``
        (part of it), ``lambda`` (eigenvalues in place of the weights that parametrise them); ``all`` but the last two.
    log10_one_step : ndarray
        The same of all together, through step t alone: what a network without memory would have.
    """

    steps: tuple[int, ...]
    log10_norms: dict[str, Array]
    log10_one_step: Array


def plan_sensitivity(trajectory: Trajectory, steps: Sequence[int], memory: int) -> Plan:
    """The cheaper road by its count of multiplications, in blocks that fit ``memory`` bytes."""
    network, batch = trajectory.network, int(np.prod(trajectory.batch_shape))
    n, outputs = network.state_size, len(network.output_components)
    matrices = parameter_matrices(trajectory.network.layers)
    p = sum(matrix.size for matrix in matrices)
    recurrent = sum(cell.weight_hh.size + cell.weight_ih.size * bool(i) for i, cell in enumerate(network.layers)) + n
    forward = max(steps) * p * recurrent
    adjoint = sum(steps) * outputs * (recurrent + p)
    if forward <= adjoint:
        # S, its push and the new term, side by side.
        per_column = 3 * 8 * batch * n
        return Plan("forward", block := _fitting(p, per_column, memory), block * per_column)
    held = sum(matrix.rows for matrix in matrices) * STEPS_AT_ONCE
    per_row = 8 * batch * (2 * p + held + n * STEPS_AT_ONCE)
    return Plan("adjoint", block := _fitting(outputs, per_row, memory), block * per_row)


def _fitting(most: int, per_item: int, memory: int) -> int:
    return max(1, min(most, memory // (2 * per_item)))


def measure_weight_sensitivity(
    trajectory: Trajectory,
    steps: Sequence[int],
    plan: Plan,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> WeightSensitivity:
    """‖∂h_t/∂θ‖_F at the steps asked for (1 … T, rising), h the top layer's.

    Parameters
    ----------
    trajectory : Trajectory
        One network, whose weights all steps share.
    """
    matrices = parameter_matrices(trajectory.network.layers)
    sums = _Sums(matrices, len(steps), trajectory.batch_shape)
    if plan.road == "forward":
        _forward(trajectory, steps, plan.block, matrices, sums, progress)
    else:
        _adjoint(trajectory, steps, plan.block, matrices, sums, progress)
    return WeightSensitivity(tuple(steps), sums.log10_norms(), _one_step(trajectory, steps))


class _Sums:
    """Squares of ∂h_t/∂θ by kind, each step and sample on a power of four of its own."""

    def __init__(self, matrices: Sequence[ParameterMatrix], n_steps: int, batch: tuple[int, ...]) -> None:
        kinds = {matrix.kind for matrix in matrices} | {"all"}
        kinds |= {"forget_bias"} if any(matrix.forget is not None for matrix in matrices) else set()
        kinds |= {"lambda"} if any(matrix.by_eigenvalue is not None for matrix in matrices) else set()
        self.squares = {kind: np.zeros((n_steps, *batch)) for kind in kinds}
        self.exponent = np.zeros((n_steps, *batch), dtype=np.int64)

    def add(self, index: int, exponent: Array, matrix: ParameterMatrix, first: int, squares: Array) -> None:
        """Add squares (*batch, k, columns) of the rows first … of a matrix, in units of 4^exponent."""
        top = np.maximum(self.exponent[index], exponent)
        for held in self.squares.values():
            held[index] = np.ldexp(held[index], _bits(2 * (self.exponent[index] - top)))
        self.exponent[index] = top
        by_row = np.ldexp(squares.sum(axis=-1), _bits(2 * (exponent - top))[..., None])
        total = by_row.sum(axis=-1)
        self.squares[matrix.kind][index] += total
        self.squares["all"][index] += total
        if matrix.forget is not None:
            rows = np.arange(first, first + by_row.shape[-1])
            inside = (rows >= matrix.forget.start) & (rows < matrix.forget.stop)
            self.squares["forget_bias"][index] += by_row[..., inside].sum(axis=-1)
        if matrix.by_eigenvalue is not None:
            scale = matrix.by_eigenvalue[first : first + by_row.shape[-1]]
            self.squares["lambda"][index] += (by_row * scale**2).sum(axis=-1)

    def log10_norms(self) -> dict[str, Array]:
        with np.errstate(divide="ignore"):
            return {kind: 0.5 * np.log10(held) + self.exponent * LOG10_2 for kind, held in self.squares.items()}


def _bits(exponent: Array) -> Array:
    """For ldexp: below 2^−2000 of the larger scale nothing is left to add."""
    return np.clip(exponent, -2000, 2000).astype(np.int32)


def _forward(
    trajectory: Trajectory,
    steps: Sequence[int],
    block: int,
    matrices: Sequence[ParameterMatrix],
    sums: _Sums,
    progress: Callable[[int, int], None] | None,
) -> None:
    """S_t = J_t S_{t−1} + ∂s_t/∂θ for blocks of about ``block`` columns, whole rows of the matrices."""
    batch, n = trajectory.batch_shape, trajectory.state_size
    out = trajectory.network.output_components
    parts = _row_blocks(matrices, block)
    wanted = {t: index for index, t in enumerate(steps)}
    for number, part in enumerate(parts):
        S = np.zeros((*batch, n, sum((last - first) * matrices[i].columns for i, first, last in part)))
        exponent = np.zeros(batch, dtype=np.int64)
        for t, jacobian, inputs in _steps_forward(trajectory, max(steps)):
            down = _bits(-exponent)[..., None, None]
            S = jacobian.push(S) + np.ldexp(_direct(jacobian, inputs, part, matrices, n), down)
            _, size = np.frexp(np.abs(S).max(axis=(-2, -1), initial=0.0))
            # Never below 2^0: what the next step adds stands there.
            shift = np.where(np.abs(size) > ROOM, np.maximum(size, -exponent), 0)
            if shift.any():
                S, exponent = np.ldexp(S, _bits(-shift)[..., None, None]), exponent + shift
            if t in wanted:
                squares = np.square(S[..., out, :]).sum(axis=-2)
                at = 0
                for i, first, last in part:
                    width = (last - first) * matrices[i].columns
                    cut = squares[..., at : at + width].reshape(*batch, last - first, matrices[i].columns)
                    sums.add(wanted[t], exponent, matrices[i], first, cut)
                    at += width
            if progress is not None:
                progress(number * max(steps) + t, len(parts) * max(steps))


def _row_blocks(matrices: Sequence[ParameterMatrix], block: int) -> list[list[tuple[int, int, int]]]:
    """Rows of the matrices (matrix, first, last), gathered until a block has about ``block`` columns of S."""
    out: list[list[tuple[int, int, int]]] = [[]]
    room = block
    for i, matrix in enumerate(matrices):
        first = 0
        while first < matrix.rows:
            take = min(matrix.rows - first, room // matrix.columns)
            if not take and out[-1]:
                out.append([])
                room = block
                continue
            take = max(take, 1)
            out[-1].append((i, first, first + take))
            first, room = first + take, room - take * matrix.columns
    return out


def _direct(
    jacobian: StepJacobian,
    inputs: Sequence[Array],
    part: Sequence[tuple[int, int, int]],
    matrices: Sequence[ParameterMatrix],
    n: int,
) -> Array:
    """∂s_t/∂θ for the rows of one block, shape (*batch, n, columns)."""
    batch = jacobian.shape
    eye = np.broadcast_to(np.eye(n).reshape(n, *(1,) * len(batch), n), (n, *batch, n))
    found: dict[int, list[Term]] = {}
    for i, _, term in joined(matrices, terms_of(jacobian, eye, inputs)):
        found.setdefault(i, []).append(term)
    columns = []
    for i, first, last in part:
        at = 0
        for rows, vector in found[i]:
            low, high = max(first - at, 0), min(last - at, rows.shape[-1])
            if low < high:
                outer = np.moveaxis(rows[..., low:high], 0, -2)[..., None] * vector[..., None, None, :]
                columns.append(outer.reshape(*batch, n, -1))
            at += rows.shape[-1]
    return np.concatenate(columns, axis=-1)


def _steps_forward(trajectory: Trajectory, last: int) -> Iterator[tuple[int, StepJacobian, list[Array]]]:
    """(t, J_t, what each layer reads at t) for t = 1 … last."""
    for segment in trajectory.segments("start"):
        inputs = trajectory.layer_inputs(segment)
        for t in range(segment.first, min(segment.last, last) + 1):
            at = t - segment.first
            yield t, segment.linearised.jacobian[at], [x[at] for x in inputs]
        if segment.last >= last:
            return


def _adjoint(
    trajectory: Trajectory,
    steps: Sequence[int],
    block: int,
    matrices: Sequence[ParameterMatrix],
    sums: _Sums,
    progress: Callable[[int, int], None] | None,
) -> None:
    """For every t and every block of h's components: pull their rows back, and sum the copies of θ on the way."""
    out, done, total = trajectory.network.output_components, 0, sum(steps)
    for index, t in enumerate(steps):
        for first in range(0, len(out), block):
            rows = out[first : first + block]
            found, exponent = _pulled_back(trajectory, t, rows, matrices)
            for matrix, values in zip(matrices, found, strict=True):
                squares = np.square(values).sum(axis=-3)
                sums.add(index, exponent, matrix, 0, squares)
        done += t
        if progress is not None:
            progress(done, total)


def _pulled_back(
    trajectory: Trajectory, t: int, components: Array, matrices: Sequence[ParameterMatrix]
) -> tuple[list[Array], Array]:
    """Σ_i ∂h_t/∂θ_i of some components, one array (*batch, k, rows, columns) a matrix, on a common power of two."""
    batch, n, k = trajectory.batch_shape, trajectory.state_size, len(components)
    R = np.zeros((*batch, k, n))
    R[..., np.arange(k), components] = 1.0
    exponent, top = np.zeros(batch, dtype=np.int64), np.zeros(batch, dtype=np.int64)
    totals = [np.zeros((*batch, k, matrix.rows, matrix.columns)) for matrix in matrices]
    for segment in trajectory.segments("end"):
        if segment.first > t:
            continue
        inputs = trajectory.layer_inputs(segment)
        for last in range(min(segment.last, t), segment.first - 1, -STEPS_AT_ONCE):
            first = max(segment.first, last - STEPS_AT_ONCE + 1)
            part = slice(first - segment.first, last - segment.first + 1)
            jacobians = segment.linearised.jacobian[part]
            rows, scales = [], []
            for i in range(last - first, -1, -1):
                rows.append(R)
                scales.append(exponent)
                R = jacobians[i].pull(R)
                _, size = np.frexp(np.abs(R).max(axis=(-2, -1), initial=0.0))
                shift = np.where(np.abs(size) > ROOM, size, 0)
                R, exponent = np.ldexp(R, _bits(-shift)[..., None, None]), exponent + shift
            new = np.maximum(top, np.max(scales, axis=0))
            for total in totals:
                total[...] = np.ldexp(total, _bits(top - new)[..., None, None, None])
            top = new
            g = np.stack(
                [np.ldexp(r, _bits(e - top)[..., None, None]) for r, e in zip(rows, scales, strict=True)][::-1]
            )
            terms = terms_of(jacobians, np.moveaxis(g, -2, 0), [x[part] for x in inputs])
            for i, at, term in joined(matrices, terms):
                columns = np.broadcast_to(term.columns, (last - first + 1, *batch, term.columns.shape[-1]))
                # (k, steps, *batch, m), (steps, *batch, w) → (*batch, k, m, w)
                left = np.moveaxis(term.rows, (0, 1), (-2, -1))
                flat = left.reshape(*batch, -1, left.shape[-1]) @ np.moveaxis(columns, 0, -2)
                found = flat.reshape(*batch, *left.shape[-3:-1], -1)
                totals[i][..., at : at + term.rows.shape[-1], :] += np.swapaxes(found, -3, -2)
    return totals, top


def _one_step(trajectory: Trajectory, steps: Sequence[int]) -> Array:
    """log10 ‖∂h_t/∂θ‖_F through step t alone, Σ over the matrices of ‖rows‖² ‖columns‖²."""
    out, n, batch = trajectory.network.output_components, trajectory.state_size, trajectory.batch_shape
    g = np.zeros((len(out), n))
    g[np.arange(len(out)), out] = 1.0
    rows = np.broadcast_to(g.reshape(len(out), *(1,) * len(batch), n), (len(out), *batch, n))
    wanted = set(steps)
    found = []
    for t, jacobian, inputs in _steps_forward(trajectory, max(steps)):
        if t in wanted:
            logs = [
                _log2_length(np.moveaxis(left, 0, -1).reshape(*batch, -1)) + _log2_length(right)
                for left, right in terms_of(jacobian, rows, inputs)
            ]
            found.append(0.5 * np.logaddexp2.reduce([2.0 * log for log in logs], axis=0))
    return np.asarray(found) * LOG10_2


def _log2_length(vectors: Array) -> Array:
    """log2 of each vector's length, scaled first, so that no square leaves float64."""
    _, size = np.frexp(np.abs(vectors).max(axis=-1, initial=0.0))
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * np.log2(np.square(np.ldexp(vectors, _bits(-size)[..., None])).sum(axis=-1)) + size)
