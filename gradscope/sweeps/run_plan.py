"""Run a plan: submit, collect, keep; what is finished stays finished whatever happens next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from gradscope.errors import InputError, UntrustedNumbersError
from gradscope.sweeps.engines import Engine
from gradscope.sweeps.plan import Point
from gradscope.sweeps.point import Rows, failed_row, measure_group

#: A point that takes its worker with it this often, running alone, is given up.
ATTEMPTS = 2
LOST = "its worker died each time (out of memory, or killed): run it alone, or with fewer --jobs"

#: Seconds without a finished point after which the engine looks after its workers.
LOOK_EVERY = 5.0

#: ``keep(point, rows)``: called once per finished point, in the order they finish.
Keep = Callable[[Point, Rows], None]
Group = tuple[Point, ...]


@dataclass
class _Flight:
    """A group of points on its way, and how often it took a worker down when it flew alone."""

    points: Group
    deaths: int = 0


def run_points(groups: Iterable[Group], engine: Engine, keep: Keep, *, fail_fast: bool = False) -> None:
    """Measure every group, at most ``engine.window`` at a time; the engine is stopped in any case.

    A dead worker breaks its pool: the groups that were in flight are measured again one by one, so that the one that
    kills its worker is found and the others are not blamed.

    Raises
    ------
    UntrustedNumbersError
        With ``fail_fast``, at the first point that fails; everything finished before is kept.
    """
    finished: SimpleQueue[tuple[_Flight, Future[Any]]] = SimpleQueue()
    waiting = iter(groups)
    suspects: deque[_Flight] = deque()
    flying = 0
    clean = False
    try:
        while True:
            for flight in _next(waiting, suspects, flying, engine.window):
                if not _submit(engine, flight, finished):
                    # The pool broke between two submissions; the points in flight, if any, will say so too.
                    suspects.append(flight)
                    if not flying:
                        engine.renew()
                    break
                flying += 1
            if not flying:
                if not suspects:
                    break
                continue
            flight, future = _wait(finished, engine)
            flying -= 1
            if future.cancelled():
                raise InputError(
                    "the workers went away with points in flight; start them and run the same sweep again."
                )
            problem = future.exception()
            if problem is None:
                _deliver(flight, future.result(), keep, fail_fast)
            elif isinstance(problem, BrokenExecutor):
                landed = [(flight, future), *(finished.get() for _ in range(flying))]
                flying = 0
                engine.renew()
                for lost, its_future in landed:
                    if its_future.exception() is None:
                        _deliver(lost, its_future.result(), keep, fail_fast)
                        continue
                    lost.deaths += len(landed) == 1
                    if lost.deaths < ATTEMPTS:
                        suspects.append(lost)
                    elif len(lost.points) > 1:
                        suspects += [_Flight((point,)) for point in lost.points]
                    else:
                        _deliver(lost, _lost_rows(lost.points), keep, fail_fast)
            elif type(problem).__name__ == "KilledWorker":  # distributed's word for the same, after its own retries
                _deliver(flight, _lost_rows(flight.points), keep, fail_fast)
            else:
                raise problem
        clean = True
    finally:
        if not clean:
            _drain(finished, keep)
        engine.stop(kill=not clean)


def _wait(finished: SimpleQueue[tuple[_Flight, Future[Any]]], engine: Engine) -> tuple[_Flight, Future[Any]]:
    """The next group that lands; while none does, the engine looks whether anybody is working at all."""
    while True:
        try:
            return finished.get(timeout=LOOK_EVERY)
        except Empty:
            engine.look()


def _next(waiting: Iterator[Group], suspects: deque[_Flight], flying: int, window: int) -> Iterator[_Flight]:
    """What may take off now: suspects one at a time and alone, otherwise as many as the window holds."""
    if suspects:
        if not flying:
            yield suspects.popleft()
        return
    for _ in range(window - flying):
        group = next(waiting, None)
        if group is None:
            return
        yield _Flight(group)


def _submit(engine: Engine, flight: _Flight, finished: SimpleQueue[tuple[_Flight, Future[Any]]]) -> bool:
    try:
        future = engine.submit(measure_group, tuple(point.task for point in flight.points))
    except BrokenExecutor:
        return False
    future.add_done_callback(lambda done: finished.put((flight, done)))
    return True


def _deliver(flight: _Flight, outcome: list[Rows], keep: Keep, fail_fast: bool) -> None:
    for point, rows in zip(flight.points, outcome, strict=True):
        failed = next((row for row in rows if row["status"] != "ok"), None)
        if failed is not None and fail_fast:
            where = ", ".join(f"{key}={value}" for key, value in point.values.items())
            raise UntrustedNumbersError(f"the point {where} failed: {failed['error']}")
        keep(point, rows)


def _lost_rows(points: Group) -> list[Rows]:
    return [[failed_row(LOST)] for _ in points]


def _drain(finished: SimpleQueue[tuple[_Flight, Future[Any]]], keep: Keep) -> None:
    """Keep what had finished but was not looked at when the end came."""
    while True:
        try:
            flight, future = finished.get_nowait()
        except Empty:
            return
        if not future.cancelled() and future.exception() is None:
            for point, rows in zip(flight.points, future.result(), strict=True):
                if all(row["status"] == "ok" for row in rows):
                    keep(point, rows)
