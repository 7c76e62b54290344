"""Advice for one source: what it is now, what could be changed, and what each change did when it was measured."""

from __future__ import annotations

from typing import Any

from gradscope.advice.advise_request import AdviceRequest
from gradscope.advice.changes import NETWORK_KINDS, SHRINKING
from gradscope.advice.measured import Measured, read
from gradscope.advice.network_changes import Question, measure_changes
from gradscope.advice.snippets import clip_snippet, network_snippet, truncation_snippet
from gradscope.advice.words import holding_back, honesty, network_why
from gradscope.analysis.cases import Case, cases_of
from gradscope.analysis.clipping import ClipNorms, measure_clip_norms
from gradscope.analysis.gradient_results import measure_gradients
from gradscope.analysis.memory_units import measure_memory_units, time_constant_summary
from gradscope.errors import UsageError
from gradscope.networks.trajectory import Trajectory
from gradscope.records import Result
from gradscope.sources.source import Source

COLUMNS = (
    "kind", "change", "before_horizon", "after_horizon", "before_horizon_censored", "after_horizon_censored",
    "before_rate", "after_rate", "before_verdict", "after_verdict", "before_horizon_h", "after_horizon_h",
    "before_horizon_h_censored", "after_horizon_h_censored", "helps", "value", "snippet", "why",
)  # fmt: skip
Row = dict[str, Any]


def measure_advice(source: Source, request: AdviceRequest) -> list[Result]:
    """One result for each that ``gradients`` gives of this source.

    Raises
    ------
    UsageError
        A reach beyond the run: nothing is measured there.
    """
    results = measure_gradients(source, request.gradients_request())
    for result in results:
        wanted_reach(result, request)
    cases = cases_of(source, request.gradients_request())
    clips = _clip_norms(source, cases, request)
    # --per-layer: a layer alone is not what is clipped.
    more = [None] * (len(results) - len(cases))
    questions = [
        Question(place, read(result, reach=reach, epsilon=request.epsilon), reach)
        for place, result in enumerate(results)
        for reach in [wanted_reach(result, request)]
    ]
    wanting = [question for question in questions if question.shrinks or not question.before.reaches(question.reach)]
    changes = measure_changes(source, request, wanting)
    return [
        _advice(source, request, question, result, changes.get(question.place, []), clip, case)
        for question, result, clip, case in zip(questions, results, [*clips, *more], [*cases, *more], strict=True)
    ]


def wanted_reach(result: Result, request: AdviceRequest) -> int:
    """The lag that is to be reached."""
    steps = int(result.settings["steps"])
    reach = next((lag for lag in (request.reach, request.need) if lag is not None), steps)
    if reach > steps:
        raise UsageError(f"--reach {reach} is beyond the run of {steps} steps: raise --steps.")
    return reach


def _clip_norms(source: Source, cases: list[Case], request: AdviceRequest) -> list[ClipNorms | None]:
    """Norms of each result's gradient; one over all directions and layers where they share one loss."""
    asked: dict[str, Any] = {"percentile": request.clip_percentile, "size": request.clip_batch}
    if source.gives_several_results and source.spec.kind == "file" and request.readout != "random":
        return [measure_clip_norms(cases, request, **asked)] * len(cases)
    return [measure_clip_norms([case], request, **asked) for case in cases]


def _advice(
    source: Source,
    request: AdviceRequest,
    question: Question,
    result: Result,
    changes: list[Measured],
    clip: ClipNorms | None,
    case: Case | None,
) -> Result:
    reach, before = question.reach, question.before
    rows = [_truncation(result, before)] if request.wants("tbptt") else []
    rows += [_clip(source, result, before, clip, request)] if request.wants("clip") else []
    rows += [_row(source, result, question, after) for after in changes]
    run = case.trajectory if case else None
    memory = measure_memory_units(run) if isinstance(run, Trajectory) else []
    summary = {
        "reach": reach,
        "reach_now": before.horizon_h,
        "reach_now_censored": before.horizon_h_censored,
        "need": request.need,
        "best": best_of(rows, shrink=before.explodes),
        "verdict": before.verdict,
        "explodes": before.explodes,
        **{name: result.summary[name] for name in ("tbptt_length", "tbptt_bias", "tbptt_kind")},
        "clip_value": clip.value if clip else None,
        "clip_share": clip.share if clip else None,
        "gradient_norm_median": clip.median if clip else None,
        "clip_parameters": list(clip.parameters) if clip else None,
        **time_constant_summary([layer.time_constants for layer in memory]),
    }
    settings = {**result.settings, "clip_percentile": request.clip_percentile, "clip_batch": request.clip_batch}
    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    details: dict[str, Any] = {"holds_back": holding_back(memory)} if memory else {}
    details["courses"] = [
        _course("as it is", before),
        *(_course(name, after) for name, after in _shown(changes).items()),
    ]
    return Result(result.source, settings, columns, summary, result.warnings, details)


def _shown(changes: list[Measured]) -> dict[str, Measured]:
    """One curve a kind, by the change: what was searched, and the alternative that reaches farthest."""
    farthest: dict[str, tuple[str, Measured]] = {}
    for after in changes:
        if after.change is None or after.failed:
            continue
        kind = after.change.kind
        if kind not in farthest or after.farthest > farthest[kind][1].farthest:
            farthest[kind] = (after.change.text, after)
    return dict(farthest.values())


def _course(name: str, measured: Measured) -> dict[str, Any]:
    return {"name": name, "lag": [lag for lag, _ in measured.course], "log10_norm_h": [y for _, y in measured.course]}


def best_of(rows: list[Row], *, shrink: bool = False) -> str | None:
    """The kind of the smallest change that helps: the one that touches the least of the network."""
    helping = [row["kind"] for row in rows if row.get("helps")]
    return min(helping, key=(SHRINKING if shrink else NETWORK_KINDS).index, default=None)


def _truncation(result: Result, before: Measured) -> Row:
    length, bias = result.summary["tbptt_length"], result.summary["tbptt_bias"]
    if length is None:
        return {"kind": "tbptt", "why": _no_loss(result)}
    kind = result.summary["tbptt_kind"]
    why = f"the smallest K within {100 * result.settings['truncation_bias']:g} % of the gradient of W_hh"
    why += f": leaves out {100 * bias:.2g} %" if length < int(result.settings["steps"]) else ": every step is needed"
    half, double = (result.summary.get(f"tbptt_bias_{name}") for name in ("half", "double"))
    if half is not None and double is not None and length > 1:
        why += f" (K/2 {100 * half:.2g} %, 2K {100 * double:.2g} %)"
    worst = result.summary.get("tbptt_bias_worst")
    if worst is not None and int(result.settings["batch"]) > 1:
        why += f", {100 * worst:.2g} % for the worst sequence"
    if before.explodes:
        why += "; gradients explode, so the far past decides: shrink them first"
    return {
        "kind": "tbptt",
        "value": length,
        "snippet": truncation_snippet(length, kind),
        "why": why + honesty(result, loss=True),
    }


def _clip(source: Source, result: Result, before: Measured, clip: ClipNorms | None, request: AdviceRequest) -> Row:
    if clip is None:
        return {"kind": "clip", "why": _no_loss(result)}
    if clip.value is None:
        return {"kind": "clip", "why": "the norm is beyond what float64 holds: shrink gradients first (gain)"}
    why = f"{request.clip_percentile:g}th percentile of {clip.batches} gradient norms; clips {100 * clip.share:.2g} %"
    if clip.batches == 1:
        why = "the norm of the one gradient measured: raise --batch for a percentile"
    if before.explodes:
        why += "; caps the step, but the direction is the far past's alone: shrink gradients too"
    elif before.verdict == "vanishing":
        why += "; clipping does not lengthen reach"
    return {
        "kind": "clip",
        "value": clip.value,
        "snippet": clip_snippet(source, clip.value, clip.parameters),
        "why": why + honesty(result, loss=True),
    }


def _no_loss(result: Result) -> str:
    said = next((text for text in result.warnings if text.startswith("no loss:")), None)
    if result.source.get("cell") == "seq2seq":
        return "a decoder's losses stand at many steps and two W_hh share them: no single length of truncation"
    return said or "no loss whose gradient with respect to W_hh could be measured"


def _row(source: Source, result: Result, question: Question, after: Measured) -> Row:
    before, helps = question.before, question.helps(after)
    assert after.change is not None
    row: Row = {"kind": after.change.kind, "change": after.change.text, "value": after.change.value}
    for when, measured in (("before", before), ("after", after)):
        for name in ("horizon", "horizon_censored", "rate", "verdict", "horizon_h", "horizon_h_censored"):
            row[f"{when}_{name}"] = None if measured.failed else getattr(measured, name)
    row["helps"] = helps
    row["snippet"] = network_snippet(source, after.change)
    why = network_why(after.change, before, after, helps=helps, reach=question.reach, source=source)
    row["why"] = why + honesty(result, loss=False)
    return row
