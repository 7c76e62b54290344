"""How a report comes about: sources are built and measured on the right number of cores, results are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from gradscope._version import __version__
from gradscope.analysis.environment import describe_environment
from gradscope.analysis.request import RunRequest
from gradscope.analysis.threads import blas_threads, choose_threads, cores
from gradscope.errors import UsageError
from gradscope.keywords import changed_options, command_of, whole
from gradscope.records import Report, Result
from gradscope.sources.build import build_source
from gradscope.sources.live import SourceLike, spec_of
from gradscope.sources.source import Source


def assemble(
    verb: str,
    results: Iterable[Result],
    *,
    command: Sequence[str],
    seed: int,
    threads: int | None,
) -> Report:
    """A report around results."""
    return Report(
        schema=f"gradscope/{verb}/1",
        gradscope=__version__,
        command=tuple(command),
        seed=seed,
        environment=describe_environment(threads),
        results=tuple(results),
    )


#: What gives the results of one source, each part by itself.
PartsOf: TypeAlias = Callable[[Source, Any], list[Callable[[], list[Result]]]]


def measure(
    verb: str,
    sources: Sequence[SourceLike],
    request: RunRequest,
    parts_of: PartsOf,
    *,
    threads: int | str | None = None,
    jobs: int | str | None = 1,
    command: Sequence[str] | None = None,
) -> Report:
    """Build each source, measure it under the right number of BLAS threads, and gather the results.

    Without ``command`` the report's is the command line, or Python call, that gives the same numbers. ``jobs=None``
    takes the cores there are where two or more results take long, and one BLAS thread does for each.
    """
    if not sources:
        raise UsageError(f"{verb} needs at least one SOURCE, for example: gradscope {verb} rnn")
    threads = None if threads is None else whole("threads", threads)
    jobs = None if jobs is None else whole("jobs", jobs)
    if jobs is not None and jobs < 1:
        raise UsageError(f"-j/--jobs {jobs}: wanted a whole number ≥ 1.")
    specs = [spec_of(source) for source in sources]
    built = [build_source(spec, seed=request.seed, dtype=request.dtype) for spec in specs]
    largest = max(source.largest_matrix for source in built)
    count = choose_threads(threads, largest)
    if jobs is None:
        jobs = _jobs_that_pay(verb, built, request) if threads is None and count == 1 else 1
    with blas_threads(count):
        if jobs == 1:
            results = [result for source in built for part in parts_of(source, request) for result in part()]
        else:
            from gradscope.side_by_side import Relay, measure_parts

            relay = Relay(request.progress)
            asked = replace(request, progress=relay)
            results = measure_parts([part for source in built for part in parts_of(source, asked)], jobs, relay)
    words = command_of(verb, specs, changed_options(request, threads)) if command is None else command
    return assemble(verb, results, command=words, seed=request.seed, threads=count)


def _jobs_that_pay(verb: str, sources: Sequence[Source], request: RunRequest) -> int:
    if len(sources) == 1 and not sources[0].gives_several_results:
        return 1
    from gradscope.analysis.worth import pays_apart

    return cores() if pays_apart(verb, sources, request) else 1
