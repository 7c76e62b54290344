"""What ``advise`` asks on top of ``gradients``."""

from __future__ import annotations

from dataclasses import dataclass, fields

from gradscope.advice.changes import KINDS
from gradscope.analysis.request import GradientsRequest
from gradscope.errors import UsageError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class AdviceRequest(GradientsRequest):
    """What ``advise`` asks on top of ``gradients``.

    Attributes
    ----------
    reach : int or None
        Lag at which the h corner should still be at least epsilon; ``need``, else T, where None.
    clip_percentile : float
        Percentile of the gradient's norm that is proposed for clipping.
    clip_batch : int
        Sequences whose mean gradient is clipped.
    only : tuple of str
        Kinds of change to look into; all where empty.
    jobs : int
        Processes that measure changes; the numbers do not depend on it.
    """

    reach: int | None = None
    clip_percentile: float = 95.0
    clip_batch: int = 1
    only: tuple[str, ...] = ()
    jobs: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wrt != "state":
            raise UsageError("advise judges how far gradients with respect to states reach: leave --wrt out.")
        if self.factors:
            raise UsageError("advise measures changes, not the factors of one gradient: leave --factors out.")
        if self.reach is not None and self.reach < 0:
            raise UsageError(f"--reach {self.reach}: wanted a lag ≥ 0.")
        if not 0 < self.clip_percentile <= 100:
            raise UsageError(f"--clip-percentile {self.clip_percentile:g}: wanted a number above 0, at most 100.")
        if self.clip_batch < 1:
            raise UsageError(f"--clip-batch {self.clip_batch}: wanted a whole number ≥ 1.")
        if self.jobs < 1:
            raise UsageError(f"-j/--jobs {self.jobs}: wanted a whole number ≥ 1.")
        for kind in self.only:
            if kind not in KINDS:
                raise UsageError(f"--only {kind}: wanted one of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")

    def wants(self, kind: str) -> bool:
        """Whether this kind of change is to be looked into."""
        return not self.only or kind in self.only

    def gradients_request(self, **changed: object) -> GradientsRequest:
        """The same question as ``gradients`` would be asked, every lag kept."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(GradientsRequest)}
        return GradientsRequest(**{**own, "lags": None, "lags_text": None, "figures": False, **changed})
