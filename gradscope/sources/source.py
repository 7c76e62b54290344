"""What a source is to every verb: a network, where it came from, and the recurrent blocks that theory reads."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.dropout import SeededDropout
from gradscope.networks.layer import Layer
from gradscope.networks.network import Network
from gradscope.networks.stack import Stack
from gradscope.sources.heads import FileHead
from gradscope.sources.spec import SourceSpec


@dataclass(frozen=True)
class RecurrentBlock:
    """One square recurrent matrix: what ``spectrum`` decomposes.

    Attributes
    ----------
    param : str
        Its name in PyTorch's words, or the file's own.
    gate : str or None
        None where the cell has one block.
    matrix : ndarray, shape (H, H)
    cell : Cell or None
        Where it recurs; None where every step has a W of its own.
    hears_output : bool
        Whether the cell also hears its own output, past this matrix (a decoder with soft feedback).
    """

    param: str
    gate: str | None
    matrix: Array
    cell: Cell | None
    hears_output: bool = False


@dataclass(frozen=True)
class NamedCell:
    """One layer and direction, as ``inspect`` lists it."""

    module: str
    layer: int
    direction: str
    cell: Cell


@dataclass(frozen=True)
class Source(ABC):
    """What every kind of source (:mod:`gradscope.sources.kinds`) tells of where it came from.

    Attributes
    ----------
    record : dict
        The ``source`` object of the contract.
    edits : dict of str to float
        What the user changed of a file's weights, by key; empty for the file as it is.
    starts : tuple of ndarray
        What the file starts each layer and direction from; () where it says nothing.
    biases : int
        Bias vectors of each layer, as its framework trains them: two in PyTorch and in built networks.
    file_head : FileHead or None
        What the file says of its readout and its embedding; None for built networks.
    """

    spec: SourceSpec
    record: Mapping[str, Any]
    blocks: tuple[RecurrentBlock, ...] = ()
    warnings: tuple[str, ...] = ()
    classes: int = 10
    biases: int = 2
    file_head: FileHead | None = None
    arrays: Mapping[str, Array] = field(default_factory=dict)
    edits: Mapping[str, float] = field(default_factory=dict)
    starts: tuple[Array, ...] = ()

    def start(self, first: int = 0, last: int | None = None) -> Array | None:
        """The file's own start state of the layers ``first`` to ``last``, as one vector; None for zeros.

        Layers count as the file holds them: bottom first, forward before backward.
        """
        return np.concatenate(self.starts[first:last]) if self.starts else None

    @property
    def settings(self) -> dict[str, Any]:
        """What a result's ``settings`` say of the source: edits of what was read, if there are any."""
        return {"edits": dict(self.edits)} if self.edits else {}

    @property
    @abstractmethod
    def named_cells(self) -> list[NamedCell]:
        """Every layer and direction, in the order of the results."""

    @property
    def described(self) -> dict[str, Any]:
        """What ``inspect`` says beyond the cells."""
        return {}

    @property
    def gives_several_results(self) -> bool:
        """Whether a measurement gives one result per layer and direction."""
        return False

    @property
    def largest_matrix(self) -> int:
        """Rows of the largest matrix that a measurement forms: the state of what is measured in one piece."""
        return int(self.record["state_size"])

    @abstractmethod
    def network_to_close(self) -> Network:
        """The network whose output can be its next input.

        Raises
        ------
        UsageError
            There is none, and why.
        """


def stack_of(cells: tuple[Cell, ...], *, dropout: SeededDropout | None = None) -> Network:
    """One layer as itself, several as a stack with a dropout mask between layers."""
    return Layer(cells[0]) if len(cells) == 1 else Stack(cells, dropout=dropout)


def blocks_of(cell: Cell, param: str, *, hears_output: bool = False) -> list[RecurrentBlock]:
    """The recurrent blocks of one cell, gate None when there is one only."""
    blocks = cell.square_blocks()
    alone = len(blocks) == 1
    return [
        RecurrentBlock(param, None if alone else gate, matrix, cell, hears_output) for gate, matrix in blocks.items()
    ]


def record_of(
    spec: SourceSpec, cell: str, hidden: int, layers: int, state_size: int, cells: Any, sha256: str | None = None
) -> dict[str, Any]:
    """The ``source`` object of the contract."""
    return {
        "name": source_name(spec),
        "cell": cell,
        "hidden": hidden,
        "layers": layers,
        "state_size": state_size,
        "sha256": sha256 or hash_of_weights(cells),
    }


def source_name(spec: SourceSpec) -> str:
    """The source as written; an absolute path is cut to its file name, so that results can be committed."""
    return os.path.basename(spec.name) + spec.text[len(spec.name) :] if os.path.isabs(spec.name) else spec.text


def hash_of_weights(groups: Any) -> str:
    """sha256 over the weights of a built network, so that two runs can be seen to have had the same one."""
    digest = hashlib.sha256()
    for cells in groups:
        for cell in cells:
            arrays = (getattr(cell, entry.name) for entry in fields(cell))
            for array in (array for array in arrays if isinstance(array, np.ndarray)):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
