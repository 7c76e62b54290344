"""How a sweep scales: efficiency of one and two workers, overhead per point, rows per second of the store.

Prints a table for docs/scaling.md. Run on an idle machine: python benchmarks/sweep_scaling.py
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path

from gradscope.sweeps.engines import Here, Processes, available_cores
from gradscope.sweeps.grid_sweep import run_sweep
from gradscope.sweeps.plan import Plan, make_plan
from gradscope.sweeps.point import measure_group
from gradscope.sweeps.run_plan import run_points
from gradscope.sweeps.store import Store


def bare_seconds(plan: Plan) -> float:
    """Processor time of the points in a plain loop: no plan, no processes, no store."""
    here = Here()
    groups = [tuple(point.task for point in group) for group in plan.groups()]
    measure_group(groups[0])
    started = time.process_time()
    for tasks in groups:
        measure_group(tasks)
    here.stop(kill=False)
    return time.process_time() - started


def own_seconds(plan: Plan, jobs: int, store: Path) -> float:
    """Processor time of this process alone over a sweep: with workers, what the one writer spends on it."""
    started = time.process_time()
    run_sweep(plan, store=store, jobs=jobs)
    return time.process_time() - started


def steady_seconds(plan: Plan, jobs: int) -> float:
    """From the first finished point to the last, so that starting interpreters is left out."""
    finished: list[float] = []
    engine = Here() if jobs == 1 else Processes(jobs)
    run_points(plan.groups(), engine, lambda *_: finished.append(time.perf_counter()))
    return (finished[-1] - finished[0]) * len(finished) / (len(finished) - 1)


def processor_seconds(plan: Plan, jobs: int) -> float:
    """Processor time of parent and workers over a whole sweep."""

    def used() -> float:
        own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime

    before = used()
    run_points(plan.groups(), Here() if jobs == 1 else Processes(jobs), lambda *_: None)
    return used() - before


def store_rows_per_second(n_rows: int, folder: Path) -> float:
    """Rows appended one at a time, as a sweep does, synced once a second."""
    row = {"kind": "row", "result": 0, "source": "rnn", "gain": 0.5, "seed": 1, "log10_rate": -0.1234567890123456}
    row |= {f"field_{i}": 0.1234567890123456 * i for i in range(12)}
    with Store.open(folder / "rows.jsonl") as store:
        store.begin({"kind": "run", "schema": "gradscope/sweep/1"})
        started = time.perf_counter()
        for i in range(n_rows):
            store.add(f"{i:032x}", ({**row, "key": f"{i:032x}"},))
        return n_rows / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    table: dict[str, float] = {"cores": available_cores()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table["store_rows_per_s"] = store_rows_per_second(50_000, folder)
        small = make_plan(["rnn:hidden=4,inputs=1"], ["gain=0.5:1.4:0.1", "seed=1:50"], steps=4)
        bare = bare_seconds(small)
        table["bare_ms_per_point"] = 1e3 * bare / small.n_points
        here = own_seconds(small, 1, folder / "here.jsonl")
        table["overhead_ms_per_point_here"] = 1e3 * (here - bare) / small.n_points
        # Points that do not stack: every one is a task of its own.
        alone = make_plan(["rnn:hidden=2,inputs=1"], ["gain=0.5:1.4:0.1", "seed=1:20"], measure="spectrum")
        writer = own_seconds(alone, 2, folder / "alone.jsonl")
        table["writer_ms_per_unstacked_point"] = 1e3 * writer / alone.n_points
        writer = own_seconds(small, 2, folder / "small.jsonl")
        table["writer_ms_per_stacked_point"] = 1e3 * writer / small.n_points
        work = [make_plan(["rnn:hidden=48"], ["gain=1.2", f"seed=1:{n}"], steps=200) for n in (6, 30)]
        for jobs in (1, 2):
            # Two lengths, so that starting interpreters cancels; processor time, so that other users' load does too.
            short, long = (processor_seconds(plan, jobs) for plan in work)
            table[f"processor_ms_per_point_{jobs}_workers"] = 1e3 * (long - short) / 24
        large = make_plan(["rnn:hidden=48"], ["gain=1.2", "seed=1:24"], steps=200)
        one, two = steady_seconds(large, 1), steady_seconds(large, 2)
        table["ms_per_point_of_large"] = 1e3 * one / large.n_points
        table["speedup_of_two_workers"] = one / two
    print(json.dumps({key: round(value, 4) for key, value in table.items()}, indent=2))


if __name__ == "__main__":
    main()
