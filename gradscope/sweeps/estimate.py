"""``--dry-run``: how many points, how long, how much memory, from one timed point; nothing is kept."""

from __future__ import annotations

import time
import tracemalloc
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gradscope.analysis.threads import cores
from gradscope.sweeps.engines import Here
from gradscope.sweeps.plan import Plan, Point
from gradscope.sweeps.point import measure_point

#: A worker without work: interpreter, numpy and scipy, measured with resource.getrusage.
WORKER_BYTES = 110 * 2**20


@dataclass(frozen=True)
class Estimate:
    """What a sweep will cost.

    Attributes
    ----------
    seconds_per_point : float
        Of the last point of the plan, usually the largest, on one core.
    seconds : float
        All of it with ``jobs`` workers.
    """

    points: int
    jobs: int
    seconds_per_point: float
    seconds: float
    bytes_per_worker: int
    first: tuple[Point, ...]
    error: str | None

    def lines(self) -> list[str]:
        """The estimate in words."""
        out = [
            f"{self.points} point{'s' if self.points != 1 else ''}",
            f"about {span(self.seconds)} with {self.jobs} worker{'s' if self.jobs != 1 else ''} "
            f"({1000 * self.seconds_per_point:.3g} ms for the last point)",
            f"about {self.bytes_per_worker / 2**20:.0f} MiB for each worker",
        ]
        if self.error is not None:
            out.append(f"the timed point failed: {self.error}")
        out.append("first points:")
        out += ["  " + ", ".join(f"{k}={v}" for k, v in point.values.items()) for point in self.first]
        return out


def span(seconds: float) -> str:
    """Seconds for people.

    >>> span(5400), span(0.5)
    ('1.5 h', '0.5 s')
    """
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"


def estimate(plan: Plan, jobs: int | None = None) -> Estimate:
    """Time one point and multiply."""
    first = tuple(islice(plan.points(), 5))
    last = deque(plan.points(), maxlen=1)[0]
    here = Here()
    try:
        rows = measure_point(last.task)  # imports, caches
        started = time.perf_counter()
        rows = measure_point(last.task)
        seconds = time.perf_counter() - started
        tracemalloc.start()
        measure_point(last.task)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    finally:
        here.stop(kill=False)
    error: Any = next((row["error"] for row in rows if row["status"] != "ok"), None)
    count = jobs or cores()
    return Estimate(
        plan.n_points, count, seconds, seconds * plan.n_points / min(count, plan.n_points),
        WORKER_BYTES + peak, first, error,
    )  # fmt: skip
