"""The map (loss step n × copy i) where several outputs carry a loss: ``--loss-at all``, and every encoder–decoder."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.analysis.cases import Case
from gradscope.analysis.living import mean_of_nonzero
from gradscope.analysis.losses import LossSide
from gradscope.analysis.nulls import nulls
from gradscope.analysis.request import GradientsRequest
from gradscope.networks.seq2seq_tape import Seq2SeqTape
from gradscope.networks.trajectory import Trajectory
from gradscope.numerics.loss_map import measure_loss_map

#: Points along each axis (of an encoder–decoder: for each phase), and the longest run that is mapped.
POINTS, MOST_STEPS = 24, 1000


def loss_map_details(case: Case, request: GradientsRequest, side: LossSide | None) -> dict[str, Any]:
    """``loss_map``; nothing for one loss alone, for long runs, or below layers that mix the losses.

    Norms are batch means of log10 over the samples whose gradient is not exactly zero.
    """
    tape = case.tape
    mixed = bool(case.above) and case.source.spec.kind == "file"
    if side is None or mixed or not 0 < tape.n_steps <= MOST_STEPS:
        return {}
    if isinstance(tape, Seq2SeqTape):
        T, S = tape.encoder_steps, len(tape.target)  # what greedy decoding adds is not scored
        loss_steps = [T + s for s in _grid(S)]
        copies = [*_grid(T), *loss_steps]
    elif isinstance(tape, Trajectory) and request.loss_at == "all":
        T = 0
        loss_steps = copies = _grid(tape.n_steps)
    else:
        return {}
    progress = request.track(f"{case.record['name']}: loss map")
    found = measure_loss_map(tape, side.term, loss_steps, copies, progress=progress)
    if found is None:
        return {}
    return {
        "loss_map": {
            "loss_step": [n - T for n in found.loss_steps],
            "copy": [i if i <= T else i - T for i in found.copies],
            "phase": [("encoder" if i <= T else "decoder") if T else None for i in found.copies],
            "log10_dloss_dweight": [nulls(mean_of_nonzero(row)) for row in found.log10_dweight],
        }
    }


def _grid(steps: int) -> list[int]:
    return sorted({round(t) for t in np.linspace(1, steps, min(POINTS, steps))})
