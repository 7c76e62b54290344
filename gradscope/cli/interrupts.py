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


@contextmanager
def lasting_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT, and again every AGAIN seconds until the block is left."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
