"""How far a network's gradients reach and no more: what ``gradients`` gives of it, without theory, bounds and loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.analysis.cases import Case, cases_of, layer_cases
from gradscope.analysis.gradient_results import norm_columns
from gradscope.analysis.living import Living
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.slopes import gather_slopes
from gradscope.analysis.verdict import describe_end, horizon_of, summary_of_course, underflowed_lags
from gradscope.numerics.propagate import measure_norms, step_norms
from gradscope.records import Result
from gradscope.sources.source import Source


def measure_reach(source: Source, request: GradientsRequest) -> list[Result]:
    """The results of ``gradients``, in its order: columns of norms; of the summary verdict, rate and horizons."""
    cases = cases_of(source, request)
    if request.per_layer:
        cases += [part for case in cases for part in layer_cases(case, request)]
    return [_reach(case, request) for case in cases]


def _reach(case: Case, request: GradientsRequest) -> Result:
    anchor: Any = request.anchor
    method: Any = request.method
    gathered = [] if case.trajectory is None else gather_slopes(case.trajectory, anchor)
    progress = request.track(f"{case.record['name']}: norms")
    norms = measure_norms(case.tape, anchor=anchor, method=method, progress=progress)
    # Step norms only tell how much a slope that underflowed could have carried.
    log10_steps = np.zeros((case.tape.n_steps, *case.tape.batch_shape))
    if any(slopes.underflow.any() for slopes in gathered):
        steps = step_norms(case.tape)
        log10_steps = np.where(steps.zero, -np.inf, steps.log10_norm)
    living = Living(norms.zero, underflowed_lags(case, anchor, norms, log10_steps, gathered), norms.nonfinite)
    columns = norm_columns(case, norms, living)
    log10, status, lags = columns["log10_norm"], columns["status"], columns["lag"]
    survivors = None if living.all_alive else living.to_the_end(norms.log10_norm)
    course = describe_end(lags, log10 if survivors is None else survivors, str(status[-1]))
    corner = columns["log10_norm_h"] if np.isfinite(columns["log10_norm_h"]).any() else log10
    at_h = horizon_of(corner, status, lags, request.epsilon)
    summary = {
        **summary_of_course(course, log10, str(status[-1]), case.tape.n_steps),
        **horizon_of(log10, status, lags, request.epsilon),
        "horizon_h": at_h["horizon"],
        "horizon_h_censored": at_h["horizon_censored"],
    }
    return Result(case.record, case.settings, columns, summary, case.warnings)
