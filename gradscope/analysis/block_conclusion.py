"""What one recurrent block's spectrum says about the gradient of the cell it stands in."""

from __future__ import annotations

import numpy as np

from gradscope.sources.source import RecurrentBlock, Source
from gradscope.theory.certificate import Certificate
from gradscope.theory.conclusion import what_to_conclude
from gradscope.theory.eigen import Eigendecomposition
from gradscope.theory.powers import PowerPeak


def is_slope_times_weight(block: RecurrentBlock) -> bool:
    """Whether J_t = diag(φ′) W at every step, so that the certificate of W says something about the gradient."""
    return block.cell is not None and block.cell.is_slope_times_weight and not block.hears_output


def conclude(
    source: Source,
    block: RecurrentBlock,
    eigen: Eigendecomposition,
    *,
    peak: PowerPeak | None,
    proof: Certificate,
) -> str:
    """One sentence on what this block proves, for the cell it belongs to (never more than is proved)."""
    cell = block.cell
    sizes = f"ρ = {eigen.spectral_radius:.4g} and σ₁ = {eigen.spectral_norm:.4g}"
    if cell is None:
        return (
            f"every step has a W of its own and {sizes} are those of the first: powers of one W say nothing about "
            "the product; measure it."
        )
    if block.gate is not None:
        return what_to_conclude(eigen, gate=block.gate)
    if block.hears_output:
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
