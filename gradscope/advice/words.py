"""Why: one or two sentences for each row, and on what it rests."""

from __future__ import annotations

from gradscope.advice.changes import Change
from gradscope.advice.measured import Measured
from gradscope.records import Result
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
    return "no lag" if measured.horizon_h is None else str(measured.horizon_h)


def network_why(change: Change, before: Measured, after: Measured, *, helps: bool, reach: int, source: Source) -> str:
    """What the change does, measured."""
    ends = dict.fromkeys((reach_text(before), reach_text(after)))
    said = f"{MEANINGS[change.kind]}: reach {' -> '.join(ends)} ({reach} wanted)"
    if before.explodes or after.explodes:
        said += f", {' -> '.join(dict.fromkeys((before.verdict, after.verdict)))}"
        said += f" at {_rate(before)} -> {_rate(after)} decades a step"
    if after.steps != before.steps:
        said += f", over {after.steps} steps for {before.steps} (the decoder ends elsewhere)"
    if not helps:
        said += "; did not help" + (": gradients explode" if after.explodes and not before.explodes else "")
    return said + ("; a what-if, training goes on from there" if source.spec.kind == "file" else "")


def _rate(measured: Measured) -> str:
    return "no rate" if measured.rate is None else f"{measured.rate:.3g}"


def honesty(result: Result, *, loss: bool) -> str:
    """On what a row rests that is not the user's own."""
    said = []
    inputs = str(result.settings.get("inputs"))
    if is_generated(inputs):
        said.append(f"generated inputs ({inputs})")
    if loss and result.settings.get("readout") in ("seeded", "random"):
        said.append(f"a {result.settings['readout']} readout, not your loss")
    return f" [on {' and '.join(said)}]" if said else ""
