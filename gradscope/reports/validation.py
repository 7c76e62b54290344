"""Stored results hold what their schema says, so that no renderer meets a word where it expects a number.

Types only: a result of an older version may lack a key, a newer one of the same number may bring more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradscope.errors import InputError
from gradscope.records import Report, Result
from gradscope.reports.schemas import VERBS, load_schema
from gradscope.text import printable, shortened

Schema = Mapping[str, Any]
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def check_types(report: Report, name: str) -> None:
    """Compare every value of a stored report with its schema.

    Raises
    ------
    InputError
        The first value of a wrong type, named by where it stands.
    """
    schema = load_schema(report.verb) if report.verb in VERBS else {}
    head = {**report.header(), "gates": [gate.to_dict() for gate in report.gates]}
    properties = _properties(schema)
    for key in ("command", "seed", "environment", "gates", "gradscope"):
        _check(head.get(key), properties.get(key, {}), key, name)
    _check(list(report.command), {"type": "array", "items": {"type": "string"}}, "command", name)
    one = properties.get("results", {}).get("items", {})
    for number, result in enumerate(report.results):
        _check_result(result, one, f"results[{number}]", name)


def _check_result(result: Result, schema: Schema, where: str, name: str) -> None:
    parts = _properties(schema)
    for key in ("source", "settings", "summary", "details"):
        _check(dict(getattr(result, key)), {"type": "object", **parts.get(key, {})}, f"{where}.{key}", name)
    _check(list(result.warnings), {"type": "array", "items": {"type": "string"}}, f"{where}.warnings", name)
    fields = dict(_properties(parts.get("rows", {}).get("items", {})))
    measure = result.settings.get("measure")
    if measure in VERBS:  # a sweep's rows hold the summary fields of what it measured
        measured = _properties(load_schema(measure)).get("results", {}).get("items", {})
        fields = {**_properties(_properties(measured).get("summary", {})), **fields}
    lengths = {len(values) for values in result.columns.values()}
    if len(lengths) > 1:
        raise InputError(f"{name}: {where}: rows of different columns; wanted a stored gradscope result.")
    for column in result.columns:
        _check_column(result.rows[column], fields.get(column, {}), f"{where}.rows", column, name)


def _check_column(values: Sequence[Any], schema: Schema, where: str, column: str, name: str) -> None:
    known = _types(schema)
    plain = {_NAMES[kind] for kind in set(map(type, values)) if kind in _NAMES}
    if (known and not _allowed(plain, known)) or any(type(value) not in _NAMES for value in values):
        for index, value in enumerate(values):
            _check(value, schema, f"{where}[{index}].{column}", name)


def _allowed(found: Iterable[str], known: Sequence[str]) -> bool:
    return all(kind in known or (kind == "integer" and "number" in known) for kind in found)


def _types(schema: Schema) -> tuple[str, ...]:
    kinds = schema.get("type", ())
    return (kinds,) if isinstance(kinds, str) else tuple(kinds)


def _properties(schema: Schema) -> Schema:
    found = schema.get("properties", {})
    return found if isinstance(found, Mapping) else {}


def _check(value: Any, schema: Schema, where: str, name: str) -> None:
    kind = _NAMES.get(type(value)) or ("object" if isinstance(value, Mapping) else "array")
    known = _types(schema)
    if known and not _allowed([kind], known):
        shown = shortened(printable(json.dumps(value, default=str)), 60)
        raise InputError(
            f"{name}: {where} is {shown}, wanted {' or '.join(known)}; "
            "the file was changed, or is no stored gradscope result."
        )
    if kind == "object":
        for key, item in value.items():
            _check(item, _properties(schema).get(key, {}), f"{where}.{shortened(printable(str(key)), 60)}", name)
    elif kind == "array":
        for index, item in enumerate(value):
            _check(item, schema.get("items", {}), f"{where}[{index}]", name)
