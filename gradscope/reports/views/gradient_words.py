"""What a gradients result says in sentences: does it vanish, how fast, how far does it reach, does theory agree."""

from __future__ import annotations

import shlex

from gradscope.records import Report, Result
from gradscope.reports.document import Block, Sentence
from gradscope.reports.numbers import count, fixed, printable, significant
from gradscope.reports.reading import column, has, number
from gradscope.reports.views.common import verdict_tone


def rate_text(result: Result, decimals: int = 3) -> str:
    """The rate in decades per step; no rounding takes it across 0 or across the -1/T (+1/T) of the verdict."""
    steps = _steps(result)
    edges = [0.0, *([1.0 / steps, -1.0 / steps] if steps else [])]
    return fixed(number(result.summary.get("log10_rate")), decimals, against=edges, sign=True)


def interval_text(result: Result, decimals: int = 3) -> str:
    """The 95 % interval of the rate; its ends never round onto or across 0."""
    low, high = (number(result.summary.get(f"log10_rate_{end}")) for end in ("low", "high"))
    if low is None or high is None:
        return "-"
    return f"{fixed(low, decimals, against=[0.0], sign=True)} to {fixed(high, decimals, against=[0.0], sign=True)}"


def last_lag(result: Result) -> int:
    """The largest lag in the rows."""
    lags = result.columns.get("lag")
    return int(max(lags)) if lags is not None and len(lags) else 0


def horizon_text(result: Result) -> str:
    """The horizon as a table cell: ``17``, ``> 100`` when censored, ``none`` when even lag 0 is below epsilon."""
    if result.summary.get("horizon_censored"):
        return f"> {_steps(result)}"
    horizon = number(result.summary.get("horizon"))
    return "none" if horizon is None or horizon < 0 else str(int(horizon))


def _steps(result: Result) -> int:
    steps = number(result.settings.get("steps"))
    return last_lag(result) if steps is None else int(steps)


def verdict_sentence(result: Result) -> str:
    """One sentence with the verdict, the rate with its interval, and the horizon."""
    summary = result.summary
    if summary.get("verdict") is None:
        return "no verdict: there is no summary in this result"
    said = str(summary["verdict"])
    if summary.get("course") in ("polynomial", "periodic", "irregular"):
        said += f" ({summary['course']} course)"
    rate = number(summary.get("log10_rate"))
    ended = ending(result)
    if rate is None:
        said += f": {ended or 'no rate (too few lags)'}"
    else:
        interval = interval_text(result)
        said += f": {rate_text(result)} decades per step"
        said += f" (95 % interval {interval})" if interval != "-" else " (no interval)"
    return f"{said}; {reach(result)}"


def ending(result: Result) -> str:
    """Where the gradient stops being an ordinary number, in words; empty when it never does."""
    status = result.columns.get("status", ())
    words = {"zero": "exactly zero", "underflow": "below what float64 holds", "nonfinite": "not finite"}
    for row, word in enumerate(status):
        if str(word) in words:
            return f"{words[str(word)]} from lag {int(result.columns['lag'][row])} on"
    return ""


def reach(result: Result) -> str:
    """How far back a gradient is still at least epsilon."""
    epsilon = number(result.summary.get("epsilon"))
    epsilon = number(result.settings.get("epsilon")) if epsilon is None else epsilon
    threshold = "the threshold" if epsilon is None else significant(epsilon, 17)
    if result.summary.get("horizon_censored"):
        return f"the gradient stays at or above {threshold} through all {count(_steps(result), 'step')}"
    horizon = number(result.summary.get("horizon"))
    if horizon is None or horizon < 0:
        return f"the gradient is below {threshold} at every lag"
    dip = number(result.summary.get("horizon_dip"))
    if dip is not None:
        back = count(int(horizon), "step")
        return f"the gradient dips below {threshold} at lag {int(dip)}, comes back, and is last there {back} back"
    return f"the gradient falls below {threshold} after {count(int(horizon), 'step')}"


def peak_sentence(result: Result) -> str:
    """Where the norm peaks, if it rises above its value at lag 0; empty otherwise."""
    lag, peak = number(result.summary.get("peak_lag")), number(result.summary.get("log10_peak"))
    if lag is None or peak is None or lag == 0 or peak <= 0:
        return ""
    return f"It first grows: the norm peaks at 10^{fixed(peak, 2, against=[0.0])}, {count(int(lag), 'step')} back."


def theory_sentence(result: Result) -> str:
    """Whether the article's closed form agrees."""
    name = printable(str(result.summary.get("theory") or "the closed form"))
    n = sum(t is not None for t in column(result, "log10_theory"))
    if not n:
        return "Theory: no closed form for this."
    counted = number(result.summary.get("theory_violations"))
    over = int(counted or 0)
    if not over:
        return f"Theory is {name}" + ("." if counted is None else "; never exceeded.")
    # The count speaks of every lag that was measured; the rows may be a selection (--lags, show --where).
    where = f"{over} of {count(n, 'lag')}" if result.n_rows == _steps(result) + 1 else count(over, "lag")
    return f"Theory is {name}; exceeded at {where} (marked >): it is an estimate, not a bound."


def theory_cell(result: Result) -> str:
    """The same in a table cell."""
    if not has(result, "log10_theory"):
        return "no form"
    over = int(number(result.summary.get("theory_violations")) or 0)
    return count(over, "lag") if over else "never"


def peak_cell(result: Result) -> str:
    """The peak and its lag in a table cell."""
    lag, peak = number(result.summary.get("peak_lag")), number(result.summary.get("log10_peak"))
    if lag is None or peak is None:
        return "-"
    return f"10^{fixed(peak, 2, against=[0.0])} @ {int(lag)}"


def bound_sentence(result: Result) -> Sentence:
    """Whether every true bound holds; a violation is a bug in the program and says so."""
    broken = int(number(result.summary.get("bound_violations")) or 0)
    if broken:
        said = (
            f"BOUND VIOLATED at {count(broken, 'lag')}: a true bound cannot be exceeded, so this is a bug; report it."
        )
        return Sentence(said, "warning", "bad")
    if not has(result, "log10_bound") and not has(result, "log10_path_bound"):
        return Sentence("No bound stands beside this.")
    won = result.summary.get("bound")
    which = f" The input-independent one is {printable(str(won))}." if won else ""
    if not has(result, "log10_bound"):
        which = " No input-independent bound is known here; the path bound holds for this trajectory."
    if result.summary.get("vanishes_for_every_input"):
        norm = significant(number(result.summary.get("certificate")), 4, against=[1.0])
        which += f" Certified: it vanishes for every input (scaled norm {norm} < 1)."
    return Sentence(f"Bounds hold at every lag.{which}")


def verdict_blocks(result: Result) -> list[Block]:
    """The verdict first, then peak, theory and bounds."""
    blocks: list[Block] = [Sentence(verdict_sentence(result), "verdict", verdict_tone(result.summary.get("verdict")))]
    if result.summary.get("verdict") is None:
        return blocks
    peak = peak_sentence(result)
    if peak:
        blocks.append(Sentence(peak))
    blocks += [Sentence(theory_sentence(result)), bound_sentence(result)]
    return blocks


def next_step(report: Report, result: Result) -> list[Block]:
    """The command that goes on from what was measured; nothing where nothing calls for one."""
    named = str(result.source.get("name")) in map(str, report.command)  # not what a Python call holds in memory
    if not named or result.source.get("cell") == "jacobians" or result.settings.get("wrt") == "inputs":
        return []
    steps, name = result.settings.get("steps"), str(result.source.get("name"))
    verdict = result.summary.get("verdict")
    options = []
    for key, default in (("inputs", "normal"), ("batch", 1), ("state", None)):
        value = result.settings.get(key)
        if value not in (default, "none", None):
            options += [f"--{key}", str(value)]
    if result.summary.get("horizon_censored") and verdict != "exploding":
        said = "how far it reaches"
        words = ["gradients", name, "-T", str(4 * _steps(result)), *options]
        if options[:1] == ["--inputs"]:
            return []  # a file is as long as it is
    elif verdict in ("vanishing", "exploding") and steps and _steps(result) > 3:
        said = "what would lengthen it" if verdict == "vanishing" else "what would tame it"
        words = ["advise", name, "-T", str(steps), *options]
    else:
        return []
    return [Sentence(printable(f"Next, {said}: {shlex.join(['gradscope', *words])}"), "next")]
