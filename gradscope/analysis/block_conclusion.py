"""What one recurrent block's spectrum says about the gradient of the cell it stands in."""

from __future__ import annotations

import numpy as np

from gradscope.cells.base import Cell
from gradscope.networks.independent import Independent
from gradscope.sources.source import RecurrentBlock, Source
from gradscope.theory.certificate import Certificate
from gradscope.theory.conclusion import what_to_conclude
from gradscope.theory.eigen import Eigendecomposition
from gradscope.theory.powers import PowerPeak


def cells_of_blocks(source: Source) -> list[Cell | None]:
    """The cell each block belongs to, in the order of ``source.blocks``; None where every step has a W of its own."""
    if isinstance(source.network, Independent):
        return [None] * len(source.blocks)
    cells: list[Cell]
    if source.seq2seq is not None:
        cells = [source.seq2seq.encoder, source.seq2seq.decoder]
    elif source.directions:
        named = [named for pair in source.directions for named in zip(("forward", "backward"), pair, strict=False)]
        cells = [cell for direction, cell in named if source.spec.given.get("direction") in (None, direction)]
    else:
        cells = list(source.network.layers) if source.network is not None else []
    return [cell for cell in cells for _ in cell.gates]


def is_slope_times_weight(source: Source, cell: Cell | None) -> bool:
    """Whether J_t = diag(φ′) W at every step, so that the certificate of W says something about the gradient."""
    return cell is not None and cell.is_slope_times_weight and not _hears_itself(source, cell)


def conclude(
    source: Source,
    block: RecurrentBlock,
    cell: Cell | None,
    eigen: Eigendecomposition,
    *,
    peak: PowerPeak | None,
    proof: Certificate,
) -> str:
    """One sentence on what this block proves, for the cell it belongs to (never more than is proved)."""
    sizes = f"ρ = {eigen.spectral_radius:.4g} and σ₁ = {eigen.spectral_norm:.4g}"
    if cell is None:
        return (
            f"every step has a W of its own and {sizes} are those of the first: powers of one W say nothing about "
            "the product; measure it."
        )
    if block.gate is not None:
        return what_to_conclude(eigen, gate=block.gate)
    if _hears_itself(source, cell):
        return (
            f"the decoder also hears its own output, so {sizes} of its W alone do not decide the gradient; measure it."
        )
    if cell.is_slope_times_weight:
        said = what_to_conclude(eigen, peak=peak, proof=proof, slope=cell.activation.max_slope)
        return said if len(source.blocks) == 1 else f"within this layer alone, {said}"
    if cell.norm != "none":
        return f"the pre-activations are normalised, so {sizes} of W alone do not decide the gradient; measure it."
    kept, new = cell.path_weights or (0.0, 1.0)
    identity, weight = ("I" if kept == 1 else f"{kept:.4g} I"), ("D W" if new == 1 else f"{new:.4g} D W")
    mode = f"|{kept:.4g} + {'' if new == 1 else f'{new:.4g} '}λ|"
    linear = float(np.max(np.abs(kept + new * eigen.eigenvalues)))
    return (
        f"the step Jacobian is {identity} + {weight}, not W ({sizes}): without saturation the gradient goes like "
        f"max {mode}ᵏ = {linear:.4g}ᵏ, with it the slopes decide; measure it."
    )


def _hears_itself(source: Source, cell: Cell) -> bool:
    return source.seq2seq is not None and cell is source.seq2seq.decoder and source.seq2seq.feedback == "soft"
