"""What a claim is: the article's sentence, the verdict on it, and an experiment that has to bear the verdict out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, Unpack

import numpy as np
from scipy.special import stdtrit

Verdict = Literal["true", "conditional", "false"]
Relation = Literal["=", "≤", "≥"]

#: Standard errors that a random mean may be off: one in 150 000 honest checks would fail (theory.md N12).
STANDARD_ERRORS = 4.5


@dataclass(frozen=True)
class Check:
    """One number beside its prediction: |measured − expected| ≤ allowance, or measured on the right side of it.

    Attributes
    ----------
    identity : bool
        True whatever the network does, as a rank of eight rows is at most eight: it shows the experiment sane, and
        is no evidence for the claim.
    half_width : float or None
        Of the 95 % interval of ``measured`` where that is a mean over draws; None where nothing was drawn.
    """

    quantity: str
    measured: float
    relation: Relation
    expected: float
    allowance: float
    identity: bool = False
    half_width: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the measurement bears the prediction out; a NaN never does."""
        excess = self.measured - self.expected
        if self.relation == "=":
            return self.measured == self.expected or bool(abs(excess) <= self.allowance)
        return bool(excess <= self.allowance) if self.relation == "≤" else bool(-excess <= self.allowance)

    def row(self) -> dict[str, Any]:
        """The check as a row of the experiment's table."""
        return {
            "quantity": self.quantity,
            "measured": self.measured,
            "relation": self.relation,
            "expected": self.expected,
            "allowance": self.allowance,
            "holds": self.holds,
            "identity": self.identity,
            "half_width": self.half_width,
        }


class Estimate(NamedTuple):
    """A mean over independent draws and the half width of its 95 % interval; as text ``mean±half``."""

    mean: float
    half: float

    def __format__(self, spec: str) -> str:
        return f"{self.mean:{spec}}±{self.half:{spec.removeprefix('+')}}"


#: One number, or the mean of many draws.
Measured: TypeAlias = float | Estimate


class Margin(TypedDict, total=False):
    """What a check may say beside its numbers, as in :class:`Check`: nothing is allowed, and it is evidence."""

    allowance: float
    identity: bool


def estimate(samples: Any) -> Estimate:
    """Mean of independent samples, with Student's t.

    >>> f"{estimate([1.0, 2.0, 3.0]):.2f}"
    '2.00±2.48'
    """
    values = np.ravel(np.asarray(samples, dtype=np.float64))
    error = float(values.std(ddof=1) / np.sqrt(values.size))
    return Estimate(float(values.mean()), float(stdtrit(values.size - 1, 0.975)) * error)


@dataclass(frozen=True)
class Line:
    """One curve of a picture: ``role`` picks its stroke as in every other figure (measured, theory, …).

    Estimates are drawn with their intervals.
    """

    name: str
    x: Iterable[float]
    y: Iterable[float | Estimate]
    role: str = ""

    def plain(self) -> dict[str, Any]:
        """The curve as plain data; a value that is not finite is a gap."""
        values = [y if isinstance(y, Estimate) else Estimate(float(y), 0.0) for y in self.y]
        ends = {"y": 0, "low": -1, "high": 1} if any(value.half for value in values) else {"y": 0}
        held = {
            key: [float(v.mean + side * v.half) if np.isfinite(v.mean) else None for v in values]
            for key, side in ends.items()
        }
        return {"name": self.name, "role": self.role, "x": [float(x) for x in self.x], **held}


@dataclass(frozen=True)
class Picture:
    """A figure of what was measured; with ``powers`` y holds decimal logarithms and the axis powers of ten."""

    name: str
    title: str
    description: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    powers: bool = False
    marks: tuple[tuple[str, float], ...] = ()

    def plain(self) -> dict[str, Any]:
        """The picture as plain data, as a report holds it."""
        lines = [line.plain() for line in self.lines]
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "lines": lines, "marks": list(self.marks)}


@dataclass
class Experiment:
    """The checks and figures of one claim, in the order they were made."""

    checks: list[Check] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)

    def equal(self, quantity: str, measured: Measured, expected: float, **margin: Unpack[Margin]) -> float:
        """Predict ``expected`` ± ``allowance``; returns what was measured."""
        return self._add(quantity, measured, "=", expected, **margin)

    def at_most(self, quantity: str, measured: Measured, limit: float, **margin: Unpack[Margin]) -> float:
        """Predict no more than ``limit`` (and a rounding allowance)."""
        return self._add(quantity, measured, "≤", limit, **margin)

    def at_least(self, quantity: str, measured: Measured, limit: float, **margin: Unpack[Margin]) -> float:
        """Predict no less than ``limit``."""
        return self._add(quantity, measured, "≥", limit, **margin)

    def mean(self, quantity: str, samples: Any, expected: float, *, variance: float | None = None) -> Estimate:
        """Predict the mean of independent samples, to 4.5 standard errors (of the exact variance, where it is known).

        Returns
        -------
        Estimate
            The mean and the half width of its 95 % interval.
        """
        values = np.asarray(samples, dtype=np.float64)
        spread = float(values.var(ddof=1)) if variance is None else variance
        error = float(np.sqrt(spread / values.size))
        found = Estimate(float(values.mean()), 1.96 * error)
        self._add(quantity, found, "=", expected, allowance=STANDARD_ERRORS * error)
        return found

    def _add(
        self,
        quantity: str,
        measured: Measured,
        relation: Relation,
        expected: float,
        *,
        allowance: float = 0.0,
        identity: bool = False,
    ) -> float:
        value, half = measured if isinstance(measured, Estimate) else (float(measured), None)
        self.checks.append(Check(quantity, value, relation, float(expected), float(allowance), identity, half))
        return value

    def draw(self, picture: Picture) -> None:
        """Add a figure of what was measured."""
        self.pictures.append(picture)

    def finding(self, measured: str, expected: str, seen: str) -> Finding:
        """Sum up: two short texts of numbers, and what was seen in sentences; it agrees if every check holds."""
        return Finding(measured, expected, seen, tuple(self.checks), tuple(self.pictures))


@dataclass(frozen=True)
class Finding:
    """What an experiment gave.

    Attributes
    ----------
    measured, expected : str
        The main numbers, and what the right statement predicts for them.
    seen : str
        The same in sentences, for somebody who knows the article alone.
    checks : tuple of Check
        Everything that was held against a prediction.
    pictures : tuple of Picture
        Figures of what was measured, where a picture convinces.
    """

    measured: str
    expected: str
    seen: str
    checks: tuple[Check, ...]
    pictures: tuple[Picture, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether every prediction came true; one that can only hold (or none at all) has shown nothing."""
        return all(check.holds for check in self.checks) and not all(check.identity for check in self.checks)

    @property
    def failed(self) -> tuple[str, ...]:
        """The predictions that did not, each with its numbers."""
        return tuple(
            f"{c.quantity}: {c.measured:.6g}, expected {c.relation} {c.expected:.6g} ± {c.allowance:.2g}"
            for c in self.checks
            if not c.holds
        )


@dataclass(frozen=True)
class Claim:
    """One statement of the article.

    Attributes
    ----------
    id : str
        ``C01`` … ``C25``, as in docs/claims.md.
    statement : str
        What the article says, in English.
    verdict : {"true", "conditional", "false"}
        On the statement as it stands.
    experiment : callable
        From a seed to a finding; every random number comes from the stream (seed, "claims", id).
    method : str
        The experiment in a line.
    in_fact : str
        What is true instead, or under which conditions.
    """

    id: str
    statement: str
    verdict: Verdict
    experiment: Callable[[int], Finding]
    method: str
    in_fact: str
