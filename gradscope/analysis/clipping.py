"""What ``clip_grad_norm_`` would compare: the norm of a mini-batch's mean gradient, over many mini-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.losses import LossSide, loss_side
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.weight_gradients import parameter_gradients
from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.seeding import generator

#: Mini-batches drawn where there are more than can be gone through.
MOST_BATCHES = 2000


@dataclass(frozen=True)
class ClipNorms:
    """Norms of mean gradients over all parameters of the recurrent module.

    Attributes
    ----------
    value : float or None
        The percentile asked for; None beyond float64.
    share : float
        Share of mini-batches whose norm lies above it.
    median : float or None
    parameters : tuple of str
    batches : int
        Mini-batches compared.
    """

    value: float | None
    share: float
    median: float | None
    parameters: tuple[str, ...]
    batches: int


def measure_clip_norms(
    cases: Sequence[Case], request: GradientsRequest, *, percentile: float, size: int
) -> ClipNorms | None:
    """Norms of the mean gradient of ``size`` sequences, over the parameters of all ``cases`` together.

    Parameters
    ----------
    cases : sequence of Case
        One network, or the layers and directions that one loss reaches.
    percentile : float
    size : int
        Sequences in a mini-batch, drawn without replacement from those measured: every choice where there are at most
        2000, else 2000 seeded ones.

    Returns
    -------
    ClipNorms or None
        None without a loss, or where gradients of parameters have no meaning or do not fit.

    Raises
    ------
    UsageError
        A mini-batch larger than what was measured.
    """
    grams, names = [], []
    for case in cases:
        side = loss_side(case, request)
        gradients = parameter_gradients(case, side.term) if isinstance(side, LossSide) else None
        if gradients is None:
            return None
        grams.append(gradients.gram())
        names += [_name(name, case) for name in gradients.names]
    top = max(exponent for _, exponent in grams)
    total = sum(np.ldexp(gram, 2 * max(exponent - top, -1000)) for gram, exponent in grams)
    assert isinstance(total, np.ndarray)
    norms = np.sort(_mean_norms(total, size, request.seed))
    found = [float(np.percentile(norms, q)) for q in (percentile, 50.0)]
    with np.errstate(over="ignore"):
        scaled = [float(np.ldexp(norm, top)) for norm in found]
    value, median = (x if np.isfinite(x) else None for x in scaled)
    return ClipNorms(value, float(np.mean(norms > found[0])), median, tuple(names), len(norms))


def _mean_norms(gram: Array, size: int, seed: int) -> Array:
    """‖mean of the chosen gradients‖ of every mini-batch: the square root of the mean entry of its block."""
    batch = len(gram)
    if size > batch:
        raise UsageError(f"--clip-batch {size}: only {batch} sequences were measured; raise --batch.")
    if size == 1:
        return np.asarray(np.sqrt(np.diag(gram)))
    if comb(batch, size) <= MOST_BATCHES:
        chosen = np.array(list(combinations(range(batch), size)))
    else:
        rng = generator(seed, "clip")
        chosen = np.stack([rng.permutation(batch)[:size] for _ in range(MOST_BATCHES)])
    squares = np.array([gram[np.ix_(rows, rows)].mean() for rows in chosen])
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _name(name: str, case: Case) -> str:
    """PyTorch's name of a parameter, with the module, layer and direction that the case stands for."""
    module = case.record.get("module")
    prefix = f"{module}." if module else ""
    if "direction" not in case.record and "layer" not in case.record:
        return prefix + name
    kind, _, layer = name.rpartition("_l")
    number = int(layer) + int(case.record.get("layer") or 0)
    return f"{prefix}{kind}_l{number}" + ("_reverse" if case.record.get("direction") == "backward" else "")
