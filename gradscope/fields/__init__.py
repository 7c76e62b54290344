"""The field table: every number a report can hold, once.

Tables, pages, gates, ``diff``, sweeps, the JSON Schemas and ``docs/fields.md`` read it. A verb that writes a new
field adds a row here, and ``make docs`` writes the rest.

``Field``, ``Part``: a row of the table, and where it stands (``rows``, ``summary``).
``ROWS``, ``SUMMARY``: the fields of each verb, in the order of the formats.
``VERBS``: the verbs that write reports.
``field(verb, name)``, ``every(name)``, ``names(verb, part)``: look one up.
``is_text(name)``, ``LISTS``: what a gate may do with it.
``SOURCE_FIELDS``: what a result's source says of itself. Source keys belong to the grammar of sources.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.fields import advise_fields, gradients_fields, lyapunov_fields, other_fields, spectrum_fields
from gradscope.fields.field import Field, Part

__all__ = ["LISTS", "ROWS", "SOURCE_FIELDS", "SUMMARY", "VERBS", "Field", "Part", "every", "field", "is_text", "names"]

SOURCE_FIELDS = (
    "source", "name", "cell", "hidden", "inputs", "layers", "layer", "direction", "state_size", "sha256",
)  # fmt: skip


def _once(*groups: tuple[Field, ...]) -> tuple[Field, ...]:
    """Join groups; of two fields of one name the first stays."""
    kept: dict[str, Field] = {}
    for group in groups:
        for one in group:
            kept.setdefault(one.name, one)
    return tuple(kept.values())


ROWS: dict[str, tuple[Field, ...]] = {
    "gradients": gradients_fields.ROWS,
    "spectrum": spectrum_fields.ROWS,
    "lyapunov": lyapunov_fields.ROWS,
    "inspect": other_fields.INSPECT_ROWS,
    "claims": other_fields.CLAIMS_ROWS,
    "diff": other_fields.DIFF_ROWS,
    "advise": advise_fields.ADVISE_ROWS,
    "series": advise_fields.SERIES_ROWS,
    # A sweep's rows are the varied keys, then the summary fields of whatever was measured.
    "sweep": _once(
        gradients_fields.SUMMARY,
        lyapunov_fields.SUMMARY,
        spectrum_fields.SUMMARY,
        spectrum_fields.ROWS,
        other_fields.SWEEP_EXTRA,
    ),
}
SUMMARY: dict[str, tuple[Field, ...]] = {
    "gradients": gradients_fields.SUMMARY,
    "spectrum": spectrum_fields.SUMMARY,
    "lyapunov": lyapunov_fields.SUMMARY,
    "inspect": other_fields.INSPECT_SUMMARY,
    "claims": other_fields.CLAIMS_SUMMARY,
    "diff": other_fields.DIFF_SUMMARY,
    "advise": advise_fields.ADVISE_SUMMARY,
    "series": advise_fields.SERIES_SUMMARY,
    "sweep": other_fields.SWEEP_SUMMARY,
}
VERBS = tuple(ROWS)


def names(verb: str, part: Part | None = None) -> tuple[str, ...]:
    """Names of a verb's fields, of its rows and summary together where no part is named."""
    return tuple(dict.fromkeys(one.name for one in _of(verb, part)))


def field(verb: str, name: str, part: Part | None = None) -> Field | None:
    """The row of one field; the rows' before the summary's where no part is named."""
    return next((one for one in _of(verb, part) if one.name == name), None)


def _of(verb: str, part: Part | None) -> Iterator[Field]:
    groups = {"rows": (ROWS,), "summary": (SUMMARY,), None: (ROWS, SUMMARY)}[part]
    return (one for group in groups for one in group.get(verb, ()))


def every(name: str) -> list[Field]:
    """All rows of one name, of every verb."""
    return [one for one in _ALL if one.name == name]


_ALL = [one for group in (ROWS, SUMMARY) for fields in group.values() for one in fields]
LISTS = frozenset(one.name for one in _ALL if one.is_list)


def is_text(name: str, verb: str | None = None) -> bool:
    """Whether a field holds words, so that only ``==`` and ``!=`` make sense for it; of any verb where none is named.

    >>> is_text("verdict"), is_text("change", "diff"), is_text("change", "advise")
    (True, False, True)
    """
    found = field(verb, name) if verb else None
    rows = [found] if found else every(name)
    return bool(rows) and all(one.is_text for one in rows)
