"""What the user may say about a weights file that the file itself cannot tell."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from gradscope.cells.activations import ACTIVATIONS, GATE_ACTIVATIONS
from gradscope.errors import InputError, UsageError, did_you_mean
from gradscope.sources.layer_weights import GATE_ORDER

RESETS = ("after", "before")
NORMS = ("none", "layer")
#: Cells without gates: nothing for ``gate_activation`` to act on.
UNGATED = tuple(name for name, gates in GATE_ORDER.items() if len(gates) == 1)


@dataclass(frozen=True)
class FileKeys:
    """The keys of a file source that its reader needs; None is "not said".

    ``ignore`` is a glob over the names of tensors beside the cell that are to be left out of account; ``norm`` says
    that the module is a layer-normalised one (:mod:`gradscope.cells.layer_norm`).
    """

    cell: str | None = None
    activation: str | None = None
    gate_activation: str | None = None
    reset: str | None = None
    ignore: str | None = None
    norm: str | None = None

    def __post_init__(self) -> None:
        """Check every value against what is known, and the keys against one another."""
        _check("cell", self.cell, tuple(GATE_ORDER))
        _check("activation", self.activation, tuple(ACTIVATIONS))
        _check("gate_activation", self.gate_activation, tuple(GATE_ACTIVATIONS))
        _check("reset", self.reset, RESETS)
        _check("norm", self.norm, NORMS)
        if self.cell is not None:
            self.check_applies(self.cell)

    def ignores(self, name: str) -> bool:
        """Tell whether the user said to go on without this tensor."""
        return self.ignore is not None and fnmatch.fnmatchcase(name, self.ignore)

    def check_applies(self, cell: str, *, where: str = "") -> None:
        """Refuse a key that means nothing for this cell.

        Raises
        ------
        UsageError
            ``reset=`` for anything but a gru; ``gate_activation=`` for a cell without gates.
        """
        if self.reset is not None and cell != "gru":
            raise UsageError(f"{where}reset= is a key of gru, but the cell is {cell}; leave reset= out")
        if self.gate_activation is not None and cell in UNGATED:
            raise UsageError(f"{where}gate_activation= is a key of gated cells, but the cell is {cell}; leave it out")


def _check(key: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{key}={value}: known values are {', '.join(known)}.{did_you_mean(value, known)}")


def settle(key: str, said: str | None, stated: str | None, convention: str, *, where: str) -> tuple[str, str]:
    """Settle one fact: what the file states, else what the user says, else the convention; with where it came from.

    Raises
    ------
    InputError
        If the user's key contradicts the file.
    """
    if stated is not None:
        if said is not None and said != stated:
            raise InputError(f"{where}{key}={said} was asked for, but the file says {stated}; leave {key}= out")
        return stated, "file"
    return (said, "key") if said is not None else (convention, "convention")
