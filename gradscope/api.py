"""The Python API: one function per verb, the same words as the command line, records out.

>>> import gradscope
>>> report = gradscope.gradients("rnn:hidden=8", steps=20)
>>> report.results[0].summary["bound_violations"]
0
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradscope._version import __version__
from gradscope.analysis.environment import describe_environment
from gradscope.analysis.request import GradientsRequest, Progress, RunRequest
from gradscope.analysis.threads import blas_threads, choose_threads
from gradscope.errors import UsageError, did_you_mean
from gradscope.records import Report, Result
from gradscope.sources.build import build_source
from gradscope.sources.live import SourceLike, spec_of
from gradscope.sources.source import Source

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from gradscope.sources.layer_weights import WeightFile


def build(source: SourceLike, *, seed: int = 0, dtype: str = "float64") -> Source:
    """Build or read what a SOURCE names: the network, its recurrent blocks, its record."""
    return build_source(spec_of(source), seed=seed, dtype=dtype)


def load(path: str | Path) -> WeightFile | Report:
    """Read a stored result (``.json``, ``.jsonl``), or every recurrent layer of a weights file."""
    path = Path(path)
    if path.suffix.lower() in (".json", ".jsonl"):
        from gradscope.reports.json_report import read_report

        return read_report(path)
    from gradscope.sources.files import read_weights

    return read_weights(path)


def check(report: Report, *expressions: str, warn: Sequence[str] = ()) -> Report:
    """Judge a report by gates, as ``--fail-on`` and ``--warn-on`` do; the outcome is in ``gates``."""
    from gradscope.reports.gates import evaluate

    return replace(report, gates=evaluate(report, expressions, tuple(warn)))


def _request(cls: type[Any], options: dict[str, Any]) -> Any:
    try:
        return cls(**options)
    except TypeError as problem:
        raise UsageError(f"unknown option: {problem}") from None


def assemble(
    verb: str,
    results: Iterable[Result],
    *,
    command: Sequence[str] | None,
    sources: Sequence[str],
    seed: int,
    threads: int | None,
) -> Report:
    """A report around results."""
    return Report(
        schema=f"gradscope/{verb}/1",
        gradscope=__version__,
        command=tuple(command if command is not None else (verb, *sources)),
        seed=seed,
        environment=describe_environment(threads),
        results=tuple(results),
    )


def measure(
    verb: str,
    sources: Sequence[SourceLike],
    request: RunRequest,
    measure_one: Callable[[Source, Any], list[Result]],
    *,
    threads: int | None = None,
    command: Sequence[str] | None = None,
) -> Report:
    """Build each source, measure it under the right number of BLAS threads, and gather the results."""
    if not sources:
        raise UsageError(f"{verb} needs at least one SOURCE, for example: gradscope {verb} rnn")
    specs = [spec_of(source) for source in sources]
    built = [build_source(spec, seed=request.seed, dtype=request.dtype) for spec in specs]
    largest = max(int(source.record["state_size"]) for source in built)
    count = choose_threads(threads, largest)
    with blas_threads(count):
        results = [result for source in built for result in measure_one(source, request)]
    return assemble(
        verb, results, command=command, sources=[spec.text for spec in specs], seed=request.seed, threads=count
    )


def gradients(
    *sources: SourceLike, threads: int | None = None, command: Sequence[str] | None = None, **options: Any
) -> Report:
    """Measure the gradient at every lag, beside theory and bounds.

    Parameters
    ----------
    *sources : str
        As on the command line.
    **options
        The fields of :class:`~gradscope.analysis.request.GradientsRequest`: ``steps``, ``inputs``, ``seed``, …
    """
    from gradscope.analysis.gradients import measure_gradients

    request = _request(GradientsRequest, options)
    return measure("gradients", sources, request, measure_gradients, threads=threads, command=command)


def spectrum(
    *sources: SourceLike, threads: int | None = None, command: Sequence[str] | None = None, **options: Any
) -> Report:
    """Eigendecompose every recurrent block and say how far from normal it is.

    ``options`` are the fields of :class:`~gradscope.analysis.spectrum.SpectrumRequest`.
    """
    from gradscope.analysis.spectrum import SpectrumRequest, measure_spectrum

    request = _request(SpectrumRequest, options)
    return measure("spectrum", sources, request, measure_spectrum, threads=threads, command=command)


def lyapunov(
    *sources: SourceLike, threads: int | None = None, command: Sequence[str] | None = None, **options: Any
) -> Report:
    """Lyapunov exponents in nats per step, with intervals and a verdict on convergence.

    ``options`` are the fields of :class:`~gradscope.analysis.lyapunov.LyapunovRequest`.
    """
    from gradscope.analysis.lyapunov import LyapunovRequest, measure_exponents

    request = _request(LyapunovRequest, options)
    return measure("lyapunov", sources, request, measure_exponents, threads=threads, command=command)


def advise(
    *sources: SourceLike, threads: int | None = None, command: Sequence[str] | None = None, **options: Any
) -> Report:
    """What to change, and what each change does, measured on the changed network.

    ``options`` are the fields of :class:`~gradscope.advice.request.AdviceRequest`: those of ``gradients``, and
    ``reach``, ``clip_percentile``, ``clip_batch``, ``only``.
    """
    from gradscope.advice.advise import measure_advice
    from gradscope.advice.request import AdviceRequest

    request = _request(AdviceRequest, options)
    return measure("advise", sources, request, measure_advice, threads=threads, command=command)


def inspect(*sources: SourceLike, command: Sequence[str] | None = None) -> Report:
    """List what each source holds: modules, cells, gates, conventions. Nothing is computed."""
    from gradscope.analysis.inspect_file import inspect_source

    if not sources:
        raise UsageError("inspect needs at least one SOURCE, for example: gradscope inspect model.safetensors")
    specs = [spec_of(source) for source in sources]
    results = [inspect_source(spec) for spec in specs]
    words = [spec.text for spec in specs]
    return assemble("inspect", results, command=command, sources=words, seed=0, threads=None)


def claims(
    *names: str,
    seed: int = 0,
    jobs: int = 1,
    command: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure the article's claims, each beside what the right statement predicts.

    Parameters
    ----------
    *names : str
        ``"C06"``, …; all of them by default.
    jobs : int
        Processes; the numbers depend on ``seed`` alone. More than one needs the usual ``__main__`` guard in scripts.
    """
    from gradscope.article.run import measure_claims

    result = measure_claims(names, seed=seed, jobs=jobs, progress=progress)
    words = command if command is not None else ("claims", *(f"--claim={name}" for name in names))
    return assemble("claims", [result], command=words, sources=(), seed=seed, threads=1)


def sweep(
    *sources: str,
    vary: Sequence[str],
    measure: str = "gradients",
    zipped: bool = False,
    store: str | Path | None = None,
    jobs: int | None = None,
    dask: str | None = None,
    executor: Executor | None = None,
    fresh: bool = False,
    extend: bool = False,
    fail_fast: bool = False,
    value: str | None = None,
    command: Sequence[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Measure a grid of points: a row per point, the varied keys and then the summary fields.

    Parameters
    ----------
    *sources : str
        As on the command line.
    vary : sequence of str
        ``"gain=0.5:1.5:0.1"``, ``"init=gaussian,orthogonal"``, ``"hidden=log:16:256:5"``, ``"T=50,100"``.
    store : path, optional
        JSON Lines, kept row by row; the same call continues where it stopped.
    jobs, dask, executor
        Processes here; the address of a Dask scheduler; or any ``concurrent.futures.Executor`` (loky, mpi4py.futures),
        which stays the caller's.
    value : str, optional
        The field that a heat map shows.
    **options
        The fields of the measure's request: ``steps``, ``inputs``, ``seed``, ``epsilon``, …
    """
    from gradscope.sweeps.plan import make_plan
    from gradscope.sweeps.sweep import run_sweep

    plan = make_plan(sources, vary, measure=measure, zipped=zipped, **options)
    if value is not None and value not in plan.columns(0):
        known = ", ".join(plan.columns(0))
        raise UsageError(f"--value: no column '{value}'.{did_you_mean(value, plan.columns(0))} Known: {known}.")
    return run_sweep(
        plan,
        store=store,
        jobs=jobs,
        dask=dask,
        executor=executor,
        fresh=fresh,
        extend=extend,
        fail_fast=fail_fast,
        command=command if command is not None else ("sweep", *sources),
        shown={} if value is None else {"value": value},
        progress=progress,
    )
