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


def reach_text(measured: Measured, steps: int) -> str:
    """How far the h corner reaches."""
    if measured.horizon_h_censored:
        return f"> {steps}"
    return "none" if measured.horizon_h is None else str(measured.horizon_h)


def network_why(
    change: Change, before: Measured, after: Measured, *, helps: bool, reach: int, result: Result, source: Source
) -> str:
    """What the change does, measured."""
    steps = int(result.settings["steps"])
    said = f"{MEANINGS[change.kind]}: reach {reach_text(before, steps)} -> {reach_text(after, steps)} of {reach} steps"
    if before.explodes or after.explodes:
        said += f", {before.verdict} -> {after.verdict}"
    if not helps and after.explodes:
        said += "; did not help, gradients explode"
    elif not helps:
        said += "; did not help"
    return said + (" (a what-if: training goes on from there)" if source.spec.kind == "file" else "")


def honesty(result: Result, *, loss: bool) -> str:
    """On what a row rests that is not the user's own."""
    said = []
    inputs = str(result.settings.get("inputs"))
    if is_generated(inputs):
        said.append(f"generated inputs ({inputs})")
    if loss and result.settings.get("readout") in ("seeded", "random"):
        said.append(f"a {result.settings['readout']} readout, not your loss")
    return f" [on {' and '.join(said)}]" if said else ""
