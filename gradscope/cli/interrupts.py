"""Ctrl-C that cannot get lost: Python drops a KeyboardInterrupt that arrives inside a C callback or a finaliser."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

#: Seconds after which an interrupt that had no effect is raised again.
AGAIN = 0.4
#: What ends a run from outside, with the word for it; the exit code is 128 and the signal's number.
_WORDS = {"SIGHUP": "hung up", "SIGINT": "interrupted", "SIGTERM": "terminated"}

_received: list[int] = []


def ended_by() -> tuple[int, str]:
    """Exit code and word of the signal that ended the run; Ctrl-C where none was seen."""
    number = _received[0] if _received else int(signal.SIGINT)
    return 128 + number, _WORDS[signal.Signals(number).name]


@contextmanager
def lasting_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP, and again every AGAIN seconds until the block is left."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        if number != signal.SIGALRM:
            _received.append(number)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise KeyboardInterrupt

    _received.clear()
    # nohup ignores SIGHUP on purpose, and what is ignored stays so.
    wanted = [signal.SIGINT, signal.SIGALRM, signal.SIGTERM, signal.SIGHUP]
    wanted = [number for number in wanted if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
