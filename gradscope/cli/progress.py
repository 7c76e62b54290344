"""Progress on stderr: only for work that takes more than a second, only where somebody looks."""

from __future__ import annotations

import os
import sys
import threading
import time

from gradscope.text import printable, shortened

#: Nothing is shown before this many seconds, so that short runs stay silent; then something is, within a second of
#: the command's start, whatever part of the work is going on.
PATIENCE = 0.8
#: A terminal is refreshed this often; a CI log gets a plain line this often.
TERMINAL_EVERY, LOG_EVERY = 0.1, 10.0


class Progress:
    """A line that says what is done, how much, and how long it still takes.

    ``on`` writes plain lines even where stderr is no terminal; ``off`` writes nothing.
    """

    def __init__(self, mode: str = "auto", *, quiet: bool = False) -> None:
        self.terminal = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
        self.active = mode == "on" or (mode == "auto" and (self.terminal or bool(os.environ.get("CI"))))
        if quiet or mode == "off":
            self.active = False
        self.every = TERMINAL_EVERY if self.terminal else LOG_EVERY
        self.started = time.monotonic()
        self.part, self.part_started = "", self.started
        self.shown_at = self.started + PATIENCE - self.every
        self.width = 0
        self.heard = ("reading and building", 0, 0)
        self.lock = threading.Lock()
        self.first = threading.Timer(PATIENCE, self._speak_first)
        self.first.daemon = True

    def __enter__(self) -> Progress:
        if self.active:
            self.first.start()
        return self

    def _speak_first(self) -> None:
        """Say what was last heard of: a part that takes long need not report before somebody wonders."""
        with self.lock:
            self._show(time.monotonic())

    def __exit__(self, *_: object) -> None:
        self.first.cancel()
        with self.lock:
            self.active = False
            self._clear()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` steps of a part are over."""
        if not self.active:
            return
        with self.lock:
            self.heard = (label, done, total)
            self._show(time.monotonic())

    def _show(self, now: float) -> None:
        label, done, total = self.heard
        part = label.partition(" (")[0]  # a remark in brackets changes and is no new part
        if part != self.part:
            self.part, self.part_started = part, now
        if not self.active or now - self.shown_at < self.every:
            return
        self.shown_at = now
        text = shortened(printable(label), 60)
        if total:
            text += f": {100 * done // total} %"
        elapsed = now - self.part_started
        if done and elapsed > PATIENCE:
            text += f", {_span(elapsed * (total - done) / done)} left"
        if self.terminal:
            sys.stderr.write("\r" + text.ljust(self.width))
            self.width = len(text)
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self.terminal and self.width:
            sys.stderr.write("\r" + " " * self.width + "\r")
            sys.stderr.flush()
            self.width = 0


def _span(seconds: float) -> str:
    """12 s, 3 min, 2 h.

    >>> _span(200)
    '3 min'
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
