"""JSON Schemas of the machine formats, one file per verb, shipped with the package (``gradscope schema VERB``).

``generate`` writes them from the field table.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, cast

from gradscope.errors import UsageError, did_you_mean
from gradscope.fields import VERBS

__all__ = ["VERBS", "load_schema", "schema_text"]


def schema_text(verb: str) -> str:
    """Return the JSON Schema of a verb's ``-f json``, as it stands in the package.

    Raises
    ------
    UsageError
        No such verb; the message lists them.
    """
    if verb not in VERBS:
        raise UsageError(f"schema: no schema for '{verb}'; known: {', '.join(VERBS)}.{did_you_mean(verb, VERBS)}")
    return files(__package__ or "gradscope.reports.schemas").joinpath(f"{verb}.json").read_text(encoding="utf-8")


@cache
def load_schema(verb: str) -> dict[str, Any]:
    """Return the same, parsed."""
    return cast("dict[str, Any]", json.loads(schema_text(verb)))
