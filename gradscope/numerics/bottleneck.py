"""How the gradient of each part of a loss reaches every step before it, and how many directions it arrives in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.linalg.binary_scale import log10_scaled
from gradscope.linalg.singular_values import finite_singular_values, rank_above_rounding
from gradscope.numerics.backprop import rescaled
from gradscope.numerics.tape import Tape


@dataclass(frozen=True)
class Bottleneck:
    """Gradients of single loss terms L_1 … L_S, each read at one step of the tape.

    Attributes
    ----------
    steps : tuple of int
        The step that each term reads, ascending.
    log10_norm : ndarray, shape (S, T + 1, *batch_shape)
        log10 ‖∂L_s/∂s_j‖₂ for every step j = 0 … T of the tape; NaN where it is exactly zero (always after the term).
    rank : ndarray of int, shape (T + 1, *batch_shape)
        Independent directions among the ∂L_s/∂s_j at step j, each scaled to length 1: at most min(S, n).
    """

    steps: tuple[int, ...]
    log10_norm: Array
    rank: Array


def measure_bottleneck(tape: Tape, terms: Mapping[int, Array]) -> Bottleneck:
    """Backpropagate every loss term by itself, all in one pass with a power of two of its own.

    Parameters
    ----------
    terms : mapping of step t to ndarray, shape (*batch_shape, n)
        ∂L_t/∂s_t of each term alone.
    """
    steps = tuple(sorted(terms))
    T, n, batch = tape.n_steps, tape.state_size, tape.batch_shape
    log10_norm = np.full((len(steps), T + 1, *batch), np.nan)
    rank = np.zeros((T + 1, *batch), dtype=np.int64)
    R, exponent = np.zeros((*batch, len(steps), n)), np.zeros((*batch, len(steps)), dtype=np.int64)
    for t in range(T, -1, -1):
        if t in terms:
            R[..., steps.index(t), :] = terms[t]
        R, exponent = rescaled(R, exponent)
        lengths = np.sqrt(np.square(R).sum(axis=-1))
        log10_norm[:, t] = np.moveaxis(log10_scaled(lengths, exponent), -1, 0)
        unit = np.divide(R, lengths[..., None], out=np.zeros_like(R), where=lengths[..., None] > 0)
        if steps:
            rank[t] = rank_above_rounding(finite_singular_values(unit)[0], max(n, len(steps)))
        if t:
            R = tape.jacobian(t).pull(R)
    return Bottleneck(steps, log10_norm, rank)
