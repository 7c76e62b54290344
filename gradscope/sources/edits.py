"""What-if edits of weights that were read: ``forget_bias=D`` and ``gain=G``, in the words of built networks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradscope.cells import ALL_CELLS
from gradscope.errors import UsageError
from gradscope.sources.layer_weights import LayerWeights


@dataclass(frozen=True)
class Edits:
    """What the user changes of a file's weights; nothing by default.

    Attributes
    ----------
    forget_bias : float
        Added to the effective bias of the gate that keeps the old state (f; z of a gru, which keeps where it is open).
    gain : float
        Multiplies W_hh.
    """

    forget_bias: float = 0.0
    gain: float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Edits:
        """The edits among a source's keys."""
        return cls(**{name: given[name] for name in ("forget_bias", "gain") if name in given})

    @property
    def record(self) -> dict[str, float]:
        """``settings.edits``: the edits that change a number, by key; empty when the weights are the file's."""
        none = Edits()
        return {name: value for name, value in vars(self).items() if value != getattr(none, name)}

    def sha256(self, of_file: str) -> str:
        """The file's own hash, or the hash of that and the edits: an edited network is another network."""
        if not self.record:
            return of_file
        return hashlib.sha256(f"{of_file} {json.dumps(self.record, sort_keys=True)}".encode()).hexdigest()

    def words(self, cells: Sequence[str]) -> str:
        """What was edited, for people; the kinds of cells say which gate is meant."""
        said = []
        if "forget_bias" in self.record:
            gates = dict.fromkeys(ALL_CELLS[cell].memory_gate for cell in cells if ALL_CELLS[cell].memory_gate)
            said.append(f"{self.forget_bias:+g} on the bias of gate {' or '.join(str(gate) for gate in gates)}")
        if "gain" in self.record:
            said.append(f"W_hh times {self.gain:g}")
        return f"edited, not as in the file: {' and '.join(said)}" if said else ""

    def apply(self, layers: tuple[LayerWeights, ...], *, direction: str | None, file: str) -> tuple[LayerWeights, ...]:
        """Edit the selected layers: all that are here, or those of one direction.

        Raises
        ------
        UsageError
            ``forget_bias=`` for a cell without a gate that keeps the old state.
        """
        self.check([layer.cell for layer in layers], file=file)
        return tuple(self._edited(layer) if direction in (None, layer.direction) else layer for layer in layers)

    def check(self, cells: Sequence[str], *, file: str) -> None:
        """Refuse a forget bias where nothing forgets.

        Raises
        ------
        UsageError
        """
        without = [cell for cell in cells if ALL_CELLS[cell].memory_gate is None]
        if "forget_bias" in self.record and without:
            having = ", ".join(cell for cell, kind in ALL_CELLS.items() if kind.memory_gate is not None)
            raise UsageError(
                f"{file}: forget_bias= is added to the gate that keeps the old state, and {without[0]} has none.\n"
                f"It works for {having}: leave forget_bias= out (gain= works for every cell)."
            )

    def _edited(self, layer: LayerWeights) -> LayerWeights:
        gate, H = ALL_CELLS[layer.cell].memory_gate, layer.units
        bias = layer.bias_ih
        if self.forget_bias and gate is not None:
            bias = np.zeros(layer.weight_hh.shape[0]) if bias is None else np.array(bias, dtype=np.float64)
            index = ALL_CELLS[layer.cell].gates.index(gate)
            bias[index * H : (index + 1) * H] += self.forget_bias
        return replace(layer, weight_hh=layer.weight_hh * self.gain, bias_ih=bias)
