"""The Python API: one function per verb, the same words as the command line, records out.

>>> import gradscope
>>> report = gradscope.gradients("rnn:hidden=8", steps=20)
>>> report.results[0].summary["bound_violations"]
0
"""

from __future__ import annotations

from collections.abc import Sequence

from gradscope.analysis.request import Progress
from gradscope.errors import UsageError
from gradscope.keywords import command_of, known_names_only, whole
from gradscope.measure_sources import assemble
from gradscope.measuring import advise, gradients, lyapunov, spectrum
from gradscope.records import Report
from gradscope.sources.build import build_source
from gradscope.sources.live import SourceLike, spec_of
from gradscope.sources.source import Source
from gradscope.stored import check, diff, load, show
from gradscope.sweeping import sweep

__all__ = [
    "advise",
    "build",
    "check",
    "claims",
    "diff",
    "gradients",
    "inspect",
    "load",
    "lyapunov",
    "show",
    "spectrum",
    "sweep",
]


def build(source: SourceLike, *, seed: int = 0, dtype: str = "float64") -> Source:
    """Build or read what a SOURCE names: the network, its recurrent blocks, its record.

    Parameters
    ----------
    source : str, path, mapping, model, array, or (one of these, keys)
        As for :func:`gradients`.
    seed : int
        Of built weights.
    dtype : {"float64", "float32"}

    Returns
    -------
    Source
        ``network``, ``blocks``, ``record``, ``warnings``.

    Raises
    ------
    GradscopeError
        As for :func:`gradients`.
    """
    return build_source(spec_of(source), seed=seed, dtype=dtype)


@known_names_only
def inspect(*sources: SourceLike, command: Sequence[str] | None = None) -> Report:
    """List what each source holds: modules, cells, gates, conventions. Nothing is computed.

    Parameters
    ----------
    *sources : str, path, mapping, model, array, or (one of these, keys)
        As for :func:`gradients`.
    command : sequence of str, optional
        What the report says of how it was made.

    Returns
    -------
    Report

    Raises
    ------
    GradscopeError
        As for :func:`gradients`.
    """
    from gradscope.analysis.inspect_source import inspect_source

    if not sources:
        raise UsageError("inspect needs at least one SOURCE, for example: gradscope inspect model.safetensors")
    specs = [spec_of(source) for source in sources]
    results = [inspect_source(spec) for spec in specs]
    words = command_of("inspect", specs, {}) if command is None else command
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
    seed : int
        Of every random matrix and input.
    jobs : int
        Processes; the numbers depend on ``seed`` alone. More than one needs the usual ``__main__`` guard in scripts.
    command, progress
        As for :func:`gradients`.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        A claim that there is not.
    """
    from gradscope.article_claims.run_claims import measure_claims

    seed, jobs = whole("seed", seed), whole("jobs", jobs)
    result = measure_claims(names, seed=seed, jobs=jobs, progress=progress)
    words = ("claims", *(f"--claim={name}" for name in names), *(("--seed", str(seed)) if seed else ()))
    return assemble("claims", [result], command=words if command is None else command, seed=seed, threads=1)
