"""What a workload is, and how it is timed: project and reference in turn, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Attributes
    ----------
    name : str
        ``A norms n=256 gain=0.9``: the letter is the workload of the table in docs/performance.md.
    reference_name : str
        What the reference does, in a few words.
    project, reference : callable
        No arguments; their times are compared.
    verify : callable
        Raises AssertionError unless the project's answer is right.
    target : float or None
        The ratio project/reference hoped for.
    """

    name: str
    reference_name: str
    project: Callable[[], object]
    reference: Callable[[], object]
    verify: Callable[[], None]
    target: float | None = None
    #: What part of the work the reference does; its time is divided by this.
    share: float = 1.0
    #: What counts: waiting, or processor time where that is what is promised.
    clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Timing:
    """Seconds and ratios of one workload; ``ratios`` are project/reference of each pair of neighbouring runs."""

    name: str
    reference_name: str
    target: float | None
    project_seconds: float
    reference_seconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    ratios: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)


#: A family builds its workloads when asked, so that a filtered run does not pay for the others.
Family = Callable[[], Iterator[Workload]]


def seconds_of(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call, waiting or whatever the clock counts."""
    start = clock()
    run()
    return clock() - start


def time_workload(workload: Workload, rounds: int) -> Timing:
    """Verify, then alternate reference and project; each project run is compared with the references around it.

    Shared machines drift within seconds: a ratio of neighbouring runs survives that, absolute times do not.
    """
    workload.verify()
    references = [seconds_of(workload.reference, workload.clock) / workload.share]
    projects, ratios = [], []
    for _ in range(rounds):
        projects.append(seconds_of(workload.project, workload.clock))
        references.append(seconds_of(workload.reference, workload.clock) / workload.share)
        ratios.append(projects[-1] / (0.5 * (references[-1] + references[-2])))
    return Timing(
        workload.name,
        workload.reference_name,
        workload.target,
        statistics.median(projects),
        statistics.median(references),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        ratios,
    )
