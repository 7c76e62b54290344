"""The Python API: one function per verb, the same words as the command line, records out.

>>> import gradscope
>>> report = gradscope.gradients("rnn:hidden=8", steps=20)
>>> report.results[0].summary["bound_violations"]
0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradscope.analysis.request import Progress
from gradscope.errors import UsageError, did_you_mean
from gradscope.keywords import command_of, known_names_only, whole
from gradscope.measuring import advise, assemble, gradients, lyapunov, spectrum
from gradscope.records import Report
from gradscope.sources.build import build_source
from gradscope.sources.live import SourceLike, spec_of
from gradscope.sources.source import Source

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from gradscope.sources.layer_weights import WeightFile


__all__ = [
    "advise",
    "build",
    "check",
    "claims",
    "gradients",
    "inspect",
    "load",
    "lyapunov",
    "spectrum",
    "sweep",
]


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


def check(report: Report, *expressions: str, warn: Sequence[str] = (), expect: Sequence[str] = ()) -> Report:
    """Judge a report by gates, as ``--fail-on``, ``--warn-on`` and ``--expect`` do; the outcome is in ``gates``."""
    from gradscope.reports.gates import evaluate

    return replace(report, gates=evaluate(report, expressions, tuple(warn), tuple(expect)))


@known_names_only
def inspect(*sources: SourceLike, command: Sequence[str] | None = None) -> Report:
    """List what each source holds: modules, cells, gates, conventions. Nothing is computed."""
    from gradscope.analysis.inspect_file import inspect_source

    if not sources:
        raise UsageError("inspect needs at least one SOURCE, for example: gradscope inspect model.safetensors")
    specs = [spec_of(source) for source in sources]
    results = [inspect_source(spec) for spec in specs]
    words = command_of("inspect", specs, None, None) if command is None else command
    return assemble("inspect", results, command=words, seed=0, threads=None)


@known_names_only
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

    seed, jobs = whole("seed", seed), whole("jobs", jobs)
    result = measure_claims(names, seed=seed, jobs=jobs, progress=progress)
    words = ("claims", *(f"--claim={name}" for name in names), *(("--seed", str(seed)) if seed else ()))
    return assemble("claims", [result], command=words if command is None else command, seed=seed, threads=1)


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
