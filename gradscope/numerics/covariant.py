"""Covariant Lyapunov vectors: the directions that the Jacobians carry into each other and that grow at λ_i both ways.

    J_t v_i(t−1) = γ_i(t) v_i(t),   mean of ln |γ_i| = λ_i

Unlike the QR frame they are not orthogonal; how small their angles get says how far the dynamics is from normal,
and whether growing and shrinking directions stay apart (hyperbolicity).

References
----------
F. Ginelli, P. Poggi, A. Turchi, H. Chaté, R. Livi, A. Politi, Phys. Rev. Lett. 99 (2007) 130601.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.errors import UntrustedNumbersError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LN2
from gradscope.numerics.frame import Frame
from gradscope.numerics.tape import Tape


@dataclass(frozen=True)
class CovariantVectors:
    """Covariant vectors along the middle of a run.

    Attributes
    ----------
    steps : ndarray of int, shape (m,)
        The t at which the vectors are given (not more than asked for, evenly spaced).
    vectors : ndarray, shape (m, *batch_shape, n, k)
        Unit columns v_1(t) … v_k(t); k is smaller than asked for where rank was lost.
    exponents : ndarray, shape (*batch_shape, k)
        Mean of ln |γ_i| over the window, nats per step: the same λ_i that QR gives, reached along v_i itself.
    angles : ndarray, shape (*batch_shape, k, k)
        Mean over the given steps of the angle between v_i and v_j, radians in [0, π/2].
    smallest_angles : ndarray, shape (*batch_shape, k, k)
        The smallest of them over the given steps.
    splitting_angle : ndarray, shape batch_shape
        Smallest principal angle, over the given steps, between the span of the vectors with λ_i > 0 and that of those
        with λ_i < 0; NaN if one of the two is missing.
    window : int
        Steps averaged over.
    """

    steps: Array
    vectors: Array
    exponents: Array
    angles: Array
    smallest_angles: Array
    splitting_angle: Array
    window: int


def covariant_vectors(
    tape: Tape,
    *,
    k: int | None = None,
    align: int | None = None,
    keep: int = 200,
    rng: np.random.Generator | None = None,
) -> CovariantVectors:
    """Compute covariant Lyapunov vectors by Ginelli's method: QR forward, then R_t⁻¹ backward.

    v_i(t) = Q_t c_i(t), c_i(t−1) ∝ R_t⁻¹ c_i(t), c_i in the span of the first i coordinates. Going back, the
    fastest growing component of R⁻¹ takes over, which within those i is the one with λ_i.

    Parameters
    ----------
    tape : Tape
        At least 8 steps. Memory grows with T k².
    k : int, optional
        How many; all by default.
    align : int, optional
        Steps at either end used for alignment only (forward at the beginning, backward at the end); a quarter of the
        run by default.
    keep : int
        At how many steps of the window to give the vectors.
    rng : numpy.random.Generator, optional
        Draws the first frame and the last coordinates; ``default_rng(0)`` if not given.

    Raises
    ------
    UsageError
        k outside 1 … n, or too few steps.
    UntrustedNumbersError
        Every direction was annihilated.
    """
    n, n_steps = tape.state_size, tape.n_steps
    k = n if k is None else k
    align = n_steps // 4 if align is None else align
    if not 1 <= k <= n:
        raise UsageError(f"the number of covariant vectors must be 1 … {n} (the state size); got {k}")
    if align < 1 or n_steps - 2 * align < 2:
        raise UsageError(f"covariant vectors need steps before, in and after the window; got {n_steps}, align {align}")
    rng = np.random.default_rng(0) if rng is None else rng
    frame = Frame.random(tape, k, rng, qr_interval=1)
    frame.advance(1, align)
    start, end = align, n_steps - align
    kept = np.unique(np.linspace(start, end, min(keep, end - start + 1)).round().astype(int))
    frames: dict[int, Array] = {}
    factors: list[tuple[Array, Array]] = []
    frame.observer = lambda R, exponents: factors.append((R, exponents))
    previous = start
    for t in [*kept.tolist(), n_steps]:
        if t > previous:
            # The frame is made orthonormal at the end of every stretch: a last factor that takes no step.
            frame.advance(previous + 1, t)
            if frame.Q.shape[-1] == 0:
                raise UntrustedNumbersError("every direction is annihilated on the way: there are no covariant vectors")
            settling = factors.pop()
            factors[-1] = _merged(settling, factors[-1])
            previous = t
        frames[t] = frame.Q
    rank = int(frame.alive.sum(axis=-1).min())
    coordinates = _unit(np.triu(rng.standard_normal((*tape.batch_shape, rank, rank))) + np.eye(rank))[0]
    vectors: list[Array] = []
    total = np.zeros((*tape.batch_shape, rank))
    for t in range(n_steps, start - 1, -1):
        if t in frames and t <= end:
            vectors.append(_unit(frames[t][..., :rank] @ coordinates)[0])
        if t > start:
            R, exponents = factors[t - start - 1]
            coordinates, logs = _carried_back(R[..., :rank, :rank], exponents[..., :rank], coordinates)
            if t <= end:
                total -= logs
    stacked = np.stack(vectors[::-1])
    exponents = total / (end - start)
    cosines = np.clip(np.abs(np.swapaxes(stacked, -1, -2) @ stacked), 0.0, 1.0)
    angles = np.arccos(cosines)
    return CovariantVectors(
        steps=kept,
        vectors=stacked,
        exponents=exponents,
        angles=angles.mean(axis=0),
        smallest_angles=angles.min(axis=0),
        splitting_angle=_splitting_angle(stacked, exponents),
        window=end - start,
    )


def _merged(later: tuple[Array, Array], earlier: tuple[Array, Array]) -> tuple[Array, Array]:
    """R_2·R_1 of two factors, the later one without exponents."""
    return later[0] @ earlier[0][..., : later[0].shape[-1], :], earlier[1]


def _carried_back(R: Array, exponents: Array, coordinates: Array) -> tuple[Array, Array]:
    """Columns of (R·diag(2^e))⁻¹·C, each of length 1, and the logarithms of what they were."""
    solved = np.linalg.solve(R, coordinates)
    # 2^{−e} spread over hundreds of decades would overflow: measured from each column's largest entry.
    with np.errstate(divide="ignore"):
        logs = np.log2(np.abs(solved)) - exponents[..., :, None]
    shift = np.floor(logs.max(axis=-2, keepdims=True)).astype(np.int64)
    scaled, lengths = _unit(np.ldexp(solved, np.clip(-exponents[..., :, None] - shift, -2000, 1000)))
    return scaled, lengths + LN2 * shift[..., 0, :]


def _unit(columns: Array) -> tuple[Array, Array]:
    """Columns of length 1, and the logarithms of their lengths."""
    lengths = np.linalg.norm(columns, axis=-2)
    return columns / lengths[..., None, :], np.log(lengths)


def _splitting_angle(vectors: Array, exponents: Array) -> Array:
    """Smallest principal angle between growing and shrinking vectors over time, per batch entry."""
    out = np.full(exponents.shape[:-1], np.nan)
    for entry in np.ndindex(*out.shape):
        growing = exponents[entry] > 0.0
        if growing.all() or not growing.any():
            continue
        along = vectors[(slice(None), *entry)]
        up = np.linalg.qr(along[..., growing])[0]
        down = np.linalg.qr(along[..., ~growing])[0]
        cosines = np.linalg.svd(np.swapaxes(up, -1, -2) @ down, compute_uv=False)[..., 0]
        out[entry] = float(np.arccos(np.clip(cosines, 0.0, 1.0)).min())
    return out
