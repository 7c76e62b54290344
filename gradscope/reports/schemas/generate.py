"""The JSON Schemas, written from the field table: ``docs/make_reference.py`` writes the files that ship."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from gradscope.fields import ROWS, SUMMARY, VERBS, Field
from gradscope.fields.gradients_fields import ALWAYS_BUT_FOR_INPUTS

Schema = dict[str, Any]

_NUMBER, _TEXT, _INTEGER = {"type": "number"}, {"type": "string"}, {"type": "integer"}
_ANYTHING = ["number", "string", "boolean", "null", "array", "object"]
_NULLABLE_NUMBERS = {"type": "array", "items": {"type": ["number", "null"]}}
_PAIR = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
_TYPES: dict[str, Schema] = {
    "number": _NUMBER,
    "integer": _INTEGER,
    "count": {"type": "integer", "minimum": 0},
    "boolean": {"type": "boolean"},
    "text": _TEXT,
    "numbers": _NULLABLE_NUMBERS,
    "texts": {"type": "array", "items": _TEXT},
    "pairs": {"type": "array", "items": _PAIR},
    "matrices": {"type": "object"},
    "facts": {"type": ["string", "array", "object"]},
    "anything": {"type": _ANYTHING},
}
_DESCRIPTION = (
    "Strict on the keys below; additions are allowed, a rename bumps the number. A null is an exact zero or a number "
    "that has no meaning or was not computed, as its description says; no NaN, no Infinity."
)
_OF_A_NETWORK = ("name", "cell", "hidden", "layers", "state_size", "sha256")
_SOURCE_REQUIRED = {
    **dict.fromkeys(("gradients", "spectrum", "lyapunov", "advise"), _OF_A_NETWORK),
    **dict.fromkeys(("inspect", "sweep", "series"), ("name",)),
    "diff": ("name", "base", "new"),
    "claims": (),
}


def schema_of(verb: str) -> Schema:
    """Return the JSON Schema of a verb's ``-f json``."""
    result = _object(
        {
            "source": _source(verb),
            "settings": {"type": "object"},
            "rows": {"type": "array", "items": _rows(verb)},
            "summary": _summary(verb),
            "warnings": {"type": "array", "items": _TEXT},
        }
    )
    result["properties"]["details"] = {"type": "object", "description": "further series, for figures"}
    if verb == "gradients":
        result |= _columns_by_what_is_asked()
    report = _object(
        {
            "schema": {"const": f"gradscope/{verb}/1"},
            "gradscope": {"type": "string", "description": "version that wrote this"},
            "command": {"type": "array", "items": _TEXT, "minItems": 1},
            "seed": _INTEGER,
            "environment": _environment(),
            "results": {"type": "array", "items": result},
            "gates": {"type": "array", "items": _gate()},
        }
    )
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:gradscope:schema:{verb}:1",
        "title": f"gradscope {verb}",
        "description": _DESCRIPTION,
    }
    return {**head, **report}


def files() -> dict[str, str]:
    """Text of every schema file by its name."""
    return {f"{verb}.json": json.dumps(schema_of(verb), ensure_ascii=False, indent=1) + "\n" for verb in VERBS}


def _object(properties: dict[str, Any], required: Iterable[str] | None = None) -> Schema:
    return {
        "type": "object",
        "required": list(properties if required is None else required),
        "properties": properties,
    }


def of_field(field: Field) -> Schema:
    """Return the schema of one value."""
    schema = dict(_TYPES[field.type])
    said = f"{field.title}: {field.meaning}" + (f", {field.unit}" if field.unit else "")
    if field.words:
        schema = {"enum": [*field.words, *([None] if field.null else [])]}
    elif field.null:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = list(dict.fromkeys([*types, "null"]))
    schema["description"] = said + (f"; null: {field.null}" if field.null else "")
    return schema


def _fields(fields: tuple[Field, ...]) -> Schema:
    return _object({field.name: of_field(field) for field in fields}, [f.name for f in fields if f.required])


def _rows(verb: str) -> Schema:
    if verb == "sweep":  # the varied keys may carry any name, and a point that failed holds nulls
        return _object({field.name: {} if field.name != "error" else of_field(field) for field in ROWS[verb]}, ())
    schema = _fields(ROWS[verb])
    if verb == "gradients":
        schema["required"] = ["lag", "log10_norm", "status"]
        nothing = {"enum": ["zero", "underflow", "nonfinite"]}
        schema["allOf"] = [_given("status", {"const": "ok"}, "log10_norm", "number"),
                           _given("status", nothing, "log10_norm", "null")]  # fmt: skip
    if verb == "lyapunov":
        schema["allOf"] = [_given("status", {"const": "minus_infinity"}, "exponent", "null")]
    return schema


def _summary(verb: str) -> Schema:
    schema = _fields(SUMMARY[verb])
    if verb == "gradients":
        schema["allOf"] = [_given("horizon_censored", {"const": True}, "horizon", "null")]
    return schema


def _given(name: str, value: Schema, then: str, kind: str) -> Schema:
    """Where ``name`` has that value, ``then`` is of that type."""
    return {
        "if": {"properties": {name: value}, "required": [name]},
        "then": {"properties": {then: {"type": kind}}},
    }


def _columns_by_what_is_asked() -> Schema:
    def required(names: Iterable[str]) -> Schema:
        return {"properties": {"rows": {"items": {"required": list(names)}}}}

    asked = {"properties": {"wrt": {"enum": ["inputs", "weights"]}}, "required": ["wrt"]}
    return {
        "if": {"properties": {"settings": asked}},
        "then": {
            **required(("lag", "log10_norm", "status")),
            "description": "sensitivity to inputs or weights: state columns have no meaning",
        },
        "else": required(ALWAYS_BUT_FOR_INPUTS),
    }


def _source(verb: str) -> Schema:
    def or_null(*kinds: str) -> Schema:
        return {"type": [*kinds, "null"]}

    properties = {
        "name": _TEXT,
        "cell": or_null("string"),
        "hidden": or_null("integer", "array"),
        "layers": or_null("integer"),
        "state_size": or_null("integer"),
        "sha256": {**or_null("string"), "pattern": "^[0-9a-f]{64}$"},
        "layer": or_null("integer"),
        "direction": {"enum": ["forward", "backward", None]},
    }
    return _object(properties, _SOURCE_REQUIRED[verb])


def _environment() -> Schema:
    text = {"type": ["string", "null"]}
    known = {**dict.fromkeys(("python", "numpy", "scipy", "blas"), text), "threads": {"type": ["integer", "null"]}}
    return _object({**known, "blas_architecture": text}, known)  # of reports before it was recorded there is none


def _gate() -> Schema:
    schema = _object(
        {
            "expression": {"type": "string", "description": "as it was given"},
            "level": {"enum": ["fail", "warn"]},
            "passed": {"type": "boolean"},
            "found": {"type": ["number", "string", "boolean", "null"]},
            "source": _TEXT,
        }
    )
    schema["properties"]["wanted"] = {"type": "string", "description": "what must hold for the gate to pass"}
    schema["properties"]["message"] = _TEXT
    return schema
