"""Run the claims, side by side in processes where asked, and put them into one result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gradscope.analysis.request import Progress
from gradscope.analysis.threads import blas_threads, choose_threads
from gradscope.article_claims.claim import Finding
from gradscope.article_claims.registry import choose_claims, load_claim
from gradscope.errors import UsageError
from gradscope.records import Result


@dataclass(frozen=True)
class Outcome:
    """One claim measured: its finding, and how long it took."""

    name: str
    finding: Finding
    seconds: float


def measure_claim(name: str, seed: int) -> Outcome:
    """Run one claim's experiment with one BLAS thread, so that no number depends on what runs beside it."""
    claim = load_claim(name)
    with blas_threads(1):
        started = time.perf_counter()
        finding = claim.experiment(seed)
        return Outcome(name, finding, time.perf_counter() - started)


def available_jobs() -> int:
    """The cores this process may use."""
    return choose_threads(None, 2**31)


def measure_claims(
    names: Sequence[str] = (), *, seed: int = 0, jobs: int = 1, progress: Progress | None = None
) -> Result:
    """Measure claims (all by default): one row each, in the article's order, the same whatever ``jobs`` is.

    Parameters
    ----------
    names : sequence of str
        ``"C06"``, …
    jobs : int
        Processes. Each claim draws from a stream of its own, so the numbers depend on ``seed`` alone.
    progress : callable, optional
        Called as ``progress("claims", done, total)``.
    """
    chosen = choose_claims(names)
    if seed < 0:
        raise UsageError(f"--seed {seed}: wanted a whole number ≥ 0.")
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: wanted a whole number ≥ 1.")

    def tell(done: int) -> None:
        if progress is not None:
            progress("claims", done, len(chosen))

    tell(0)
    outcomes = dict(_outcomes(chosen, seed, min(jobs, len(chosen)), tell))
    return result_of([outcomes[name] for name in chosen], seed)


def _outcomes(
    chosen: Sequence[str], seed: int, jobs: int, tell: Callable[[int], None]
) -> Iterator[tuple[str, Outcome]]:
    if jobs == 1:
        for done, name in enumerate(chosen, start=1):
            yield name, measure_claim(name, seed)
            tell(done)
        return
    with _processes(jobs) as pool:
        futures = [pool.submit(measure_claim, name, seed) for name in chosen]
        for done, future in enumerate(as_completed(futures), start=1):
            outcome = future.result()
            yield outcome.name, outcome
            tell(done)


@contextmanager
def _processes(jobs: int) -> Iterator[Executor]:
    """Fresh processes with one BLAS thread each, which end with this one however it ends."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from gradscope.sweeps.worker import start_worker

    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=start_worker, initargs=(theirs,))
    try:
        yield pool
    except BaseException:
        # The life line first: nobody waits for an experiment whose answer is no longer wanted.
        ours.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        ours.close()
        theirs.close()


def result_of(outcomes: Sequence[Outcome], seed: int) -> Result:
    """The rows of the contract, and each experiment's table in ``details``."""
    claims = [load_claim(outcome.name) for outcome in outcomes]
    columns: dict[str, Any] = {
        "id": [claim.id for claim in claims],
        "claim": [claim.statement for claim in claims],
        "verdict": [claim.verdict for claim in claims],
        "method": [claim.method for claim in claims],
        "seen": [outcome.finding.seen for outcome in outcomes],
        "in_fact": [claim.in_fact for claim in claims],
        "measured": [outcome.finding.measured for outcome in outcomes],
        "expected": [outcome.finding.expected for outcome in outcomes],
        "agrees": [outcome.finding.agrees for outcome in outcomes],
        "seconds": [outcome.seconds for outcome in outcomes],
    }
    failed = [(o.name, line) for o in outcomes for line in o.finding.failed]
    warnings = [f"{name} came out against the prediction: {line}; try another --seed" for name, line in failed]
    agree = sum(columns["agrees"])
    verdicts = columns["verdict"]
    return Result(
        source={
            "name": "the article's claims",
            "cell": None,
            "hidden": None,
            "layers": None,
            "state_size": None,
            "sha256": None,
        },
        settings={"seed": seed, "claims": columns["id"]},
        columns=columns,
        summary={
            "claims": len(claims),
            "agree": agree,
            "disagree": len(claims) - agree,
            "checks": sum(len(outcome.finding.checks) for outcome in outcomes),
            **{verdict: verdicts.count(verdict) for verdict in ("true", "conditional", "false")},
        },
        warnings=tuple(warnings),
        details={
            "experiments": {o.name: [check.row() for check in o.finding.checks] for o in outcomes},
            "figures": {o.name: [picture.plain() for picture in o.finding.pictures] for o in outcomes},
        },
    )
