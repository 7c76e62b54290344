"""Strict JSON and JSON Lines, written row by row, and read back.

JSON is one object with a row per line; JSONL is a ``{"kind": "run"}`` line, a ``{"kind": "row"}`` per row, and
``{"kind": "end"}``.
A JSONL file without its end line is an interrupted run.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from gradscope.errors import GradscopeError, InputError
from gradscope.records import GateOutcome, Report, Result, plain
from gradscope.reports.reading import plain_rows
from gradscope.reports.validation import check_types
from gradscope.strict_json import strict_loads

KNOWN_SCHEMA_NUMBER = 1
_ROW_KEYS = ("kind", "result", "source")


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _indented(value: Any, depth: int) -> str:
    return json.dumps(value, allow_nan=False, indent=2).replace("\n", "\n" + "  " * depth)


def write_json(report: Report, stream: TextIO) -> None:
    """Write one JSON object: indented, but each row on one line, and never more than one row in memory."""
    stream.write("{\n")
    for key, value in report.header().items():
        stream.write(f'  "{key}": {_indented(value, 1)},\n')
    stream.write('  "results": [')
    for number, result in enumerate(report.results):
        stream.write(",\n    {\n" if number else "\n    {\n")
        stream.write(f'      "source": {_indented(plain(result.source), 3)},\n')
        stream.write(f'      "settings": {_indented(plain(result.settings), 3)},\n')
        stream.write('      "rows": [')
        for index, row in enumerate(plain_rows(result)):
            stream.write(",\n        " if index else "\n        ")
            stream.write(_dumps(row))
        stream.write("\n      ],\n" if result.n_rows else "],\n")
        stream.write(f'      "summary": {_indented(plain(result.summary), 3)},\n')
        stream.write(f'      "warnings": {_indented(list(result.warnings), 3)}')
        if result.details:
            stream.write(f',\n      "details": {_dumps(plain(result.details))}')
        stream.write("\n    }")
    stream.write("\n  ],\n" if report.results else "],\n")
    stream.write(f'  "gates": {_indented([gate.to_dict() for gate in report.gates], 1)}\n}}\n')


def write_jsonl(report: Report, stream: TextIO) -> None:
    """Write JSON Lines: the run with its sources and settings, the rows, the end with summaries and gates.

    Each row line carries ``result`` (an index into the run line's ``results``) and ``source`` (its name).
    """
    opening = [
        {"source": plain(r.source), "settings": plain(r.settings), "columns": list(r.columns)} for r in report.results
    ]
    stream.write(_dumps({"kind": "run", **report.header(), "results": opening}) + "\n")
    for number, result in enumerate(report.results):
        lead = {"kind": "row", "result": number, "source": str(result.source.get("name", ""))}
        for row in plain_rows(result):
            # A column that is called like the line's own keys (advise has a "kind") stands under "row".
            inner = {name: row.pop(name) for name in _ROW_KEYS if name in row}
            stream.write(_dumps({**lead, **row, **({"row": inner} if inner else {})}) + "\n")
    stream.write(_dumps(end_line(report)) + "\n")


def end_line(report: Report) -> dict[str, Any]:
    """What the last line of JSON Lines says."""
    closing = [
        {"rows": r.n_rows, "summary": plain(r.summary), "warnings": list(r.warnings)}
        | ({"details": plain(r.details)} if r.details else {})
        for r in report.results
    ]
    return {"kind": "end", "results": closing, "gates": [gate.to_dict() for gate in report.gates]}


def read_report(path: str | Path) -> Report:
    """Read a stored ``.json`` or ``.jsonl`` result; ``-`` is standard input.

    Raises
    ------
    InputError
        The file is missing, not a gradscope result, from a newer schema, or interrupted.
    """
    name = "standard input" if str(path) == "-" else str(path)
    text = _text(path, name)
    try:
        report = _parse(text, name)
        _check_schema(report.schema, name)
        check_types(report, name)
    except GradscopeError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{name}: wanted a stored gradscope result, but its structure does not fit ({error}). "
            "Store one with: gradscope gradients SOURCE -o result.json"
        ) from error
    except RecursionError as error:
        raise InputError(f"{name}: nested too deeply to be a gradscope result.") from error
    return report


def _text(path: str | Path, name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}).") from error
    if not raw.strip():
        raise InputError(f"{name}: empty; wanted a stored gradscope result (.json or .jsonl).")
    # PowerShell's ">" writes UTF-16 with a byte-order mark.
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not text, so not a stored gradscope result (.json or .jsonl).") from error


def _loads(text: str, name: str, where: str = "") -> Any:
    try:
        return strict_loads(text)
    except ValueError as error:
        raise InputError(f"{name}: {where}not valid JSON ({error}).") from error


def _parse(text: str, name: str) -> Report:
    first = next(line for line in io.StringIO(text) if line.strip())
    try:
        opening = strict_loads(first)
    except ValueError:
        opening = None  # a JSON object over several lines: its first line is just "{"
    if isinstance(opening, dict) and "kind" in opening:
        return _parse_lines(text, name)
    raw = _loads(text, name)
    if not isinstance(raw, dict) or not str(raw.get("schema", "")).startswith("gradscope/"):
        raise InputError(f"{name}: JSON, but not a gradscope result (no schema 'gradscope/...').")
    return Report.from_dict(raw)


def _lines(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lines = text.splitlines()
    last = max(i for i, line in enumerate(lines) if line.strip())
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if number - 1 == last and number > 1 and not text.endswith("\n"):
            try:
                strict_loads(line)
            except ValueError:
                return  # a torn last line: the run was interrupted while writing it
        item = _loads(line, name, f"line {number}: ")
        if not isinstance(item, dict):
            raise InputError(f"{name}: line {number} is not a JSON object.")
        yield number, item


def _parse_lines(text: str, name: str) -> Report:
    run: Mapping[str, Any] | None = None
    end: Mapping[str, Any] | None = None
    rows: list[list[Mapping[str, Any]]] = []
    for number, item in _lines(text, name):
        kind = item.get("kind")
        if kind == "run" and run is None:
            run = item
            rows = [[] for _ in item["results"]]
        elif kind == "row" and run is not None and end is None:
            rows[item["result"]].append(item)
        elif kind == "end" and run is not None and end is None:
            end = item
        else:
            raise InputError(f"{name}: line {number}: {kind!r} does not belong here (wanted run, row..., end).")
    if run is None:
        raise InputError(f"{name}: no run line, so not a gradscope result.")
    if end is None:
        again = " ".join(["gradscope", *map(str, run.get("command", ()))])
        raise InputError(f"{name}: interrupted run: {sum(map(len, rows))} rows and no end line. Run it again: {again}")
    results = []
    for opened, items, closed in zip(run["results"], rows, end["results"], strict=True):
        names = opened.get("columns") or [key for key in (items[0] if items else ()) if key not in _ROW_KEYS]
        results.append(
            Result(
                source=opened["source"],
                settings=opened["settings"],
                columns={column: [_in_row(item, column) for item in items] for column in names},
                summary=closed["summary"],
                warnings=tuple(closed.get("warnings", ())),
                details=closed.get("details", {}),
            )
        )
    gates = tuple(map(GateOutcome.from_dict, end.get("gates", ())))
    head = {key: run[key] for key in ("schema", "gradscope", "seed", "environment")}
    return Report(command=tuple(run["command"]), results=tuple(results), gates=gates, **head)


def _in_row(item: Mapping[str, Any], column: str) -> Any:
    return item.get("row", {}).get(column) if column in _ROW_KEYS else item.get(column)


def _check_schema(schema: str, name: str) -> None:
    parts = str(schema).split("/")
    if len(parts) != 3 or parts[0] != "gradscope" or not parts[2].isdigit():
        raise InputError(
            f"{name}: schema {schema!r} is not one of gradscope's ('gradscope/VERB/{KNOWN_SCHEMA_NUMBER}')."
        )
    if int(parts[2]) > KNOWN_SCHEMA_NUMBER:
        raise InputError(
            f"{name}: written by a newer gradscope (schema {schema!r}). Read it with that version or a newer one."
        )
