"""Where points are computed: here, in spawned processes, on a Dask cluster, on any ``concurrent.futures.Executor``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

from gradscope.analysis.threads import cores
from gradscope.errors import InputError, MissingExtraError, UsageError
from gradscope.sweeps.worker import start_worker, use_one_thread

#: Seconds that a Dask cluster may be without workers (between two jobs of a queue, say) before a sweep gives up.
WITHOUT_WORKERS = 30.0


class Engine:
    """What runs tasks.

    Attributes
    ----------
    window : int
        Tasks in flight at most.
    """

    window: int

    def submit(self, function: Callable[..., Any], task: Any) -> Future[Any]:
        """Hand over one task."""
        raise NotImplementedError

    def renew(self) -> None:
        """Replace workers that died; nothing where somebody else does it."""

    def look(self) -> None:
        """See that somebody is working; called while nothing finishes.

        A point that takes long is no reason to worry: dead workers break their pool.
        """

    def stop(self, *, kill: bool) -> None:
        """Let the workers go, unless they are somebody else's; ``kill`` does not wait for what they are doing."""


class Here(Engine):
    """Points one after the other in this process."""

    window = 1

    def __init__(self) -> None:
        import scipy.linalg  # noqa: F401  its BLAS has to be loaded to be limited
        from threadpoolctl import threadpool_limits

        self._limits = threadpool_limits(limits=1, user_api="blas")

    def submit(self, function: Callable[..., Any], task: Any) -> Future[Any]:
        """Compute at once; what goes wrong is raised where the result is asked for, Ctrl-C here and now."""
        future: Future[Any] = Future()
        future.set_result(function(task))
        return future

    def stop(self, *, kill: bool) -> None:
        """Give BLAS its threads back."""
        self._limits.restore_original_limits()


class _RecordingContext(SpawnContext):
    """Spawn, remembering every process, so that an interrupt can end them without waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[BaseProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> BaseProcess:  # type: ignore[override]
        process = _Worker(*args, **kwargs)
        self.started.append(process)
        return process


class _Worker(SpawnProcess):
    """A process that does not run the caller's script again: tasks are the package's own, and need nothing of it.

    So a script, or a notebook's file, may call a verb without ``if __name__ == "__main__":``.
    """

    def start(self) -> None:
        """Start, with the main module nameless while the child is told what to import."""
        main = vars(sys.modules["__main__"])
        kept: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
        main.pop("__file__", None)
        main["__spec__"] = None
        try:
            super().start()
        finally:
            main.pop("__spec__", None)
            main.update(kept)


class Processes(Engine):
    """Spawned processes on this machine, one BLAS thread each, which end when this process ends, however it ends."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.window = jobs, 2 * jobs + 2
        self._context = _RecordingContext()
        self._reader, self._writer = self._context.Pipe(duplex=False)
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.jobs, mp_context=self._context, initializer=start_worker, initargs=(self._reader,)
        )

    def submit(self, function: Callable[..., Any], task: Any) -> Future[Any]:
        return self._pool.submit(function, task)

    def renew(self) -> None:
        """A pool that lost a worker takes no more work: build another."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._end_processes()
        self._pool = self._new_pool()

    def stop(self, *, kill: bool) -> None:
        self._pool.shutdown(wait=not kill, cancel_futures=True)
        self._writer.close()
        if kill:
            self._end_processes()
        self._reader.close()

    def _end_processes(self) -> None:
        for process in self._context.started:
            with suppress(ValueError, OSError):  # closed by its pool already
                process.kill()
        self._context.started.clear()


class Given(Engine):
    """Any executor: loky, mpi4py.futures, a cluster's. It belongs to the caller, who also ends it."""

    def __init__(self, executor: Executor, window: int) -> None:
        self.executor, self.window = executor, window

    def submit(self, function: Callable[..., Any], task: Any) -> Future[Any]:
        return self.executor.submit(in_one_thread, function, task)

    def renew(self) -> None:
        """Nothing this side can do for somebody else's workers."""
        raise InputError(
            "the executor lost its workers and takes no more points; start it again and run the same sweep."
        )


def in_one_thread(function: Callable[..., Any], task: Any) -> Any:
    """Call a function with BLAS on one thread, in a worker that knows nothing of it."""
    use_one_thread()
    return function(task)


class Dask(Engine):
    """An existing Dask cluster, through ``concurrent.futures``; its scheduler moves a dead worker's points itself."""

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise MissingExtraError("--dask needs the extra: pip install distributed") from None
        try:
            client_class: Any = distributed.Client
            self._client = client_class(address, timeout=5, set_as_default=False)
        except (OSError, ValueError, TypeError) as problem:
            raise InputError(f"--dask {address}: no scheduler answers there ({problem}).") from None
        cores = sum(self._client.nthreads().values())
        if not cores:
            self._client.close()
            raise InputError(f"--dask {address}: the scheduler has no workers. Start some: dask worker {address}")
        self._address, self._seen = address, time.monotonic()
        self.window = 2 * cores + 2
        self._executor = self._client.get_executor()

    def submit(self, function: Callable[..., Any], task: Any) -> Future[Any]:
        future: Future[Any] = self._executor.submit(in_one_thread, function, task)
        return future

    def look(self) -> None:
        """Give up when the scheduler has had no workers for a while: points would wait for ever, in silence.

        Raises
        ------
        InputError
        """
        try:
            cores = sum(self._client.nthreads().values())
        except Exception as problem:  # whatever distributed raises when its scheduler has gone
            raise InputError(
                f"--dask {self._address}: the scheduler has gone ({type(problem).__name__}); "
                "start it and run the same sweep again."
            ) from None
        now = time.monotonic()
        self._seen = now if cores else self._seen
        if now - self._seen > WITHOUT_WORKERS:
            raise InputError(
                f"--dask {self._address}: no workers for {WITHOUT_WORKERS:.0f} s, and points are waiting.\n"
                f"Start some (dask worker {self._address}) and run the same sweep again."
            )

    def stop(self, *, kill: bool) -> None:
        """Leave the cluster running; forget what it was doing for us."""
        self._executor.shutdown(wait=not kill)
        self._client.close()


def choose_engine(jobs: int | None, dask: str | None, executor: Executor | None) -> Engine:
    """The engine that was asked for.

    Raises
    ------
    UsageError
        Two of them, or no job at all.
    """
    if dask is not None and (executor is not None or jobs is not None):
        raise UsageError("--dask brings its own workers: drop -j/--jobs.")
    if jobs is not None and jobs < 1:
        raise UsageError(f"-j/--jobs {jobs}: wanted a whole number ≥ 1.")
    if executor is not None:
        return Given(executor, 2 * (jobs or cores()) + 2)
    if dask is not None:
        return Dask(dask)
    count = jobs or cores()
    return Here() if count == 1 else Processes(count)
