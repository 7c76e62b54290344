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
from gradscope.sweeps.point import Rows, failed_row, measure_point

#: A point that takes its worker with it this often, running alone, is given up.
ATTEMPTS = 2
LOST = "its worker died twice (out of memory, or killed); run it alone with: gradscope"

#: ``keep(point, rows)``: called once per finished point, in the order they finish.
Keep = Callable[[Point, Rows], None]


@dataclass
class _Flight:
    """A point on its way, how often it took a worker down, and whether it flies alone."""

    point: Point
    deaths: int = 0


def run_points(points: Iterable[Point], engine: Engine, keep: Keep, *, fail_fast: bool = False) -> None:
    """Measure every point, at most ``engine.window`` at a time; the engine is stopped in any case.

    A dead worker breaks its pool: the points that were in flight are measured again one by one, so that the one that
    kills its worker is found and the others are not blamed.

    Raises
    ------
    UntrustedNumbersError
        With ``fail_fast``, at the first point that fails; everything finished before is kept.
    """
    finished: SimpleQueue[tuple[_Flight, Future[Any]]] = SimpleQueue()
    waiting = iter(points)
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
            flight, future = finished.get()
            flying -= 1
            if future.cancelled():
                raise InputError(
                    "the workers went away with points in flight; start them and run the same sweep again."
                )
            problem = future.exception()
            if problem is None:
                _deliver(flight.point, future.result(), keep, fail_fast)
            elif isinstance(problem, BrokenExecutor):
                landed = [(flight, future), *(finished.get() for _ in range(flying))]
                flying = 0
                engine.renew()
                for lost, its_future in landed:
                    if its_future.exception() is None:
                        _deliver(lost.point, its_future.result(), keep, fail_fast)
                        continue
                    lost.deaths += len(landed) == 1
                    if lost.deaths >= ATTEMPTS:
                        _deliver(lost.point, [_lost_row(lost.point)], keep, fail_fast)
                    else:
                        suspects.append(lost)
            elif type(problem).__name__ == "KilledWorker":  # distributed's word for the same, after its own retries
                _deliver(flight.point, [_lost_row(flight.point)], keep, fail_fast)
            else:
                raise problem
        clean = True
    finally:
        if not clean:
            _drain(finished, keep)
        engine.stop(kill=not clean)


def _next(waiting: Iterator[Point], suspects: deque[_Flight], flying: int, window: int) -> Iterator[_Flight]:
    """What may take off now: suspects one at a time and alone, otherwise as many as the window holds."""
    if suspects:
        if not flying:
            yield suspects.popleft()
        return
    for _ in range(window - flying):
        point = next(waiting, None)
        if point is None:
            return
        yield _Flight(point)


def _submit(engine: Engine, flight: _Flight, finished: SimpleQueue[tuple[_Flight, Future[Any]]]) -> bool:
    try:
        future = engine.submit(measure_point, flight.point.task)
    except BrokenExecutor:
        return False
    future.add_done_callback(lambda done: finished.put((flight, done)))
    return True


def _deliver(point: Point, rows: Rows, keep: Keep, fail_fast: bool) -> None:
    failed = next((row for row in rows if row["status"] != "ok"), None)
    if failed is not None and fail_fast:
        where = ", ".join(f"{key}={value}" for key, value in point.values.items())
        raise UntrustedNumbersError(f"the point {where} failed: {failed['error']}")
    keep(point, rows)


def _lost_row(point: Point) -> dict[str, Any]:
    return failed_row(f"{LOST} {point.task.measure}")


def _drain(finished: SimpleQueue[tuple[_Flight, Future[Any]]], keep: Keep) -> None:
    """Keep what had finished but was not looked at when the end came."""
    while True:
        try:
            flight, future = finished.get_nowait()
        except Empty:
            return
        if not future.cancelled() and future.exception() is None:
            rows = future.result()
            if all(row["status"] == "ok" for row in rows):
                keep(flight.point, rows)
