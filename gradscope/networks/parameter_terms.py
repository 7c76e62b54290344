"""What every parameter of the recurrent layers adds to the state at one step: ∂s_t/∂θ as outer products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array, StepJacobian, WeightCotangent


class Term(NamedTuple):
    """What one parameter matrix adds at one step: ∂s_t/∂θ_ab = rows[..., a] columns[..., b].

    Attributes
    ----------
    rows : ndarray, shape (k, ..., m)
        One for each of k rows that were pulled.
    columns : ndarray, shape (..., w)
        What the matrix multiplies.
    """

    rows: Array
    columns: Array


@dataclass(frozen=True)
class ParameterMatrix:
    """A parameter of one layer, as a matrix.

    Attributes
    ----------
    kind : {"weight_hh", "weight_ih", "bias"}
        A projection W_hr counts as recurrent.
    layer : int
    rows, columns : int
    forget : slice or None
        Rows of a bias that belong to the gate that keeps the old state.
    by_eigenvalue : ndarray, shape (rows,), or None
        |dθ/dλ| of each row of a weight that parametrises eigenvalues λ.
    """

    kind: str
    layer: int
    rows: int
    columns: int
    forget: slice | None = None
    by_eigenvalue: Array | None = None

    @property
    def size(self) -> int:
        """How many numbers."""
        return self.rows * self.columns


def parameter_matrices(layers: Sequence[Cell]) -> list[ParameterMatrix]:
    """Every parameter of the recurrent layers, in the order of :func:`terms_of`."""
    out = []
    for layer, cell in enumerate(layers):
        weight, H = cell.weight_hh, cell.gate_size
        gate = None if cell.memory_gate is None else cell.gates.index(cell.memory_gate)
        if weight.size:
            rows, columns = weight.shape
            by_eigenvalue = cell.weights_by_eigenvalue()
            out.append(ParameterMatrix("weight_hh", layer, rows, columns, by_eigenvalue=by_eigenvalue))
        out += [ParameterMatrix("weight_hh", layer, *W.shape) for W in cell.projections()]
        if cell.input_size:
            out.append(ParameterMatrix("weight_ih", layer, *cell.weight_ih.shape))
        forget = None if gate is None else slice(gate * H, (gate + 1) * H)
        out.append(ParameterMatrix("bias", layer, len(cell.gates) * H, 1, forget=forget))
    return out


def terms_of(jacobian: StepJacobian, g: Array, inputs: Sequence[Array]) -> Iterator[Term]:
    """∂s_t/∂θ of every parameter matrix seen by the rows g (k, ..., n), in the order of :func:`parameter_matrices`."""
    weights = jacobian.weight_cotangents(g)
    projections = jacobian.projection_cotangents(g) or (None,) * len(inputs)
    for blocks, projection, drive, x in zip(weights, projections, jacobian.drive_cotangents(g), inputs, strict=True):
        if blocks:
            # Blocks of one layer (a reset-before gru's) multiply different vectors: each is a part of the rows.
            yield from map(_term, blocks)
        if projection is not None:
            yield _term(projection)
        if x.shape[-1]:
            yield Term(drive, np.asarray(x, dtype=np.float64))
        yield Term(drive, np.ones((*drive.shape[1:-1], 1)))


def _term(found: WeightCotangent) -> Term:
    """What a weight multiplies is the same for every row that was pulled."""
    rows, columns = found
    return Term(rows, columns[0] if columns.ndim == rows.ndim else columns)


def joined(matrices: Sequence[ParameterMatrix], terms: Iterator[Term]) -> Iterator[tuple[int, int, Term]]:
    """(matrix, first row, term): several terms may make up the rows of one matrix."""
    index = first = 0
    for term in terms:
        yield index, first, term
        first += term.rows.shape[-1]
        if first == matrices[index].rows:
            index, first = index + 1, 0
