"""Work in a thread of its own, its results in the order it was asked for, and what it may take of a machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

#: Tasks that may wait for the thread; whoever asks for more waits himself.
MOST_WAITING = 2


class InOrder:
    """One worker thread, started with its first task."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[Any]] = deque()

    def add(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Ask for ``function(*arguments)``."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="gradscope")
        unfinished = [future for future in self._pending if not future.done()]
        if len(unfinished) > MOST_WAITING:
            unfinished[0].result()
        self._pending.append(self._pool.submit(function, *arguments))

    def done(self, *, wait: bool) -> Iterator[Any]:
        """Results that are there, from the first on; with ``wait`` all that were asked for."""
        while self._pending and (wait or self._pending[0].done()):
            yield self._pending.popleft().result()

    def close(self) -> None:
        """End the thread when its work is done."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Leave numpy's and scipy's BLAS one thread inside the block, and torch's own libraries as they are.

    The matrices of one layer are small: threads that wait for each other beside a training took 20 times as long.
    """
    from threadpoolctl import ThreadpoolController

    with ThreadpoolController().select(internal_api="openblas").limit(limits=1):
        yield
