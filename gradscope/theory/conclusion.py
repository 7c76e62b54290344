"""One sentence on what a spectrum proves about gradients, and nothing beyond it."""

from __future__ import annotations

from gradscope.theory.certificate import Certificate
from gradscope.theory.eigen import Eigendecomposition
from gradscope.theory.powers import PowerPeak


def what_to_conclude(
    decomposition: Eigendecomposition,
    *,
    peak: PowerPeak | None = None,
    proof: Certificate | None = None,
    slope: float = 1.0,
    gate: str | None = None,
) -> str:
    """Say what may be concluded from ρ, σ₁, the transient and the certificate about ∏ D_k W with 0 ≤ D_k ≤ slope.

    "Vanishes for every input" is said only where slope·σ₁ < 1, where the certificate proves it, or where W is nilpotent
    by its pattern; eigenvalues alone prove nothing once slopes stand between the factors (theory.md C01, C05).

    Parameters
    ----------
    peak, proof : optional
        Left out of the sentence if not given.
    slope : float
        γ = max |φ′|: 1 for tanh, relu and identity, ¼ for sigmoid.
    gate : str, optional
        Name of the gate the block belongs to: then W is not the step Jacobian, and the sentence speaks of the block.

    Examples
    --------
    >>> import numpy as np
    >>> from gradscope.theory.eigen import eigendecompose
    >>> what_to_conclude(eigendecompose(0.5 * np.eye(2)))
    'γσ₁ = 0.5 < 1: the gradient vanishes for every input, by a factor of at least 0.5 per step.'
    """
    if gate is not None:
        return _of_a_gate(decomposition, gate)
    d = decomposition
    if d.nilpotent:
        return f"W is triangular with a zero diagonal: the gradient is exactly zero after {d.n} steps, for every input."
    rate = slope * d.spectral_norm
    if rate < 1:
        return (
            f"γσ₁ = {_below(rate)} < 1: the gradient vanishes for every input, "
            f"by a factor of at least {_below(rate)} per step."
        )
    if proof is not None and slope * proof.value < 1:
        known = f"γ{proof.name} = {_below(slope * proof.value)} < 1"
        if proof.name.startswith("‖S"):
            known += f" for a diagonal S of condition 10^{proof.scaled.log10_condition:.1f}"
        return f"{known}: the gradient vanishes for every input, though γσ₁ = {rate:.4g} allows it to grow first."
    if d.spectral_radius_low >= 1:
        return (
            f"ρ = {d.spectral_radius:.4g} ≥ 1: ‖Wᵏ‖ does not vanish, and explodes if ρ > 1, in a linear network; "
            f"slopes below 1 may still make the gradient vanish: measure it."
        )
    if d.spectral_radius_high >= 1:
        return (
            f"Rounding alone moves ρ within [{d.spectral_radius_low:.4g}, {d.spectral_radius_high:.4g}]: "
            f"the eigenvalues do not decide whether ‖Wᵏ‖ vanishes; measure it."
        )
    transient = ""
    if peak is not None and peak.k > 0:
        least = "" if peak.proven else " at least"
        transient = f" after growing to{least} 10^{peak.log10_norm:.2f} at k = {peak.k}"
    return (
        f"ρ = {_below(d.spectral_radius)} < 1: ‖Wᵏ‖ vanishes{transient}; "
        f"γσ₁ = {rate:.4g} ≥ 1, so with slopes in between the gradient may vanish or explode: measure it."
    )


def _of_a_gate(d: Eigendecomposition, gate: str) -> str:
    return (
        f"ρ = {d.spectral_radius:.4g} and σ₁ = {d.spectral_norm:.4g} belong to the block of gate {gate} alone: "
        f"they do not decide the gradient of a gated cell; measure it."
    )


def _below(x: float) -> str:
    """Four digits that never round a number below 1 up to 1."""
    shown = f"{x:.4g}"
    if x < 1 and float(shown) >= 1:
        return f"1 − {1 - x:.1e}"
    return shown
