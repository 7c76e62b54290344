"""Why: one or two sentences for each row, and on what it rests."""

from __future__ import annotations

import math

from gradscope.advice.changes import Change
from gradscope.advice.measured import Measured
from gradscope.analysis.memory_units import LayerMemory, time_constant_quantiles
from gradscope.records import Result
from gradscope.reports.reading import number
from gradscope.sources.inputs import is_generated
from gradscope.sources.source import Source

MEANINGS = {
    "forget_bias": "moves the gate that keeps the old state",
    "gain": "scales W_hh",
    "leak": "changes the share of the state that is new at each step",
    "init": "draws the weights in another way",
    "norm": "normalises pre-activations: another network",
}


def reach_text(measured: Measured) -> str:
    """How far the h corner reaches."""
    if measured.horizon_h_censored:
        return f"over {measured.steps}"
    return "no lag" if measured.horizon_h is None or measured.horizon_h < 0 else str(measured.horizon_h)


def network_why(change: Change, before: Measured, after: Measured, *, helps: bool, reach: int, source: Source) -> str:
    """What the change does, measured."""
    if after.failed:
        return f"{MEANINGS[change.kind]}: could not be measured ({after.failed})"
    ends = dict.fromkeys((reach_text(before), reach_text(after)))
    said = f"{MEANINGS[change.kind]}: reach {' -> '.join(ends)} ({reach} wanted)"
    if before.explodes or after.explodes:
        said += f", {' -> '.join(dict.fromkeys((str(before.verdict), str(after.verdict))))}"
        said += f" at {_rate(before)} -> {_rate(after)} decades a step"
    if after.steps != before.steps:
        said += f", over {after.steps} steps for {before.steps} (the decoder ends elsewhere)"
    if not helps:
        said += "; did not help" + (": gradients explode" if after.explodes and not before.explodes else "")
    if change.kind == "forget_bias" and not source.biases:
        said += "; the module has no bias: give it one (bias=True)"
    return said + ("; a what-if, training goes on from there" if source.spec.kind == "file" else "")


def _rate(measured: Measured) -> str:
    return "no rate" if measured.rate is None else f"{measured.rate:.3g}"


def honesty(result: Result, *, loss: bool) -> str:
    """On what a row rests that is not the user's own."""
    said: list[str] = []
    if number(result.summary.get("log10_rate")) is not None and number(result.summary.get("log10_rate_low")) is None:
        said.append("a run too short for an interval of its rate")
    inputs = str(result.settings.get("inputs"))
    if is_generated(inputs):
        said.append(f"generated inputs ({inputs})")
    if loss and result.settings.get("readout") in ("seeded", "random"):
        said.append(f"a {result.settings['readout']} readout, not your loss")
    return f" [on {' and '.join(said)}]" if said else ""


def holding_back(layers: list[LayerMemory]) -> list[str]:
    """What holds gradients back, layer by layer, each only where it was measured."""
    said = []
    for index, layer in enumerate(layers):
        of = f"layer {index}: " if len(layers) > 1 else ""
        quantiles = time_constant_quantiles([layer.time_constants])
        if quantiles is not None:
            low, median, high = (f"{value:.3g}" if math.isfinite(value) else "all" for value in quantiles)
            said.append(f"{of}a unit by itself remembers {median} steps (a tenth below {low}, a tenth above {high})")
        for gate, (mean, ends) in layer.gates.items():
            said.append(f"{of}gate {gate} is {mean:.2f} open on average, {100 * ends:.2g} % of it saturated")
        flat = f", {100 * layer.dead:.2g} % of units dead or saturated" if layer.dead else ""
        said.append(f"{of}the slope of the candidate is {layer.slope:.3g} on average{flat}")
    return said
