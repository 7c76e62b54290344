"""The one certificate of vanishing that every verb prints: the least factor per step that W alone proves.

‖D_k W ⋯ D_1 W‖ with |D_j| ≤ γ falls at least like (γc)^k, up to a constant, for c = ‖SWS⁻¹‖₂ with any diagonal S
(it commutes with D_j) and for c = ρ(|W|) (entrywise domination). Both depend on the diagonal blocks of a reducible W
alone: with S graded from one irreducible part to the next, what couples them becomes as small as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.scaled_norm import ScaledNorm, log10_condition_of, rounded_up_norm, scaled_norm
from gradscope.theory.scaling_starts import perron_vector, scale_without_loss, scaled_matrix
from gradscope.theory.schur import EPS, square_matrix, times_power_of_two

#: Size to which a graded S brings what couples irreducible parts, relative to the largest entry of W.
COUPLING = 1e-12


@dataclass(frozen=True)
class Certificate:
    """The least proven factor per step, without γ.

    Attributes
    ----------
    value : float
        Rounded up; 0 for a W that is nilpotent by its pattern.
    name : str
        What proves it: σ₁, ‖SWS⁻¹‖ or ρ(|W|).
    sigma : float
        σ₁(W), rounded up.
    absolute_radius : float
        max_i (|W|v)_i/v_i ≥ ρ(|W|) for a positive v (Collatz 1942; Wielandt 1950), the largest over irreducible parts,
        rounded up. inf where it was not sought because it cannot be below σ₁.
    scaled : ScaledNorm
        One S for the whole of W and its ‖SWS⁻¹‖₂; for a reducible W its value may be above the certificate, which is
        that of the parts.
    """

    value: float
    name: str
    sigma: float
    absolute_radius: float
    scaled: ScaledNorm


def certify(W: Array, *, slope: float = 1.0, max_steps: int | None = None) -> Certificate:
    """The certificate of W.

    Parameters
    ----------
    W : ndarray, shape (n, n)
    slope : float
        γ. It is no part of the value; it only says how far a search is worth its time (:func:`scaled_norm`).
    max_steps : int, optional
        Of each search; default 120 up to n = 32, 60 up to 64, 20 up to 256, then 10.

    Examples
    --------
    >>> import numpy as np
    >>> round(certify(0.9 * np.eye(64) + np.eye(64, k=1)).value, 12)
    0.9
    """
    A, exponent = scale_without_loss(square_matrix(W))
    sigma = float(np.linalg.norm(A, 2)) * (1.0 + 4.0 * len(A) * EPS)
    label, height = irreducible_parts(A)
    own_slope = times_power_of_two(slope, exponent)  # searching is done at W's own size, since γ decides how far
    found = []
    x = np.zeros(len(A))
    for part in range(height.size):
        units = np.flatnonzero(label == part)
        block = A[np.ix_(units, units)]
        scaled = scaled_norm(block, max_steps=_steps(len(units), max_steps), slope=own_slope)
        found.append((scaled.value, _absolute_radius(block, sigma)))
        x[units] = scaled.log_scales
    scaled_value, absolute = (max(values) for values in zip(*found, strict=True))
    whole = _whole(A, x, height[label])
    proofs = {"σ₁": sigma, "‖SWS⁻¹‖": scaled_value, "ρ(|W|)": absolute}
    value = min(proofs.values())
    # The simplest of those that say the same.
    name = next(name for name, proved in proofs.items() if proved <= value * (1 + 1e-9))
    value, sigma, absolute, of_whole = (
        times_power_of_two(size, exponent) for size in (value, sigma, absolute, whole.value)
    )
    return Certificate(value, name, sigma, absolute, ScaledNorm(of_whole, whole.log_scales, whole.log10_condition))


def irreducible_parts(A: Array) -> tuple[Array, Array]:
    """The strongly connected part of each unit in W's graph, and the longest way out of each part.

    An edge i → j where A_ij ≠ 0; between parts it leads from a higher one to a lower one.

    Returns
    -------
    label : ndarray of int, shape (n,)
    height : ndarray of int, shape (parts,)
    """
    if A.all():
        return np.zeros(len(A), dtype=np.int64), np.zeros(1, dtype=np.int64)
    from scipy.sparse import csr_array  # 0.2 s of start-up that a full matrix never pays
    from scipy.sparse.csgraph import connected_components

    parts, label = connected_components(csr_array(A != 0), directed=True, connection="strong")
    height = np.zeros(parts, dtype=np.int64)
    rows, columns = np.nonzero(A)
    above, below = label[rows], label[columns]
    above, below = above[above != below], below[above != below]
    for _ in range(parts):
        before = height.copy()
        np.maximum.at(height, above, height[below] + 1)
        if np.array_equal(before, height):
            break
    return np.asarray(label), height


def _steps(n: int, max_steps: int | None) -> int:
    if max_steps is not None:
        return max_steps
    return 120 if n <= 32 else 60 if n <= 64 else 20 if n <= 256 else 10


def _absolute_radius(A: Array, sigma: float) -> float:
    """max_i (|A|v)_i/v_i for the best v found, rounded up; inf where ρ(|A|) is above σ₁ anyway."""
    n = len(A)
    if n == 1:
        return float(np.abs(A[0, 0]))
    if float(np.abs(A).sum(axis=1).min()) > sigma:
        return float("inf")  # ρ(|A|) is at least the least row sum
    _, high, _ = perron_vector(A)
    # Two roundings per entry, n of the sum, and entries that underflow.
    return high * (1.0 + (n + 6.0) * EPS) + n * 1e-300 if high else 0.0


def _whole(A: Array, x: Array, heights: Array) -> ScaledNorm:
    """One S for all parts: theirs, graded from part to part until what couples them is below rounding."""
    if not A.any():
        return ScaledNorm(0.0, np.zeros(len(A)), 0.0)
    if heights.max(initial=0) > 0:
        between = np.where(heights[:, None] > heights, np.abs(scaled_matrix(A, x)), 0.0)
        x = x - heights * max(0.0, float(np.log(between.sum() / (COUPLING * np.abs(A).max()))))
        x = x - (x.max() + x.min()) / 2
    candidates = [x, np.zeros_like(x)]
    norms = [rounded_up_norm(A, candidate) for candidate in candidates]
    best = int(np.argmin(norms))
    return ScaledNorm(norms[best], candidates[best], log10_condition_of(candidates[best]))
