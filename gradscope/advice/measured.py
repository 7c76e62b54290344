"""A source as it is, or with a change, measured by the same code as ``gradients``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gradscope.advice.advise_request import AdviceRequest
from gradscope.advice.changes import Change, appended
from gradscope.analysis.reach import measure_reach
from gradscope.records import Result
from gradscope.sources.build import build_source
from gradscope.sources.source import Source
from gradscope.sources.spec import with_keys_of

#: Points of a curve that a figure draws.
MOST_POINTS = 100


@dataclass(frozen=True)
class Measured:
    """How far one network reaches.

    Attributes
    ----------
    horizon, horizon_h : int or None
        Largest lag whose norm (of the whole state; of the h corner) is ≥ epsilon; −1 for no lag, None beyond T and
        where nobody can tell.
    horizon_censored, horizon_h_censored : bool
        Whether they lie beyond T.
    rate : float or None
        log10 per step.
    margin : float
        log10 of the h corner's norm over epsilon at the lag asked for; NaN where it is not known.
    steps : int
        T; a decoder that ends at its End symbol may take another number of steps when something is changed.
    course : tuple of (int, float or None)
        Lags, at most about a hundred, and log10 of the h corner's norm there.
    failed : str
        Why there is nothing to measure: the forward pass itself overflows.
    grows : bool
        Whether the norm at lag T has grown by a decade and more at a rate that says so too, whatever the verdict.
    """

    horizon: int | None
    horizon_censored: bool
    rate: float | None
    verdict: str | None
    horizon_h: int | None
    horizon_h_censored: bool
    margin: float
    steps: int
    log10_epsilon: float
    change: Change | None = None
    course: tuple[tuple[int, float | None], ...] = ()
    failed: str = ""
    grows: bool = False

    def reaches(self, lag: int) -> bool:
        """Whether the h corner is ≥ epsilon at this lag or a later one."""
        if self.horizon_h_censored:
            return self.steps >= lag
        return self.horizon_h is not None and self.horizon_h >= lag

    @property
    def explodes(self) -> bool:
        """Whether gradients grow, or the states already do; where there is no verdict, what was measured decides."""
        return self.verdict == "exploding" or bool(self.failed) or (self.verdict == "undetermined" and self.grows)

    @property
    def decades(self) -> float:
        """ln of the decades lost at the lag asked for, below ln of those that may be lost; NaN where none are lost.

        A gate that keeps the old state, f = σ(b), loses −k·log10 σ(b) ≈ k e^{−b}/ln 10 decades over k steps: this is
        what a change of b moves in a straight line.
        """
        lost = -(self.margin + self.log10_epsilon)
        allowed = -self.log10_epsilon
        return math.log(allowed) - math.log(lost) if lost > 0 < allowed else math.nan

    @property
    def farthest(self) -> float:
        """``horizon_h`` as a number that can be compared."""
        return (
            self.steps + 0.5 if self.horizon_h_censored else -1.0 if self.horizon_h is None else float(self.horizon_h)
        )


def read(result: Result, *, reach: int, epsilon: float, change: Change | None = None) -> Measured:
    """What a ``gradients`` result with every lag says of reach."""
    summary: Mapping[str, object] = result.summary
    norms = [result.columns[name] for name in ("log10_norm_h", "log10_norm")]
    at = next((float(x[reach]) for x in norms if len(x) > reach and math.isfinite(x[reach])), math.nan)
    rate = summary["log10_rate"]
    last = float(result.columns["log10_norm"][-1])
    risen = rate * (len(result.columns["log10_norm"]) - 1) if isinstance(rate, float) else math.nan
    return Measured(
        horizon=_whole(summary["horizon"]),
        horizon_censored=bool(summary["horizon_censored"]),
        rate=float(rate) if isinstance(rate, float) and math.isfinite(rate) else None,
        verdict=str(summary["verdict"]),
        horizon_h=_whole(summary["horizon_h"]),
        horizon_h_censored=bool(summary["horizon_h_censored"]),
        margin=at - math.log10(epsilon),
        steps=int(result.settings["steps"]),
        log10_epsilon=math.log10(epsilon),
        change=change,
        course=_course(result),
        grows=last >= 1 and risen >= 1,
    )


def _course(result: Result) -> tuple[tuple[int, float | None], ...]:
    """The curve of the h corner, every lag where there are few."""
    corner = result.columns["log10_norm_h"]
    values = corner if any(math.isfinite(x) for x in corner) else result.columns["log10_norm"]
    lags = range(0, len(values), max(1, len(values) // MOST_POINTS))
    return tuple((lag, float(values[lag]) if math.isfinite(values[lag]) else None) for lag in lags)


def overflowed(change: Change, steps: int, said: str) -> Measured:
    """A changed network whose states leave float64: no numbers, and nothing gained."""
    return Measured(None, False, None, None, None, False, math.nan, steps, math.nan, change, failed=said)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


@dataclass
class Bench:
    """Measures a source with one change after another, each once, with the same inputs, seed and T.

    Attributes
    ----------
    done : dict
        By the change's text, the results in the order of the source's own.
    """

    source: Source
    request: AdviceRequest
    done: dict[str, list[Result]] = field(default_factory=dict)

    def with_change(self, change: Change) -> list[Result]:
        """How far the changed network reaches, result by result; its loss, theory and bounds are not asked for.

        Raises
        ------
        UntrustedNumbersError
            The changed network's states overflow.
        """
        if change.text not in self.done:
            text = appended(self.source.spec.text, change.text)
            changed = build_source(
                with_keys_of(self.source.spec, text), seed=self.request.seed, dtype=self.request.dtype
            )
            self.done[change.text] = measure_reach(changed, self.request.gradients_request())
        return self.done[change.text]
