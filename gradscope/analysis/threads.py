"""How many BLAS threads: one for small matrices, the machine's for large ones, decided by measurement."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from gradscope.errors import UsageError

#: From this size of the largest matrix on a second thread pays. Below it adds overhead, or (at 2,048, on a machine
#: with other work) a fifth more processor time for the same wait (docs/performance.md has the measurements).
THREADED_FROM = 4096
#: More than any machine's cores, and less than what a BLAS library counts in.
MAX_THREADS = 4096


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_threads(requested: int | None, largest_matrix: int) -> int:
    """Threads for a run whose largest matrix really formed has this many rows: one, unless it is very large.

    Raises
    ------
    UsageError
        For fewer than one.
    """
    available = cores()
    if requested is not None:
        if not 1 <= requested <= MAX_THREADS:
            raise UsageError(f"--threads {requested}: wanted a whole number from 1 to {MAX_THREADS}.")
        return requested
    limit = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    if limit.isdigit() and int(limit) > 0:
        available = min(available, int(limit))
    return available if largest_matrix >= THREADED_FROM else 1


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Limit BLAS to ``count`` threads inside the block: libraries that are loaded, and those that still will be.

    scipy brings a BLAS of its own and is imported only where it is used; that one reads the environment as it loads.
    """
    from threadpoolctl import threadpool_limits

    unset = [name for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS") if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, str(count)))
    try:
        with threadpool_limits(limits=count, user_api="blas"):
            yield
    finally:
        for name in unset:
            os.environ.pop(name, None)
