"""Local gains of tapes whose steps are diagonal: sums of logarithms channel by channel, without a frame."""

from __future__ import annotations

from math import prod

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.diagonal_products import NUMBERS_AT_ONCE
from gradscope.numerics.frame import LocalGains
from gradscope.numerics.tape import Tape


def diagonal_gains(tape: Tape, first: int, last: int, k: int, *, marks: int) -> LocalGains | None:
    """Mean ln |d_t| of the k channels that grow most, over consecutive stretches; None where a step is not diagonal.

    −inf from the stretch on in which a factor is exactly zero, as a frame's annihilated column has it.
    """
    if tape.jacobians(first, first).magnitudes is None:
        return None
    stride = -(-(last - first + 1) // marks)
    at_once = max(1, NUMBERS_AT_ONCE // max(1, stride * tape.state_size * prod(tape.batch_shape))) * stride
    rates: list[Array] = []
    lengths: list[int] = []
    for start in range(first, last + 1, at_once):
        stop = min(start + at_once - 1, last)
        magnitudes = tape.jacobians(start, stop).magnitudes
        if magnitudes is None or not np.isfinite(magnitudes).all():
            return None  # the frame says what is wrong with it
        with np.errstate(divide="ignore"):
            logs = np.log(magnitudes)
        for low in range(0, len(logs), stride):
            part = logs[low : low + stride]
            rates.append(part.mean(axis=0))
            lengths.append(len(part))
    steps = np.array(lengths)
    every = np.stack(rates)
    mean = np.einsum("m,m...->...", steps / steps.sum(), np.where(np.isneginf(every), -1e300, every))
    best = np.argsort(-mean, axis=-1, kind="stable")[..., :k]
    chosen = np.take_along_axis(every, best[None], axis=-1)
    return LocalGains(np.where(np.logical_or.accumulate(np.isneginf(chosen), axis=0), -np.inf, chosen), steps)
