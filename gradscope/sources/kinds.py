"""The kinds of sources: a network, one with a W of its own per step, both directions, encoder–decoder, ready Jacobians.

Each answers for itself what callers would otherwise ask its kind for. How a kind is run stands in
:mod:`gradscope.analysis.cases`, what theory knows of it in :mod:`gradscope.analysis.theory_columns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.cells.cell import Cell
from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.dropout import SeededDropout
from gradscope.networks.network import Network
from gradscope.networks.seq2seq import Seq2Seq
from gradscope.sources.source import NamedCell, RecurrentBlock, Source, blocks_of, record_of
from gradscope.sources.spec import SourceSpec


@dataclass(frozen=True, kw_only=True)
class NetworkSource(Source):
    """One network that runs through time: a layer or a stack.

    Attributes
    ----------
    backward : bool
        Whether it reads its input from the end (one backward direction of a file).
    """

    network: Network
    backward: bool = False

    @property
    def named_cells(self) -> list[NamedCell]:
        """The layers, bottom first."""
        return [NamedCell("", index, "forward", cell) for index, cell in enumerate(self.network.layers)]

    def network_to_close(self) -> Network:
        """The network, if it reads inputs."""
        if self.network.input_size == 0:
            raise UsageError(
                f"--closed-loop: '{self.spec.text}' has no input weights through which to read its output."
            )
        return self.network


@dataclass(frozen=True, kw_only=True)
class IndependentSource(NetworkSource):
    """The control in depth: a W of its own at every step."""

    def network_to_close(self) -> Network:
        raise UsageError(
            f"--closed-loop: '{self.spec.text}' is a network in depth, with no next step for its output to be read at."
        )


@dataclass(frozen=True, kw_only=True)
class BidirectionalSource(Source):
    """Layers of which at least one runs in both directions; each layer and direction gives a result.

    Attributes
    ----------
    directions : tuple of (forward, backward) or (forward,) cells
        Bottom layer first.
    dropout : SeededDropout or None
        On what goes up between layers.
    """

    directions: tuple[tuple[Cell, ...], ...]
    dropout: SeededDropout | None = None

    @property
    def gives_several_results(self) -> bool:
        """One per layer and direction."""
        return True

    @property
    def largest_matrix(self) -> int:
        """Of the largest layer: each is measured by itself."""
        return max(cell.state_size for cells in self.directions for cell in cells)

    @property
    def named_cells(self) -> list[NamedCell]:
        """Layer by layer, forward first."""
        return [
            NamedCell("", index, direction, cell)
            for index, cells in enumerate(self.directions)
            for direction, cell in zip(("forward", "backward"), cells, strict=False)
        ]

    def network_to_close(self) -> Network:
        raise UsageError(
            f"--closed-loop: '{self.spec.text}' reads its input from both ends, so no output can be its next input;\n"
            "say :direction=forward for a file, or build it without bidirectional."
        )


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderSource(Source):
    """An encoder and the decoder that starts from its last state."""

    seq2seq: Seq2Seq

    @property
    def named_cells(self) -> list[NamedCell]:
        """Encoder, then decoder."""
        parts = (("encoder", self.seq2seq.encoder), ("decoder", self.seq2seq.decoder))
        return [NamedCell(name, 0, "forward", cell) for name, cell in parts]

    def network_to_close(self) -> Network:
        raise UsageError(
            f"--closed-loop: the decoder of '{self.spec.text}' reads its own output already "
            "(:feedback=soft has its gradient)."
        )


@dataclass(frozen=True, kw_only=True)
class JacobianSource(Source):
    """Ready step Jacobians: nothing is known but the tape.

    Attributes
    ----------
    jacobians : ndarray, shape (K, n, n)
        First step first.
    """

    jacobians: Array

    @property
    def named_cells(self) -> list[NamedCell]:
        return []

    @property
    def described(self) -> dict[str, Any]:
        return {"jacobians": list(self.jacobians.shape)}

    def network_to_close(self) -> Network:
        raise UsageError(
            f"--closed-loop: '{self.spec.text}' holds ready Jacobians; their loop, open or closed, is in them already."
        )


def source_of_seq2seq(
    spec: SourceSpec, model: Seq2Seq, sha256: str | None, names: tuple[str, str] = ("encoder", "decoder")
) -> EncoderDecoderSource:
    """An encoder–decoder as a source."""
    cells = (model.encoder, model.decoder)
    record = record_of(spec, "seq2seq", model.decoder.hidden_size, 1, model.decoder.state_size, (cells,), sha256)
    record |= {"encoder": model.encoder.name, "decoder": model.decoder.name, "symbols": model.n_symbols}
    record["feedback"] = model.feedback
    blocks: list[RecurrentBlock] = []
    for name, cell in zip(names, cells, strict=True):
        hears_output = cell is model.decoder and model.feedback == "soft"
        param = name if "w" in name.rsplit(".", 1)[-1] else f"{name}.weight_hh_l0"
        blocks += blocks_of(cell, param, hears_output=hears_output)
    return EncoderDecoderSource(spec, record, seq2seq=model, blocks=tuple(blocks), classes=model.n_symbols)
