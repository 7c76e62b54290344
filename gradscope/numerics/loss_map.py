"""Which loss teaches which copy of the weights: ∂L_n/∂W_hh of the copy used at step i, for several outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.backprop import DirectTerm, log10_weight_norm, state_gradients
from gradscope.numerics.tape import Prefix, Tape


@dataclass(frozen=True)
class LossMap:
    """Gradients of single losses, each read at one step.

    Attributes
    ----------
    loss_steps, copies : tuple of int
        Steps n that carry a loss and steps i whose copy of W_hh is looked at, ascending.
    log10_dweight : ndarray, shape (len(loss_steps), len(copies), *batch_shape)
        log10 ‖∂L_n/∂W_hh^(i)‖_F, all layers together; NaN where it is exactly zero (always for i > n).
    """

    loss_steps: tuple[int, ...]
    copies: tuple[int, ...]
    log10_dweight: Array


def measure_loss_map(
    tape: Tape,
    direct_term: DirectTerm,
    loss_steps: Sequence[int],
    copies: Sequence[int],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> LossMap | None:
    """Backpropagate every loss by itself, with a power of two for every component (as for the whole loss).

    Returns
    -------
    LossMap, or None where the weights are unknown (ready Jacobians) or there are none.
    """
    kept = tuple(n for n in sorted(loss_steps) if direct_term(n) is not None)
    places = {step: place for place, step in enumerate(sorted(copies))}
    found = np.full((len(kept), len(places), *tape.batch_shape), np.nan)
    known = False
    for row, n in enumerate(kept):
        own = direct_term(n)
        last = min((step for step in places if step <= n), default=n + 1)
        for step, vector, exponent in state_gradients(Prefix(tape, n), lambda t, n=n, own=own: own if t == n else None):  # type: ignore[misc]
            if step < last:
                break
            if step in places:
                weights = tape.jacobian(step).weight_cotangents(vector)
                if any(weights):
                    known = True
                    found[row, places[step]] = log10_weight_norm(weights, exponent)
        if progress is not None:
            progress(row + 1, len(kept))
    return LossMap(kept, tuple(places), found) if known else None
