"""A Python of its own that measures while a network trains.

A thread would share the interpreter's lock with the training: each of its many short calls into torch would wait for
Python code that measures. The process is started by name, as a program: it does not run the training's script again, as
``multiprocessing`` would, and inherits nothing by forking, which threads and CUDA do not survive.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gradscope.errors import GradscopeError

#: Seconds between two looks whether whoever asked is still there.
LOOK_EVERY = 1.0
#: What the process runs: the training's own places to import from, and nothing of its main module.
PROGRAM = "import sys; sys.path[:] = {path!r}; from gradscope.torch.helper_process import serve; serve({parent})"


class HelperEnded(GradscopeError):
    """The process is gone: out of memory, or ended from outside. The next call starts another."""


class HelperProcess:
    """Computes what it is sent, one call at a time; started by the first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)`` there; here, where no Python can be started (an application frozen into one file).

        Raises
        ------
        HelperEnded
            The process ended instead of answering.
        """
        if self._process is None:
            self._start()
        if self._process is None:
            return function(*arguments)
        there, back = self._process.stdin, self._process.stdout
        assert there is not None
        assert back is not None
        try:
            pickle.dump((function, arguments), there, protocol=5)
            there.flush()
            return pickle.load(back)
        except (OSError, EOFError, pickle.UnpicklingError) as problem:
            self._process.kill()
            code = self._process.wait()
            self.close()
            raise HelperEnded(f"the process that measures has ended (exit code {code})") from problem

    def close(self) -> None:
        """Let it end; what is forgotten ends as well."""
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _start(self) -> None:
        self._process = _started()
        if self._process is not None:
            self._end = weakref.finalize(self, _ended, self._process)


def _started() -> subprocess.Popen[bytes] | None:
    if getattr(sys, "frozen", False) or not sys.executable:
        return None  # the executable is the application, which would begin once more
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
    program = PROGRAM.format(path=sys.path, parent=os.getpid())
    try:
        return subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | one_thread,
            start_new_session=True,  # Ctrl-C is the training's: what was under way is finished when it closes
        )
    except OSError:
        return None


def _ended(process: subprocess.Popen[bytes]) -> None:
    """Its calls are over, so it ends by itself."""
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):
            pipe.close()
    process.wait()


def serve(parent: int) -> None:
    """Answer calls from standard input until it ends, or the parent does."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(10)  # the training comes first where no core is idle
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    with suppress(EOFError, BrokenPipeError):  # nobody asks, or listens, any more
        while True:
            function, arguments = pickle.load(asked)
            pickle.dump(function(*arguments), answers, protocol=5)
            answers.flush()


def _end_with(parent: int) -> None:
    """A killed parent may leave its end of the pipe to children of its own."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    os._exit(0)
