"""What a gradients result says in sentences: does it vanish, how far does it reach, what is left, is that enough."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradscope.records import Result
from gradscope.reports.document import Block, Sentence
from gradscope.reports.numbers import NULL, count, fixed, is_null, printable, significant
from gradscope.reports.reading import column, epsilon_of, has, number, picked
from gradscope.reports.views.common import verdict_tone
from gradscope.reports.views.gradient_next import next_step

_ENDINGS = {"zero": "exactly zero", "underflow": "below what float64 holds", "nonfinite": "not finite"}
#: A peak is told when the norm at least doubles before it falls.
_PEAK_TOLD = math.log10(2.0)
#: Decades that are rounding, and not a change.
_UNCHANGED = 1e-9


def answer_blocks(result: Result, command: Sequence[str]) -> list[Block]:
    """The verdict, horizon and rate, whether it is enough, and what to do next after ``command``."""
    blocks: list[Block] = [Sentence(verdict_sentence(result), "verdict", verdict_tone(result.summary.get("verdict")))]
    if result.summary.get("verdict") is None:
        return blocks
    blocks.append(Sentence(measure_sentence(result), "answer"))
    blocks += need_blocks(result)
    step = next_step(result, command)
    return [*blocks, *([Sentence(step, "next")] if step else [])]


def verdict_sentence(result: Result) -> str:
    """The verdict in words, with how far the gradient reaches and what is left of it at the last lag."""
    verdict = result.summary.get("verdict")
    if verdict is None:
        return "no verdict: there is no summary in this result"
    if result.summary.get("course") in ("polynomial", "periodic", "irregular"):
        verdict = f"{verdict} ({result.summary['course']} course)"
    if result.summary.get("verdict") == "exploding":
        return f"{verdict}: {left(result) or reach(result)}."
    return f"{verdict}: {'; '.join(part for part in (reach(result), left(result)) if part)}."


def reach(result: Result) -> str:
    """How far back the gradient is at least epsilon."""
    of = "the influence of an input" if result.settings.get("wrt") == "inputs" else "the gradient"
    back = "" if result.settings.get("anchor") == "start" else " back"
    if result.summary.get("horizon_censored"):
        return f"{of} reaches over {count(_steps(result), 'step')}{back}, all that were run"
    horizon = number(result.summary.get("horizon"))
    if horizon is None or horizon < 0:
        return f"{of} is below {epsilon_text(result)} at every lag"
    dip = number(result.summary.get("horizon_dip"))
    dipped = "" if dip is None else f" (it is below {epsilon_text(result)} at lag {int(dip)} already, and comes back)"
    return f"{of} reaches {count(int(horizon), 'step')}{back}{dipped}"


def left(result: Result) -> str:
    """What is left at the last lag, relative to lag 0; empty where the rows do not hold it."""
    if result.settings.get("wrt") == "weights":
        return sharpness(result)
    ended = ending(result)
    if ended:
        return ended
    lag = last_lag(result)
    rows = [row for row, at in enumerate(result.columns.get("lag", ())) if at == lag]
    found = number(picked(result, "log10_norm", rows)[-1]) if rows else None
    if found is None:
        return ""
    level = level_text(result, found)
    at = f"at {count(lag, 'step')}"
    if "status" in result.columns and result.columns["status"][rows[-1]] == "doubtful":
        return f"{at} less is left than rounding can tell"
    if result.settings.get("wrt") == "inputs":  # the norm at lag 0 is not 1
        return f"{at} its norm is {level}"
    if abs(found) < _UNCHANGED:
        return f"{at} it is as large as at first"
    if found > 0:
        return (
            f"{at} {'the gradient' if result.summary.get('verdict') == 'exploding' else 'it'} is {level} times as large"
        )
    return f"{at} {level} of it is left" if found < 0 else f"{at} all of it is left"


def sharpness(result: Result) -> str:
    """Whether the loss is too sharp in the weights: a question of its own beside whether the gradient vanishes."""
    found = number(result.summary.get("log10_amplification"))
    if found is None:
        return "whether the loss is too sharp cannot be told"
    times = f"10^{fixed(found, 1)}" if found >= 4 else significant(10.0**found, 3, against=[10.0])
    word = "too sharp" if result.summary.get("sharpness") == "sharp" else "not too sharp"
    return f"the loss is {word}: memory makes h_t {times} times as sensitive to the weights as one step does"


def level_text(result: Result, log10_norm: float) -> str:
    """A norm as a power of ten, on its side of every number that a verdict hangs on."""
    epsilon = epsilon_of(result)
    return f"10^{fixed(log10_norm, 1, against=[0.0, 1.0, -1.0, *([math.log10(epsilon)] if epsilon else [])])}"


def ending(result: Result) -> str:
    """Where the gradient stops being an ordinary number, in words; empty when it never does."""
    for row, word in enumerate(result.columns.get("status", ())):
        if str(word) in _ENDINGS and "lag" in result.columns:
            return f"from lag {int(result.columns['lag'][row])} on it is {_ENDINGS[str(word)]}"
    return ""


def measure_sentence(result: Result) -> str:
    """Horizon and rate as numbers, with the interval of the rate."""
    seen = number(result.summary.get("horizon_h"))
    corner = ""
    if result.summary.get("horizon_h_censored") is False and seen is not None:
        same = seen == number(result.summary.get("horizon"))
        corner = "" if same else f"; {int(seen)} for h alone, which an output sees"
    said = f"Horizon {horizon_text(result)} (norm ≥ {epsilon_text(result)}{corner})"
    if number(result.summary.get("log10_rate")) is None:
        return f"{said}, no rate: too few lags with a gradient."
    interval = interval_text(result)
    known = f"95 %: {interval}" if interval != NULL else "no interval"
    return f"{said}, rate {rate_text(result)} decades/step ({known})."


def need_blocks(result: Result) -> list[Block]:
    """Whether what the task needs is there; nothing where no need was given."""
    need = number(result.summary.get("need"))
    if need is None:
        return []
    enough = result.summary.get("enough")
    asked = f"Needed: {count(int(need), 'step')} back"
    if enough is None:
        return [Sentence(f"{asked}: cannot be told from {count(_steps(result), 'step')}.", "answer", "mixed")]
    rows = [row for row, lag in enumerate(result.columns.get("lag", ())) if lag == need]
    corner = has(result, "log10_norm_h")
    found = picked(result, "log10_norm_h" if corner else "log10_norm", rows)
    where = " of h" if corner else ""
    level = f" ({level_text(result, found[0])}{where} is left there)" if found and not is_null(found[0]) else ""
    return [Sentence(f"{asked}: {'enough' if enough else 'NOT enough'}{level}.", "answer", "good" if enough else "bad")]


def rate_text(result: Result, decimals: int = 3) -> str:
    """The rate in decades per step; no rounding takes it across 0 or across the -1/T (+1/T) of the verdict."""
    steps = _steps(result)
    edges = [0.0, *([1.0 / steps, -1.0 / steps] if steps else [])]
    return fixed(number(result.summary.get("log10_rate")), decimals, against=edges, sign=True)


def interval_text(result: Result, decimals: int = 3) -> str:
    """The 95 % interval of the rate; its ends never round onto or across 0."""
    low, high = (number(result.summary.get(f"log10_rate_{end}")) for end in ("low", "high"))
    if low is None or high is None:
        return NULL
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


def epsilon_text(result: Result) -> str:
    """The norm below which a gradient counts as gone."""
    epsilon = epsilon_of(result)
    return "the threshold" if epsilon is None else significant(epsilon, 17)


def is_users_loss(result: Result) -> bool:
    """Whether the loss columns speak of a readout that somebody chose, and not of a seeded one."""
    return result.settings.get("readout") not in (None, "seeded")


def theory_horizon(result: Result) -> str:
    """The horizon that the article's closed form would give, as ``horizon_text``; ``-`` where nobody can tell."""
    epsilon, lags = epsilon_of(result), column(result, "lag")
    if not epsilon or not has(result, "log10_theory") or len(lags) != _steps(result) + 1:
        return NULL  # of a selection of rows the crossing may be left out
    pairs = zip(lags, column(result, "log10_theory"), strict=True)
    above = [lag for lag, value in pairs if value is not None and value >= math.log10(epsilon)]
    if not above:
        return "none"
    return f"> {last_lag(result)}" if max(above) == last_lag(result) else str(int(max(above)))


def peak_cell(result: Result) -> str:
    """The peak and its lag in a table cell."""
    lag, peak = number(result.summary.get("peak_lag")), number(result.summary.get("log10_peak"))
    if lag is None or peak is None:
        return NULL
    return f"{fixed(peak, 2, against=[0.0])} @ {int(lag)}"


def peak_sentence(result: Result, *, small: bool = False) -> str:
    """Where the norm peaks on its way down, if it rises by a factor of two (``small``: at all); empty otherwise."""
    lag, peak = number(result.summary.get("peak_lag")), number(result.summary.get("log10_peak"))
    if lag is None or peak is None or lag == 0 or peak <= (0 if small else _PEAK_TOLD):
        return ""
    if not small and lag == last_lag(result):
        return ""  # the verdict speaks of the last lag already
    return f"It first grows: the norm peaks at 10^{fixed(peak, 2, against=[0.0])}, {count(int(lag), 'step')} back."


def theory_sentence(result: Result) -> str:
    """What the article's closed form is, and how it stands to the measurement."""
    name = printable(str(result.summary.get("theory") or "the closed form"))
    n = sum(value is not None for value in column(result, "log10_theory"))
    if not n:
        return "Theory: no closed form for this."
    counted = number(result.summary.get("theory_violations"))
    over = int(counted or 0)
    if not over:
        return f"Theory is {name}" + ("." if counted is None else "; never exceeded.")
    # The count speaks of every lag that was measured; the rows may be a selection (--lags, show --where).
    where = f"{over} of {count(n, 'lag')}" if result.n_rows == _steps(result) + 1 else count(over, "lag")
    return f"Theory is {name}; exceeded at {where}: it is an estimate, not a bound."


def bound_sentence(result: Result) -> Sentence:
    """Whether every true bound holds."""
    if not any(has(result, f"log10_{name}") for name in ("bound", "path_bound")):
        return Sentence("No bound stands beside this.")
    won = result.summary.get("bound")
    which = f" The input-independent one is {printable(str(won))}." if won else ""
    if not has(result, "log10_bound"):
        which = " No input-independent bound is known here; the path bound holds for this trajectory."
    return Sentence(f"Bounds hold at every lag.{which}")


def broken_bounds(result: Result) -> list[Block]:
    """A violated bound is a bug in the program and says so."""
    broken = int(number(result.summary.get("bound_violations")) or 0)
    if not broken:
        return []
    said = f"BOUND VIOLATED at {count(broken, 'lag')}: a true bound cannot be exceeded, so this is a bug; report it."
    return [Sentence(said, "warning", "bad")]


def certified_blocks(result: Result) -> list[Block]:
    """That it vanishes for every input, where that is proved."""
    proven_for = result.summary.get("contracts_for")
    if not result.summary.get("vanishes_for_every_input") and not proven_for:
        return []
    which = "contraction" if proven_for else "certificate"
    norm = significant(number(result.summary.get(which)), 4, against=[1.0])
    if proven_for:
        whom = printable(str(proven_for))
        stacked = (number(result.source.get("layers")) or 1) > 1 and result.source.get("layer") is None
        how = (
            f"in the slowest layer a norm falls by {norm} a step"
            if stacked
            else f"a weighted norm falls by {norm} a step"
        )
        return [Sentence(f"Certified: it vanishes for {whom} ({how}).")]
    return [Sentence(f"Certified: it vanishes for every input (scaled norm {norm} < 1).")]


def detail_blocks(result: Result) -> list[Block]:
    """What the formulas are and how the peak lies: for whoever asks for everything."""
    peak = peak_sentence(result, small=True)
    blocks: list[Block] = [Sentence(peak)] if peak else []
    blocks.append(Sentence(theory_sentence(result)))
    if not broken_bounds(result):
        blocks.append(bound_sentence(result))
    return blocks
