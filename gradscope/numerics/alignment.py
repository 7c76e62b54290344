"""Two frames from different starts: where they have come to agree, the growing directions are found.

The span of the first j columns of a frame carried along a tape approaches the j growing directions like e^(−gap·t) with
the gap λ_j − λ_{j+1}, whatever it started from. Two frames that start orthogonal to one another (as far as they can)
therefore agree exactly when warm-up and gap suffice, and no knowledge of the gap is needed to see it.

References
----------
G. Benettin et al., Meccanica 15 (1980) 9, sec. 4; S. V. Ershov and A. B. Potapov, Physica D 118 (1998) 167, for the
rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.frame import Frame
from gradscope.numerics.orthonormal import orthonormalise
from gradscope.numerics.tape import Tape

#: Σ sin² of the angles between two spans below which they are one: 0.1 rad costs ln cos 0.1 = −0.005 in all, once.
AGREES = 0.01
#: First look, and the share of a long run that may go into alignment.
FIRST_LOOK, SHORT, SHARE = 25, 100, 4


@dataclass(frozen=True)
class Alignment:
    """Where two frames agree.

    Attributes
    ----------
    steps : int
        After how many steps.
    resolved : ndarray of bool, shape (k,)
        Whether the first j + 1 directions are found, in every entry of the batch: exponent j + 1 is told from the next.
    wanted : int or None
        Steps after which the first direction's span would be found at the pace seen; None if it does not come closer.
    """

    steps: int
    resolved: Array
    wanted: int | None

    def groups(self) -> list[tuple[int, int]]:
        """Runs of exponents (first, last, from 0) that are told from their neighbours, though not within."""
        ends = np.flatnonzero(self.resolved)
        starts = np.concatenate([[0], ends + 1])
        stops = np.append(ends, len(self.resolved) - 1)
        return [(int(a), int(b)) for a, b in zip(starts, stops, strict=True) if a <= b]

    def is_open(self, group: tuple[int, int]) -> bool:
        """Whether a group reaches beyond the exponents that were measured."""
        return not bool(self.resolved[group[1]])


def align(tape: Tape, k: int, rng: np.random.Generator) -> Alignment:
    """Carry two frames along the first steps until they agree, at most through the first 100 or a quarter of all.

    Parameters
    ----------
    k : int
        Leading directions that are compared.
    """
    frame, other = (Frame(tape, Q, rng) for Q in _starts(tape, k, rng))
    limit = max(min(tape.n_steps, SHORT), tape.n_steps // SHARE)
    done, history = 0, [(0, math.inf)]
    while True:
        last = min(limit, max(FIRST_LOOK, 2 * done))
        for one in (frame, other):
            one.advance(done + 1, last, longest=32)
        done = last
        apart = _apart(frame, other, k)
        history.append((done, float(apart[0])))
        if done == limit or bool((apart < AGREES).all()):
            return Alignment(done, apart < AGREES, _wanted(history))


def _starts(tape: Tape, k: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two random orthonormal frames, as orthogonal to one another as there is room."""
    n = tape.state_size
    both = orthonormalise(rng.standard_normal((*tape.batch_shape, n, min(2 * k, n))))[0]
    return np.ascontiguousarray(both[..., :k]), np.ascontiguousarray(both[..., ::-1][..., :k])


def _apart(frame: Frame, other: Frame, k: int) -> Array:
    """Σ sin² of the angles between the spans of the first j columns, the largest over the batch; shape (k,).

    Directions that were annihilated need no alignment: their exponent is −∞ whatever comes.
    """
    width = min(frame.Q.shape[-1], other.Q.shape[-1])
    out = np.zeros(k)
    if width == 0:
        return out
    overlap = np.square(np.swapaxes(frame.Q[..., :width], -1, -2) @ other.Q[..., :width])
    inside = np.diagonal(overlap.cumsum(axis=-1).cumsum(axis=-2), axis1=-2, axis2=-1)
    apart = np.arange(1, width + 1) - inside
    alive = frame.alive[..., :width] & other.alive[..., :width]
    apart = np.where(alive, apart, 0.0).reshape(-1, width).max(axis=0)
    out[:width] = apart
    if k == frame.tape.state_size:
        out[k - 1] = 0.0  # all of space is one span
    return out


def _wanted(history: list[tuple[int, float]]) -> int | None:
    """Extrapolate Σ sin² ~ e^(−2 gap t) of the first column to `AGREES`; None where it is not seen to fall."""
    (before, earlier), (now, later) = history[-2:]
    if later < AGREES:
        return now
    # Above a half nothing is linear yet, and what falls there falls by chance.
    if later > 0.5 or not later < 0.8 * min(earlier, 1.0):
        return None
    rate = math.log(min(earlier, 1.0) / later) / (now - before)
    return now + math.ceil(math.log(later / AGREES) / rate)
