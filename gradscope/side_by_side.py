"""Independent results side by side, in forked processes: the numbers are those of one after the other, bit for bit.

A fork shares what was read, built and run already, so that nothing is imported, read or sent twice, and a part of half
a second is worth a process. Where there is no safe fork (macOS, Windows) parts run one after the other.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any, TypeAlias

from gradscope.analysis.request import Progress
from gradscope.errors import GradscopeError
from gradscope.records import Result
from gradscope.sweeps.worker import follow_parent

#: One result, or those that are measured together.
Part: TypeAlias = Callable[[], list[Result]]
#: Seconds between two reports of a process on how far it is.
REPORT_EVERY = 0.2


class Relay:
    """A progress callback that works on either side of a fork: a child's words go up to its parent."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.connection: Connection | None = None
        self._said = 0.0

    def __call__(self, label: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` steps of a part are over."""
        if self.connection is None:
            if self.progress is not None:
                self.progress(label, done, total)
            return
        now = time.monotonic()
        if now - self._said >= REPORT_EVERY:
            self._said = now
            self.connection.send(("progress", (label, done, total)))


def can_fork() -> bool:
    """Whether a process may be forked safely; macOS's own libraries break in a forked child."""
    return sys.platform.startswith("linux")


def measure_parts(parts: Sequence[Part], jobs: int, relay: Relay) -> list[Result]:
    """The results of every part, in order, on ``jobs`` processes.

    Raises
    ------
    GradscopeError
        What the first part that fails raises, in the order of the parts; or a process that was killed.
    """
    if jobs < 2 or len(parts) < 2 or not can_fork():
        return [result for part in parts for result in part()]
    with _Crew(min(jobs, len(parts)), parts, relay) as crew:
        return crew.results()


class _Crew:
    """Processes that ask for one part after the other."""

    def __init__(self, size: int, parts: Sequence[Part], relay: Relay) -> None:
        context = get_context("fork")
        self._parts, self._relay = parts, relay
        self._lines = [context.Pipe(duplex=False) for _ in range(size)]
        self._ours, self._theirs = map(list, zip(*(context.Pipe() for _ in range(size)), strict=True))
        self._processes: list[ForkProcess] = []
        for place in range(size):
            process = context.Process(target=self._work, args=(place,), daemon=True)
            with warnings.catch_warnings():
                # Python 3.12 warns of threads beside a fork: the one here only counts the seconds to the first word.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            self._processes.append(process)
        for theirs in self._theirs:
            theirs.close()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *problem: object) -> None:
        for (reader, writer), process in zip(self._lines, self._processes, strict=True):
            writer.close()
            process.kill()
            process.join()
            reader.close()

    def _work(self, place: int) -> None:
        """A child's whole life; it leaves without the exit handlers, which are its parent's."""
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM), signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        lifeline, connection = self._lines[place][0], self._theirs[place]
        # What a fork copies of the others' ends would keep them open beyond their owners' lives.
        for end in (*self._ours, *self._theirs, *(writer for _, writer in self._lines)):
            if end is not connection:
                end.close()
        follow_parent(lifeline)
        self._relay.connection = connection
        while (index := connection.recv()) is not None:
            try:
                outcome: Any = self._parts[index]()
            except BaseException as problem:
                problem.add_note(traceback.format_exc())
                outcome = problem
            connection.send(("done", (index, outcome)))
        os._exit(0)

    def results(self) -> list[Result]:
        """Hand out parts in order until all are done, or one has failed and those before it are done."""
        outcomes: dict[int, Any] = {}
        doing: dict[int, int | None] = {}
        following = 0

        def hand_out(worker: int) -> None:
            nonlocal following
            more = following < len(self._parts) and not any(isinstance(o, BaseException) for o in outcomes.values())
            doing[worker] = following if more else None
            self._ours[worker].send(doing[worker])
            following += more

        for worker in range(len(self._processes)):
            hand_out(worker)
        while any(index is not None for index in doing.values()):
            failed = [index for index, outcome in outcomes.items() if isinstance(outcome, BaseException)]
            if failed and all(index is None or index > min(failed) for index in doing.values()):
                break
            busy = {self._ours[worker]: worker for worker, index in doing.items() if index is not None}
            for ready in wait(list(busy)):
                worker = busy[ready]
                kind, what = self._heard(worker)
                if kind == "done":
                    outcomes[what[0]] = what[1]
                    hand_out(worker)
                elif doing[worker] == min(index for index in doing.values() if index is not None):
                    label, done, total = what
                    self._relay(f"{label} ({len(outcomes)} of {len(self._parts)} results)", done, total)
        failed = [index for index, outcome in outcomes.items() if isinstance(outcome, BaseException)]
        if failed:
            raise outcomes[min(failed)]
        return [result for index in range(len(self._parts)) for result in outcomes[index]]

    def _heard(self, worker: int) -> Any:
        try:
            return self._ours[worker].recv()
        except (EOFError, ConnectionError):
            self._processes[worker].join()
            code = self._processes[worker].exitcode
            raise GradscopeError(
                f"a process that measured one of the results ended early (exit code {code}), most likely for memory.\n"
                "Measure one after the other (-j 1), or with a smaller --memory."
            ) from None
