"""From ``--vary`` to the points of a sweep, in order, each with a key that says exactly what was measured."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice, product
from pathlib import Path
from typing import Any

from gradscope._version import __version__
from gradscope.errors import GradscopeError, InputError, UsageError
from gradscope.ranges import MAX_POINTS
from gradscope.records import plain
from gradscope.sources.build import build_source
from gradscope.sources.source import source_name
from gradscope.sources.spec import SourceSpec, known_keys, parse_source
from gradscope.sweeps.point import MEASURES, Task, fields_of, make_request, request_class
from gradscope.sweeps.values import Axis, is_file_value, read_axis

SCHEMA = "gradscope/sweep/1"
#: Hexadecimal digits of a key: 128 bits of sha256 tell 10⁹ points apart beyond doubt.
KEY_DIGITS = 32
#: Options that may name a file: its content decides the numbers, and workers find it from where they stand.
FILE_OPTIONS = ("inputs", "state", "readout", "target", "tokens")
#: Keys that change numbers and no shapes, so that points that differ in them can be measured in one stack.
STACKABLE = {"gain", "input_gain", "bias", "forget_bias", "init", "chrono_max", "seed", "epsilon", "classes"}
#: Points of a group, at most, the largest state for which a stack pays (measured), and the numbers their tapes hold.
MAX_GROUP, STACKED_UP_TO, GROUP_TAPE = 32, 40, 2**22


@dataclass(frozen=True, slots=True)
class Point:
    """One point: where it stands in the plan, the varied values, its key and what a worker does for it."""

    index: int
    result: int
    values: dict[str, Any]
    key: str
    task: Task


@dataclass(frozen=True)
class PlannedSource:
    """One SOURCE of a sweep with its varied keys."""

    spec: SourceSpec
    axes: tuple[Axis, ...]
    record: Mapping[str, Any]
    several: bool


@dataclass(frozen=True)
class Plan:
    """Every point of a sweep.

    Attributes
    ----------
    zipped : bool
        Values are paired instead of crossed.
    options : mapping
        Fields of the request that were given, before variation.
    digests : mapping
        Path → sha256 of every file that is read.
    """

    measure: str
    sources: tuple[PlannedSource, ...]
    zipped: bool
    options: Mapping[str, Any]
    digests: Mapping[str, str]

    @property
    def vary(self) -> dict[str, str]:
        """Key → values as written."""
        return {axis.key: axis.text for axis in self.sources[0].axes}

    @property
    def n_points(self) -> int:
        return sum(self._count(source) for source in self.sources)

    def _count(self, source: PlannedSource) -> int:
        sizes = [len(axis.values) for axis in source.axes]
        return (sizes[0] if sizes else 1) if self.zipped else math.prod(sizes)

    def columns(self, result: int) -> list[str]:
        """The columns of a source's rows: varied keys, then summary fields, status and error."""
        lead = [*self.vary, *(("layer", "direction") if self.sources[result].several else ())]
        return list(dict.fromkeys([*lead, *fields_of(self.measure, self.options), "status", "error"]))

    def identity(self) -> dict[str, Any]:
        """What makes two sweeps the same one; every byte of a row follows from it."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "measure": self.measure,
            "sources": [source_name(source.spec) for source in self.sources],
            "files": sorted(self.digests.values()),
            "options": plain(_public(self.options, self.digests)),
            "keys": list(self.vary),
            "values": [[plain(axis.values) for axis in source.axes] for source in self.sources],
            "zip": self.zipped,
        }

    def points(self) -> Iterator[Point]:
        """Every point, in order: the last key runs fastest."""
        index = 0
        for result, source in enumerate(self.sources):
            lists = [axis.values for axis in source.axes]
            for values in zip(*lists, strict=True) if self.zipped and lists else product(*lists):
                yield self._point(index, result, source, values)
                index += 1

    def groups(self) -> Iterator[tuple[Point, ...]]:
        """Every point, in groups that are measured together; the plan alone decides who is with whom.

        Points are together that differ in numbers only (gain, seed, …) and are small enough for a stack to pay.
        """
        waiting: dict[tuple[Any, ...], list[Point]] = {}
        for point in self.points():
            axes = self.sources[point.result].axes
            shape = (point.result, *(point.values[axis.key] for axis in axes if axis.name not in STACKABLE))
            group = waiting.setdefault(shape, [])
            group.append(point)
            if len(group) >= self._group_size(point):
                yield tuple(waiting.pop(shape))
        for group in waiting.values():
            yield tuple(group)

    def _group_size(self, point: Point) -> int:
        source = self.sources[point.result]
        if self.measure != "gradients" or source.spec.kind != "cell":
            return 1
        hidden = int(point.values.get("hidden", source.spec["hidden"]))
        steps = int(point.values.get("T", point.values.get("steps", self.options.get("steps", 100))))
        batch = int(point.values.get("batch", self.options.get("batch", 1)))
        if hidden > STACKED_UP_TO:
            return 1
        return max(1, min(MAX_GROUP, GROUP_TAPE // (batch * max(1, steps) * hidden)))

    def _point(self, index: int, result: int, source: PlannedSource, values: Sequence[Any]) -> Point:
        spec, keys, options = source.spec, dict(source.spec.given), dict(self.options)
        for axis, value in zip(source.axes, values, strict=True):
            (keys if axis.role == "source" else options)[axis.name] = value
        names = {_absolute(name): name for name in self.digests if _absolute(name) != name}
        text = f"{_absolute(spec.name) if spec.kind == 'file' else spec.name}" + _written(keys)
        for name in FILE_OPTIONS:
            if options.get(name) in self.digests:
                options[name] = _absolute(options[name])
        canonical = {
            "schema": SCHEMA,
            "version": __version__,
            "measure": self.measure,
            "kind": spec.kind,
            "source": spec.name if spec.kind == "cell" else self.digests[spec.name],
            "keys": _without_defaults(spec, keys),
            "options": {**_public(options, {_absolute(k): v for k, v in self.digests.items()})},
        }
        text_of_point = json.dumps(canonical, sort_keys=True, allow_nan=False)
        key = hashlib.sha256(text_of_point.encode()).hexdigest()[:KEY_DIGITS]
        task = Task(self.measure, text, options, names)
        return Point(index, result, {a.key: v for a, v in zip(source.axes, values, strict=True)}, key, task)


def _written(keys: Mapping[str, Any]) -> str:
    """Keys as the grammar reads them back, floats to the last digit."""
    words = [f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in keys.items()]
    return ":" + ",".join(words) if words else ""


def _without_defaults(spec: SourceSpec, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that say something: ``rnn:hidden=64`` is ``rnn``."""
    known = known_keys(spec.kind, spec.name, keys)
    return {key: value for key, value in keys.items() if key not in known or value != known[key].default}


def _public(options: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Options as they decide the numbers: files by their contents; how much memory may be used decides nothing."""
    return {k: digests.get(str(v), v) for k, v in options.items() if k not in ("memory", "progress")}


def _absolute(name: str) -> str:
    return str(Path(name).absolute())


def make_plan(
    sources: Sequence[str],
    vary: Sequence[str],
    *,
    measure: str = "gradients",
    zipped: bool = False,
    **options: Any,
) -> Plan:
    """Plan a sweep: read every key and value, hash every file, and see that a point can be built.

    Raises
    ------
    UsageError
        Nothing varies, an unknown key or value, lists of unequal length for zip, or every point is refused.
    InputError
        A file that cannot be read.
    """
    if not sources:
        raise UsageError("sweep needs a SOURCE, for example: gradscope sweep rnn --vary gain=0.5:1.5:0.1")
    if not vary:
        raise UsageError("sweep needs --vary KEY=VALUES, for example: --vary gain=0.5:1.5:0.1 --vary seed=1:5")
    if measure not in MEASURES:
        raise UsageError(f"--measure {measure}: wanted {', '.join(MEASURES)}.")
    known = {field.name for field in fields(request_class(measure))} - {"progress", "memory"}
    for name in options:
        if name not in known | {"memory"}:
            raise UsageError(f"unknown option: {name} (known to {measure}: {', '.join(sorted(known))})")
    make_request(measure, options)
    planned = []
    for text in sources:
        spec = parse_source(text)
        axes = tuple(read_axis(item, spec, dict.fromkeys(known)) for item in vary)
        _check_axes(axes, zipped)
        planned.append(PlannedSource(spec, axes, {}, False))
    digests = {name: sha256_of_file(name) for name in sorted(_files(planned, options))}
    plan = Plan(measure, tuple(planned), zipped, options, digests)
    if plan.n_points > MAX_POINTS:
        raise UsageError(f"{plan.n_points} points; at most {MAX_POINTS} in one sweep.")
    return Plan(measure, tuple(_look_at(plan, i) for i in range(len(planned))), zipped, options, digests)


def _check_axes(axes: Sequence[Axis], zipped: bool) -> None:
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--vary {name}=… stands twice: put all its values into one list.")
    sizes = {axis.key: len(axis.values) for axis in axes}
    if zipped and len(set(sizes.values())) > 1:
        lengths = ", ".join(f"{key} has {size}" for key, size in sizes.items())
        raise UsageError(f"--zip pairs values and wants lists of one length: {lengths}.")


def option_files(options: Mapping[str, Any]) -> set[str]:
    """The files that options name."""
    given = {name: options.get(name) for name in FILE_OPTIONS if name != "inputs"}
    names = {value for value in given.values() if isinstance(value, str) and Path(value).is_file()}
    return names | ({options["inputs"]} if is_file_value(options.get("inputs")) else set())


def _files(planned: Sequence[PlannedSource], options: Mapping[str, Any]) -> set[str]:
    names = {source.spec.name for source in planned if source.spec.kind == "file"} | option_files(options)
    for source in planned:
        for axis in source.axes:
            if axis.role == "option" and axis.name == "inputs":
                names |= {value for value in axis.values if is_file_value(value)}
    return names


def sha256_of_file(name: str) -> str:
    """What a file holds, as a key.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        with Path(name).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise InputError(f"{name}: cannot be read ({problem.strerror}).") from None


def _look_at(plan: Plan, result: int) -> PlannedSource:
    """Build the first point that can be built, for the record and to learn whether a point gives several rows."""
    planned = plan.sources[result]
    refused: GradscopeError | None = None
    # A few refusals in front of a good point are rows with an error; nothing but refusals is a wrong question.
    for point in islice((p for p in plan.points() if p.result == result), 1000):
        try:
            source = build_source(parse_source(point.task.source), seed=0)
        except GradscopeError as problem:
            refused = refused or problem
            continue
        varied = {axis.name for axis in planned.axes}
        record = {k: v for k, v in source.record.items() if k not in varied}
        record["name"] = source_name(planned.spec)
        if planned.spec.kind == "file" and varied & {"forget_bias", "gain"}:
            record["sha256"] = None  # an edited network is another one at each point
        if planned.spec.kind == "cell":
            # Weights, and what depends on varied keys, differ from point to point.
            record["sha256"] = None
            if varied & {"hidden", "layers", "bidirectional"}:
                record["state_size"] = None
        for name in ("hidden", "layers"):
            record.setdefault(name, None)
        several = source.gives_several_results or "bidirectional" in varied or "direction" in varied
        return PlannedSource(planned.spec, planned.axes, record, several)
    assert refused is not None
    raise refused
