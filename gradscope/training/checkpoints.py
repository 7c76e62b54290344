"""Checkpoints of one training run, measured in parallel on the sweep's machinery, and put in order."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope.analysis.request import Progress
from gradscope.errors import InputError, UsageError
from gradscope.records import Result, plain
from gradscope.sources.source import source_name
from gradscope.sources.spec import SourceSpec, parse_source, split_keys
from gradscope.sweeps.grid_sweep import kept_lines, report_header, run_missing
from gradscope.sweeps.plan import Plan, PlannedSource, option_files, sha256_of_file
from gradscope.sweeps.store import Store
from gradscope.training.columns import CHECKPOINT, MEASURED
from gradscope.training.steps import compiled, step_of
from gradscope.training.summary import summarise


@dataclass(frozen=True)
class Checkpoint:
    """A file of the run and where it stands in training."""

    spec: SourceSpec
    step: int | float | None


def in_training_order(files: Sequence[str], pattern: str | None) -> list[Checkpoint]:
    """The checkpoints by their steps; in the order given where one has none.

    A name with ``*`` that is no file stands for every file it matches, so that keys can follow it:
    ``'run/step-*.pt:param=rnn'``.

    Raises
    ------
    UsageError
        No files, a built network among them, a pattern that fits no name.
    InputError
        A ``*`` that matches nothing.
    """
    if not files:
        raise UsageError("series needs checkpoints, for example: gradscope series run/step-*.pt")
    names = [name for text in files for name in _expanded(text)]
    expression = compiled(pattern)
    found = []
    for text in names:
        spec = parse_source(text)
        if spec.kind != "file":
            raise UsageError(f"series reads checkpoints, and '{text}' is a network built here: give files")
        found.append(Checkpoint(spec, step_of(spec.name, expression)))
    if all(one.step is not None for one in found):
        found.sort(key=lambda one: one.step or 0)
    return found


def _expanded(text: str) -> list[str]:
    name, keys = split_keys(text)
    if not glob.has_magic(name) or Path(name).exists():
        return [text]
    matched = sorted(glob.glob(name))
    if not matched:
        raise InputError(f"{name}: matches no file")
    return [f"{one}{keys}" for one in matched]


def measure_checkpoints(
    checkpoints: Sequence[Checkpoint],
    options: Mapping[str, Any],
    *,
    settings: Mapping[str, Any],
    store: str | Path | None = None,
    fresh: bool = False,
    jobs: int | None = None,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Result]:
    """One result, or one per layer and direction where a checkpoint gives several; a broken one is a row.

    Parameters
    ----------
    options : mapping
        Fields of a :class:`~gradscope.analysis.request.GradientsRequest`.
    store : path, optional
        Rows are kept there as they finish. The same command continues there, and so does one with more checkpoints.
    jobs : int, optional
        Processes; the machine's cores by default.
    """
    sources = tuple(PlannedSource(one.spec, (), {"name": source_name(one.spec)}, several=True) for one in checkpoints)
    digests = {name: sha256_of_file(name) for name in sorted(option_files(options))}
    for one in checkpoints:
        try:
            digests[one.spec.name] = sha256_of_file(one.spec.name)
        except InputError:
            digests[one.spec.name] = f"unreadable {one.spec.name}"  # the worker says why, in its row
    plan = Plan("series", sources, False, options, digests)
    arguments: dict[str, Any] = {"jobs": jobs, "progress": progress, "label": "series"}
    if store is None:
        rows: dict[str, list[dict[str, Any]]] = {}
        run_missing(plan, rows, lambda point, lines: rows.__setitem__(point.key, lines), **arguments)
    else:
        with Store.open(store, fresh=fresh) as kept:
            header = report_header(plan, command, {})
            if kept.header is None:
                kept.begin(header)
            elif kept.header.get("plan", {}).get("measure") != "series":
                raise InputError(f"--store {store}: holds a sweep, not a series. Choose another file, or --fresh.")
            elif kept.header.get("plan") != header["plan"]:
                kept.rewrite(header)
            run_missing(plan, kept.rows, lambda point, lines: kept.add(*kept_lines(plan, point, lines)), **arguments)
            rows = dict(kept.rows)
    lines = [rows[point.key] for point in plan.points()]
    return _results(checkpoints, lines, settings)


def _results(
    checkpoints: Sequence[Checkpoint], lines: Sequence[Sequence[Mapping[str, Any]]], settings: Mapping[str, Any]
) -> list[Result]:
    good = [line for measured in lines for line in measured if line["status"] == "ok"]
    places = list(dict.fromkeys((line.get("layer"), line.get("direction")) for line in good)) or [(None, None)]
    return [_result(checkpoints, lines, settings, place) for place in places]


def _result(
    checkpoints: Sequence[Checkpoint],
    lines: Sequence[Sequence[Mapping[str, Any]]],
    settings: Mapping[str, Any],
    place: tuple[Any, Any],
) -> Result:
    """The rows of one layer and direction; a checkpoint that has none of it says so."""
    rows, said, about = [], dict[str, list[str]](), list[Mapping[str, Any]]()
    for one, measured in zip(checkpoints, lines, strict=True):
        line = next((m for m in measured if (m.get("layer"), m.get("direction")) == place), None)
        broken = next((m for m in measured if m["status"] != "ok"), None)
        name = source_name(one.spec)
        row: dict[str, Any] = dict.fromkeys(CHECKPOINT)
        row |= {"step": one.step, "file": name, "layer": place[0], "direction": place[1]}
        if broken is not None or line is None:
            row["error"] = broken["error"] if broken else "has no such layer and direction"
        else:
            row |= {field: line.get(field) for field in MEASURED}
            about.append(line)
            for text in line.get("warnings") or ():
                said.setdefault(text, []).append(name)
        rows.append(plain(row))
    names = [row["file"] for row in rows]
    source: dict[str, Any] = {
        "name": names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}",
        **{key: about[0].get(key) if about else None for key in ("cell", "hidden", "layers", "state_size")},
        **{key: value for key, value in zip(("layer", "direction"), place, strict=True) if value is not None},
        "sha256": None,  # each row is another network
    }
    apart = [key for key in ("cell", "hidden", "layers") if len({line.get(key) for line in about}) > 1]
    warnings = [f"the checkpoints differ in {', '.join(apart)}: they are not of one run"] if apart else []
    warnings += [
        text if len(where) == len(about) else f"{where[0]}{' and others' if len(where) > 1 else ''}: {text}"
        for text, where in said.items()
    ]
    if any(row["step"] is None for row in rows) and len(rows) > 1:
        warnings.append("not every name holds a step, so the order is the one given: name it with --step PATTERN")
    shown = [name for name in CHECKPOINT if name not in ("layer", "direction") or place != (None, None)]
    columns = {name: [row[name] for row in rows] for name in shown}
    settings = {**settings, **(about[0].get("settings") or {} if about else {})}
    return Result(source, settings, columns, summarise(rows), tuple(warnings))
