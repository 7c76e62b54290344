"""The changes that a source can take: each is text that is appended to it, in the words of its own keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gradscope.cells import CELLS
from gradscope.sources.source import Source

#: Every kind of advice. Those that change the network stand in the order of how much of it they touch: a bias, a
#: factor on W_hh, the time constant, another draw of the weights, another forward pass.
NETWORK_KINDS = ("forget_bias", "gain", "leak", "init", "norm")
#: The same where gradients explode: a smaller W_hh before anything else.
SHRINKING = ("gain", "forget_bias", "leak", "init", "norm")
KINDS = ("tbptt", "clip", *NETWORK_KINDS)
#: Steps of a search, and how far it may go.
FORGET_BIAS_STEP, FORGET_BIAS_MOST = 0.05, 16.0
GAIN_STEP, GAIN_MOST, SHRINK_MOST = 0.01, 5.0, 120.0
LEAK_STEP, LEAK_STEPS = 1.02, 230


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes
    ----------
    text : str
        What is appended to the source, ``forget_bias=2.25``.
    value : float or None
        The number in it; None for words.
    before : float or None
        The same key's number without the change.
    """

    kind: str
    text: str
    value: float | None = None
    before: float | None = None


@dataclass(frozen=True)
class Family:
    """Changes of one kind that differ in size: ``at(1)`` is the smallest, ``at(last)`` the largest.

    Attributes
    ----------
    first : int
        Where a search begins.
    of_gate : bool
        Whether the change moves a gate, whose decades lost change exponentially.
    """

    at: Callable[[int], Change]
    first: int
    last: int
    of_gate: bool = False

    @property
    def kind(self) -> str:
        return self.at(1).kind


def appended(text: str, change: str) -> str:
    """A source with a change behind its keys.

    >>> appended("lstm", "gain=2"), appended("lstm:hidden=8", "gain=2")
    ('lstm:gain=2', 'lstm:hidden=8,gain=2')
    """
    from gradscope.sources.spec import split_keys

    return f"{text},{change}" if split_keys(text)[1] else f"{text}:{change}"


def families(source: Source, *, reach: int, shrink: bool) -> list[Family]:
    """Changes whose size is searched for: towards longer memory, or (``shrink``) towards smaller gradients."""
    spec = source.spec
    known = spec.known_keys()
    out = []
    cells = [named.cell for named in source.named_cells]
    if "forget_bias" in known and cells and all(cell.memory_gate is not None for cell in cells):
        out.append(_forget_bias(float(spec["forget_bias"]), -1.0 if shrink else 1.0))
    if "gain" in known and cells and spec["gain"] != 0 and cells[0].recurrent != "none":
        factors = _gain(float(spec["gain"]), reach=reach, shrink=shrink, most=cells[0].most_gain)
        out += [factors] if factors.last else []
    if spec.kind == "cell" and "leak" in known and spec["leak"] > 0:
        out.append(_leak(float(spec["leak"])))
    return out


def _forget_bias(before: float, sign: float) -> Family:
    def at(i: int) -> Change:
        value = round(before + sign * FORGET_BIAS_STEP * i, 6)
        return Change("forget_bias", f"forget_bias={value:.12g}", value, before)

    return Family(at, first=20, last=round(FORGET_BIAS_MOST / FORGET_BIAS_STEP), of_gate=True)


def _gain(before: float, *, reach: int, shrink: bool, most: float = math.inf) -> Family:
    """Factors on W_hh, so close to one another that over ``reach`` steps a step of the search is half a decade."""
    step = min(math.log1p(GAIN_STEP), 0.5 * math.log(10.0) / max(reach, 1))
    digits = max(4, 1 - math.floor(math.log10(step)))

    def at(i: int) -> Change:
        text = f"{before * math.exp(-step * i if shrink else step * i):.{digits}g}"
        return Change("gain", f"gain={text}", float(text), before)

    first, furthest = (1.12, SHRINK_MOST) if shrink else (1.27, GAIN_MOST)
    last = round(math.log(furthest) / step)
    if not shrink and before * furthest > most:
        last = max(0, math.floor(math.log(most / before) / step))
    return Family(at, first=min(max(1, round(math.log(first) / step)), last), last=last)


def _leak(before: float) -> Family:
    def at(i: int) -> Change:
        text = f"{before * LEAK_STEP**-i:.4g}"
        return Change("leak", f"leak={text}", float(text), before)

    return Family(at, first=35, last=LEAK_STEPS)


def alternatives(source: Source, *, reach: int, shrink: bool) -> list[Change]:
    """Changes without a size: other starts of the weights, a layer norm. Built networks only."""
    spec = source.spec
    if spec.kind != "cell":
        return []
    known = spec.known_keys()
    cell = CELLS.get(spec["cell"] if spec.name == "seq2seq" else spec.name)
    inits: tuple[str, ...] = () if cell is not None and cell.recurrent == "none" else ("orthogonal", "identity")
    if cell is not None and cell.inits is not None:
        inits = tuple(init for init in inits if init in cell.inits)
    out = [Change("init", f"init={init}") for init in inits if spec["init"] != init]
    if "chrono_max" in known and cell is not None and cell.memory_gate is not None and not shrink:
        out.append(Change("init", f"init=chrono,chrono_max={max(reach, 3)}"))
    if "norm" in known and spec["norm"] == "none":
        out.append(Change("norm", "norm=layer"))
    return out
