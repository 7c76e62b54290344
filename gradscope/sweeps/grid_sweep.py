"""The whole of a sweep: plan, open the store, run what is missing, report in plan order."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import chain
from pathlib import Path
from typing import Any

from gradscope._version import __version__
from gradscope.analysis.environment import describe_environment
from gradscope.analysis.request import Progress
from gradscope.errors import InputError
from gradscope.records import Report, Result, plain
from gradscope.reports.json_report import end_line
from gradscope.sweeps.engines import Here, choose_engine
from gradscope.sweeps.plan import FILE_OPTIONS, SCHEMA, Plan, Point
from gradscope.sweeps.point import Rows
from gradscope.sweeps.run_plan import Group, run_points
from gradscope.sweeps.store import Store

#: Without -j, points are measured here for this long before processes are started: a small sweep is done by then.
PATIENCE = 1.0
_MUST_AGREE = ("schema", "version", "measure", "sources", "files", "options", "keys")
_ENVIRONMENT = ("python", "numpy", "scipy", "blas", "blas_architecture")

RowsByKey = dict[str, list[dict[str, Any]]]


def run_sweep(
    plan: Plan,
    *,
    store: str | Path | None = None,
    jobs: int | None = None,
    dask: str | None = None,
    executor: Executor | None = None,
    fresh: bool = False,
    extend: bool = False,
    fail_fast: bool = False,
    command: Sequence[str] = (),
    shown: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure every point of a plan that its store does not hold yet.

    Parameters
    ----------
    store : path, optional
        Rows are kept there as they finish; without it they are in the report only.
    jobs, dask, executor
        Where points run, see :mod:`gradscope.sweeps.engines`.
    shown : mapping, optional
        Settings for the views: ``value`` (the field a map shows), ``pivot``.

    Raises
    ------
    InputError
        The store belongs to another sweep, another process, or a full disk.
    """
    header = report_header(plan, command, shown or {})
    arguments: dict[str, Any] = {
        "jobs": jobs,
        "dask": dask,
        "executor": executor,
        "fail_fast": fail_fast,
        "progress": progress,
    }
    if store is None:
        rows: RowsByKey = {}
        run_missing(plan, rows, lambda point, lines: rows.__setitem__(point.key, lines), **arguments)
        return report_of(plan, rows, header, ())
    with Store.open(store, fresh=fresh) as kept:
        warnings = _continue(kept, plan, header, extend=extend)
        run_missing(plan, kept.rows, lambda point, lines: kept.add(*kept_lines(plan, point, lines)), **arguments)
        report = report_of(plan, kept.rows, header, warnings)
        if not kept.ended:
            kept.end(end_line(report))
    return report


def kept_lines(plan: Plan, point: Point, lines: list[dict[str, Any]]) -> tuple[str, Iterator[dict[str, Any]]]:
    """A point's key and its lines as a store keeps them."""
    name = str(plan.sources[point.result].record["name"])
    lead = {"kind": "row", "result": point.result, "source": name, "key": point.key}
    n = len(lines)
    parts = ({**lead, **({"part": [i, n]} if n > 1 else {}), **line} for i, line in enumerate(lines, start=1))
    return point.key, parts


def run_missing(
    plan: Plan,
    done: RowsByKey,
    keep: Any,
    *,
    jobs: int | None = None,
    dask: str | None = None,
    executor: Executor | None = None,
    fail_fast: bool = False,
    progress: Progress | None = None,
    label: str = "sweep",
) -> None:
    """Measure the points that ``done`` does not hold, and hand each to ``keep(point, lines)``."""
    total, finished, measured, failed = plan.n_points, 0, 0, 0
    started = time.monotonic()
    columns = [plan.columns(result) for result in range(len(plan.sources))]

    def missing() -> Iterator[Group]:
        nonlocal finished
        for group in plan.groups():
            known = sum(point.key in done for point in group)
            finished += known
            # A group is measured whole or not at all: its last digits depend on what it is stacked with.
            if known < len(group):
                yield group

    def count(point: Point, rows: Rows) -> None:
        nonlocal finished, failed, measured
        if point.key in done:
            return
        keep(point, [_full_row(columns[point.result], point, row) for row in rows])
        finished += 1
        failed += any(row["status"] != "ok" for row in rows)
        measured += 1
        if progress is not None:
            rate = measured / max(time.monotonic() - started, 1e-3)
            remark = f"{rate:.3g} points/s" + (f", {failed} failed" if failed else "")
            progress(f"{label} ({remark})", finished, total)

    points = missing()
    if jobs is None and dask is None and executor is None:
        run_points(_for_a_while(points, PATIENCE), Here(), count, fail_fast=fail_fast)
    first = next(points, None)
    if first is None:
        return
    if jobs is not None:
        jobs = min(jobs, max(1, total - finished))
    run_points(chain([first], points), choose_engine(jobs, dask, executor), count, fail_fast=fail_fast)


def _for_a_while(groups: Iterator[Group], seconds: float) -> Iterator[Group]:
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        group = next(groups, None)
        if group is None:
            return
        yield group


def _full_row(columns: Sequence[str], point: Point, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with every column, the varied keys as asked for; absent fields are null."""
    return {name: plain(point.values.get(name, row.get(name))) for name in columns}


# --- the store's run line -----------------------------------------------------------------------------------


def report_header(plan: Plan, command: Sequence[str], shown: Mapping[str, Any]) -> dict[str, Any]:
    """The run line: what a JSONL report begins with, and the plan."""
    return {
        "kind": "run",
        "schema": SCHEMA,
        "gradscope": __version__,
        "command": list(command) or ["sweep"],
        "seed": int(plan.options.get("seed", 0)),
        "environment": plain(describe_environment(1)),
        "results": [
            {"source": plain(source.record), "settings": settings_of(plan, shown), "columns": plan.columns(index)}
            for index, source in enumerate(plan.sources)
        ],
        "points": plan.n_points,
        "plan": plan.identity(),
        "plans": [_digest(plan)],
    }


def settings_of(plan: Plan, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The ``settings`` object: what varied, what was measured, and what stayed."""
    varied = {axis.name for axis in plan.sources[0].axes if axis.role == "option"}
    fixed = {k: v for k, v in plan.options.items() if k not in varied and k not in ("memory", "progress")}
    for name in FILE_OPTIONS:
        if fixed.get(name) is not None:
            fixed[name] = Path(str(fixed[name])).name
    return plain({"vary": plan.vary, "zip": plan.zipped, "measure": plan.measure, **shown, **fixed})  # type: ignore[no-any-return]


def _digest(plan: Plan) -> str:
    return hashlib.sha256(json.dumps(plan.identity(), sort_keys=True).encode()).hexdigest()[:32]


def _continue(store: Store, plan: Plan, header: dict[str, Any], *, extend: bool) -> tuple[str, ...]:
    """Begin a new store, continue one of the same plan, or extend one; warnings about what differs."""
    if store.header is None:
        store.begin(header)
        return ()
    known = store.header.get("plans", [])
    if _digest(plan) not in known:
        old, new = store.header.get("plan", {}), header["plan"]
        differing = [name for name in _MUST_AGREE if old.get(name) != new[name]]
        if differing:
            what = ", ".join(differing)
            raise InputError(
                f"--store {store.path}: holds another sweep (its {what} differ). "
                "Choose another file, or start over with --fresh."
            )
        if not extend:
            raise InputError(
                f"--store {store.path}: holds another plan over the same keys ({len(store.rows)} points measured).\n"
                "Add to it with --extend, start over with --fresh, or choose another file."
            )
        store.rewrite({**header, "plans": [*known, *header["plans"]]})
    then, now = store.header.get("environment", {}), header["environment"]
    changed = [f"{k} {then.get(k)} then, {now[k]} now" for k in _ENVIRONMENT if k in then and then[k] != now[k]]
    if not changed or all(point.key in store.rows for point in plan.points()):
        return ()
    return (f"rows may differ in their last digits: {'; '.join(changed)}. For one environment, use --fresh",)


# --- the report ---------------------------------------------------------------------------------------------


def report_of(plan: Plan, rows: RowsByKey, header: Mapping[str, Any], warnings: tuple[str, ...]) -> Report:
    """The report of a plan from rows by key, in plan order."""
    tables: list[dict[str, list[Any]]] = [{name: [] for name in plan.columns(i)} for i in range(len(plan.sources))]
    points, failed = [0] * len(tables), [0] * len(tables)
    for point in plan.points():
        lines = rows[point.key]
        points[point.result] += 1
        failed[point.result] += any(line["status"] != "ok" for line in lines)
        for line in lines:
            for name, column in tables[point.result].items():
                column.append(line.get(name))
    results = []
    for i, columns in enumerate(tables):
        summary = {"points": points[i], "failed": failed[i]}
        opened = header["results"][i]
        results.append(Result(opened["source"], opened["settings"], columns, summary, warnings))
    return Report(
        schema=header["schema"],
        gradscope=header["gradscope"],
        command=tuple(header["command"]),
        seed=header["seed"],
        environment=header["environment"],
        results=tuple(results),
    )
