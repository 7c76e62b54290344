"""One command to go on with, chosen from what was measured."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection, Sequence

from gradscope.records import Report, Result
from gradscope.remarks import GENERATED_INPUT
from gradscope.reports.numbers import printable
from gradscope.reports.reading import number

_DEFAULT_STEPS = 100
_LENGTH = frozenset({"-T", "--steps"})
#: Options that say what is run and what its loss is; each takes a value.
_OF_THE_RUN = _LENGTH | {
    "--inputs", "--tokens", "--lengths", "--batch", "--seed", "--dtype", "--state", "--transient", "--epsilon",
    "--loss", "--loss-at", "--readout", "--target",
}  # fmt: skip
_FLAGS = frozenset({"--time-major", "--batch-major"})
_GENERATED = frozenset({"normal", "uniform", "zeros"})


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
    same, given_length = _same_run(command), _length_is_given(command)
    longer = [] if given_length else _same_run(command, without=_LENGTH)
    if need is not None and summary.get("enough") is None:
        length = f"-T {max(int(need), steps)}"
        why = "long enough to tell"
        return "" if given_length else _said(result, "gradients", [*longer, f"--need {int(need)}", length], why)
    if verdict == "undetermined":
        more = max(_DEFAULT_STEPS, 4 * steps)
        why = f"{steps} steps were too few for a verdict"
        return "" if given_length else _said(result, "gradients", [*longer, f"-T {more}"], why)
    if any(warning.startswith(GENERATED_INPUT) for warning in result.warnings):
        without = _same_run(command, without={*_LENGTH, "--inputs", "--batch"})
        return _said(result, "gradients", [*without, "--inputs FILE.npy"], "what it really reads")
    if verdict == "exploding" or summary.get("enough") is False or _is_short(result, need):
        asked = [f"--reach {int(need)}"] if need is not None else []
        return _changes(result, [*same, *asked])
    if need is None and verdict == "vanishing":
        end = None if given_length else _length_to_the_end(result)
        return _said(result, "gradients", [*longer, f"-T {end}"], "to see where it ends") if end else ""
    if need is None and not summary.get("horizon_censored"):
        # It falls below epsilon within the run, and yet the rate may be 0: the run is too short for a verdict.
        why = "a longer run narrows the interval of the rate"
        return "" if given_length else _said(result, "gradients", [*longer, f"-T {4 * steps}"], why)
    seen = number(summary.get("horizon_h"))
    wanted = int(need if need is not None else steps if seen is None else seen)
    if wanted < 1:
        return ""
    horizon = "horizon" if seen is None else "horizon_h"
    gate = f"--expect '{horizon} >= {wanted}'"
    return _said(result, "gradients", [*same, gate], "keeps it so: exit 1 when it no longer reaches")


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
    return _changes(worst, _same_run(report.command), f"what to change in it: {why}")


def _is_short(result: Result, need: float | None) -> bool:
    return need is None and result.summary.get("verdict") == "vanishing" and not result.summary.get("horizon_censored")


def _changes(result: Result, options: Sequence[str], why: str = "what to change, each change measured") -> str:
    if result.source.get("cell") == "jacobians":  # there is no network to change
        return ""
    return _said(result, "advise", options, why)


def _same_run(command: Sequence[str], without: Collection[str] = ()) -> list[str]:
    """The options of ``command`` without which the next one would speak of another run or another loss."""
    out, words = [], iter(command)
    for word in words:
        name, equals, value = ("-T", "=", word[2:]) if re.match(r"-T\d", word) else word.partition("=")
        if name in _FLAGS and name not in without:
            out.append(name)
        elif name in _OF_THE_RUN:
            value = value if equals else next(words, "")
            if name not in without:
                out.append(f"{name} {shlex.quote(value)}")
    return out


def _length_is_given(command: Sequence[str]) -> bool:
    """Whether a file or a list brings the sequence, whose length no option changes."""
    words = [part for word in command for part in word.split("=", 1)]
    return any(
        name == "--tokens" or (name == "--inputs" and value not in _GENERATED)
        for name, value in zip(words, [*words[1:], ""], strict=True)
    )


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
