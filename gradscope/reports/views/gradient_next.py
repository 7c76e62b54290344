"""One command to go on with, chosen from what was measured."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from gradscope.records import Report, Result
from gradscope.remarks import GENERATED_INPUT
from gradscope.reports.numbers import printable
from gradscope.reports.reading import number

_DEFAULT_STEPS = 100


def next_step(result: Result, command: Sequence[str]) -> str:
    """The next command for one result and why; empty where nothing is to be done.

    ``command`` is how the result was made: a source that does not stand in it (a model in memory) has no command.
    """
    if result.source.get("name") not in command:
        return ""
    summary, verdict = result.summary, result.summary.get("verdict")
    steps, need = int(number(result.settings.get("steps")) or 0), number(summary.get("need"))
    if number(summary.get("bound_violations")) or result.settings.get("wrt") == "inputs":
        return ""
    if need is not None and summary.get("enough") is None:
        return _said(result, "gradients", [f"--need {int(need)} -T {max(int(need), steps)}"], "long enough to tell")
    if verdict == "undetermined":
        longer = max(_DEFAULT_STEPS, 4 * steps)
        return _said(result, "gradients", [f"-T {longer}"], f"{steps} steps were too few for a verdict")
    if any(warning.startswith(GENERATED_INPUT) for warning in result.warnings):
        return _said(result, "gradients", ["--inputs FILE.npy"], "what it really reads: this was noise")
    if verdict == "exploding" or summary.get("enough") is False or _is_short(result, need):
        asked = [f"--reach {int(need)}"] if need is not None else []
        return _changes(result, [*_same_run(result), *asked])
    if need is None and verdict == "vanishing":
        if _is_file(result):
            return ""
        end = _length_to_the_end(result)
        return _said(result, "gradients", [f"-T {end}"], "to see where it ends") if end else ""
    if need is None and not summary.get("horizon_censored"):
        # It falls below epsilon within the run, and yet the rate may be 0: the run is too short for a verdict.
        why = "a longer run narrows the interval of the rate"
        return "" if _is_file(result) else _said(result, "gradients", [f"-T {4 * steps}"], why)
    seen = number(summary.get("horizon_h"))
    wanted = int(need if need is not None else steps if seen is None else seen)
    if wanted < 1:
        return ""
    horizon = "horizon" if seen is None else "horizon_h"
    gate = f"--expect '{horizon} >= {wanted}'"
    return _said(result, "gradients", [*_same_run(result), gate], "keeps it so: exit 1 when it no longer reaches")


def next_of_several(report: Report) -> str:
    """What to look into first: what explodes, else the shortest memory."""
    exploding = [result for result in report.results if result.summary.get("verdict") == "exploding"]
    short = [r for r in report.results if r.summary.get("verdict") == "vanishing" and number(r.summary.get("horizon"))]
    if not exploding and not short:
        return ""
    worst = exploding[0] if exploding else min(short, key=lambda r: number(r.summary.get("horizon")) or 0)
    if worst.source.get("name") not in report.command:
        return ""
    why = "it explodes" if exploding else "it reaches least"
    return _changes(worst, _same_run(worst), f"what to change in it: {why}")


def _is_short(result: Result, need: float | None) -> bool:
    return need is None and result.summary.get("verdict") == "vanishing" and not result.summary.get("horizon_censored")


def _changes(result: Result, options: Sequence[str], why: str = "what to change, each change measured") -> str:
    if result.source.get("cell") == "jacobians":  # there is no network to change
        return ""
    return _said(result, "advise", options, why)


def _same_run(result: Result) -> list[str]:
    """The options without which the command would speak of another run."""
    steps = number(result.settings.get("steps"))
    out = []
    for key, default in (("inputs", "normal"), ("batch", 1), ("state", None)):
        value = result.settings.get(key)
        if value not in (default, "none", None):
            out.append(f"--{key} {shlex.quote(str(value))}")
    # A file of inputs brings its own length; an encoder-decoder's T counts encoder steps alone.
    own_length = _is_file(result) or result.source.get("cell") == "seq2seq"
    if steps is not None and steps != _DEFAULT_STEPS and not own_length:
        out.insert(0, f"-T {int(steps)}")
    return out


def _is_file(result: Result) -> bool:
    return "." in str(result.settings.get("inputs"))


def _length_to_the_end(result: Result) -> int | None:
    """Steps after which the norm should be below epsilon, going on at the rate measured; two digits."""
    rate, epsilon = number(result.summary.get("log10_rate")), number(result.summary.get("epsilon"))
    if not rate or rate >= 0 or not epsilon or not 0 < epsilon < 1:
        return None
    steps = 1.5 * math.log10(epsilon) / rate
    digit = 10.0 ** (math.floor(math.log10(steps)) - 1)
    return math.ceil(steps / digit) * int(max(1.0, digit)) if steps < 1e6 else None


def _said(result: Result, verb: str, options: Sequence[str], why: str) -> str:
    source = shlex.quote(str(result.source.get("name", "SOURCE")))
    return printable(f"Next: gradscope {' '.join([verb, source, *options])}  ({why})")
