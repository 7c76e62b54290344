"""What a worker process does before its first point: one BLAS thread, no interest in Ctrl-C, a life line to its parent.

Imports nothing heavy at the top: the number of BLAS threads is read when numpy loads.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

_limits: list[Any] = []


def start_worker(lifeline: Connection) -> None:
    """Initialise a worker; it ends at once when the other end of ``lifeline`` closes, however the parent died."""
    follow_parent(lifeline)
    use_one_thread()
    import gradscope.analysis.gradient_results
    import gradscope.sources.build  # noqa: F401  warm before the first point arrives


def follow_parent(lifeline: Connection) -> None:
    """Leave Ctrl-C to the parent, and end with it."""
    # Ctrl-C reaches the whole terminal group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    _end_by_signal(lifeline)


def use_one_thread() -> None:
    """One BLAS thread, for speed (many small matrices) and so that rows do not depend on the machine's load."""
    if _limits:
        return
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    # numpy and scipy bring a BLAS each; both have to be loaded to be limited.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    _limits.append(threadpool_limits(limits=1, user_api="blas"))


def _end_with_parent(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


def _end_by_signal(lifeline: Connection) -> None:
    """Ask the system for SIGIO when the life line closes: a long LAPACK call holds the interpreter, not the signal."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(lifeline.fileno(), fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(lifeline.fileno(), fcntl.F_GETFL)
        fcntl.fcntl(lifeline.fileno(), fcntl.F_SETFL, flags | os.O_ASYNC)
