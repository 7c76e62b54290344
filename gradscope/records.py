"""Records: the frozen, plain data that every renderer, exporter and gate reads, and nothing else.

A record holds columns rather than rows, so that a million lags stay a handful of arrays; ``rows()`` makes
plain dictionaries one at a time. NaN inside a float column means "null"; no infinity or NaN ever leaves.
"""

from __future__ import annotations

import html
import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def plain(value: Any) -> Any:
    """Turn numpy scalars and arrays, tuples and mappings into strict-JSON Python; NaN and ±inf become None.

    >>> plain((1.0, float("nan")))
    [1.0, None]
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f"a record holds plain data, not {type(value).__name__}")


@dataclass(frozen=True)
class Result:
    """What one source gave.

    Attributes
    ----------
    source : mapping
        ``name``, ``cell``, ``hidden``, ``layers``, ``state_size``, ``sha256``, … as in the contract.
    settings : mapping
        What was asked: steps, inputs, batch, dtype, anchor, …
    columns : mapping of str to sequence
        Rows by column, all of equal length (numpy arrays or lists).
    summary : mapping
    warnings : tuple of str
        Each with a next step.
    details : mapping
        Extra series for figures (eigenvalues, gates over time, …); absent from rows, may be empty.
    """

    source: Mapping[str, Any]
    settings: Mapping[str, Any]
    columns: Mapping[str, Any]
    summary: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def rows(self) -> Iterator[dict[str, Any]]:
        """Plain dictionaries, one per row, in order."""
        names = list(self.columns)
        for values in zip(*(self.columns[name] for name in names), strict=True):
            yield {name: plain(value) for name, value in zip(names, values, strict=True)}

    def to_records(self) -> list[dict[str, Any]]:
        """All rows as plain dictionaries."""
        return list(self.rows())

    def to_dict(self) -> dict[str, Any]:
        """The result as it stands in the JSON report."""
        out = {
            "source": plain(self.source),
            "settings": plain(self.settings),
            "rows": list(self.rows()),
            "summary": plain(self.summary),
            "warnings": list(self.warnings),
        }
        if self.details:
            out["details"] = plain(self.details)
        return out

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Result:
        """Read a result back from its JSON form."""
        rows = raw["rows"]
        names = list(rows[0]) if rows else []
        columns = {name: [row.get(name) for row in rows] for name in names}
        return cls(
            source=raw["source"],
            settings=raw["settings"],
            columns=columns,
            summary=raw["summary"],
            warnings=tuple(raw.get("warnings", ())),
            details=raw.get("details", {}),
        )


@dataclass(frozen=True)
class GateOutcome:
    """How one ``--expect``, ``--fail-on`` or ``--warn-on`` expression came out for one source.

    ``wanted`` is the condition that must hold for it to pass.
    """

    expression: str
    level: str
    passed: bool
    found: float | int | str | None
    source: str
    message: str = ""
    wanted: str = ""

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> GateOutcome:
        """Read an outcome back from its JSON form."""
        return cls(
            expression=raw["expression"],
            level=raw["level"],
            passed=raw["passed"],
            found=raw["found"],
            source=raw["source"],
            message=raw.get("message", ""),
            wanted=raw.get("wanted", ""),
        )

    @property
    def condition(self) -> str:
        """The wanted condition, also of a result stored before it was written down."""
        return self.wanted or f"not ({self.expression})"

    def to_dict(self) -> dict[str, Any]:
        """The gate as it stands in the JSON report."""
        out = {
            "expression": self.expression,
            "level": self.level,
            "passed": self.passed,
            "found": plain(self.found),
            "source": self.source,
        }
        return out | {name: text for name, text in (("wanted", self.wanted), ("message", self.message)) if text}


@dataclass(frozen=True)
class Report:
    """One run of one verb: every result, every gate, and how to run it again."""

    schema: str
    gradscope: str
    command: tuple[str, ...]
    seed: int
    environment: Mapping[str, Any]
    results: tuple[Result, ...]
    gates: tuple[GateOutcome, ...] = ()

    @property
    def verb(self) -> str:
        """The verb, from the schema name ``gradscope/VERB/1``."""
        return self.schema.split("/")[1]

    @property
    def command_line(self) -> str:
        """The command as a shell reads it, or the Python call where arrays were given (one word, as it stands)."""
        words = [str(word) for word in self.command]
        return words[0] if self.is_python_call else shlex.join(["gradscope", *words])

    @property
    def is_python_call(self) -> bool:
        """Whether the command is a Python call, since no command line can say it."""
        return len(self.command) == 1 and str(self.command[0]).startswith("gradscope.")

    def header(self) -> dict[str, Any]:
        """Everything that is not a result or a gate."""
        return {
            "schema": self.schema,
            "gradscope": self.gradscope,
            "command": list(self.command),
            "seed": self.seed,
            "environment": plain(self.environment),
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole report as strict-JSON Python."""
        return {
            **self.header(),
            "results": [result.to_dict() for result in self.results],
            "gates": [gate.to_dict() for gate in self.gates],
        }

    def to_json(self) -> str:
        """The report as strict JSON text, as ``--json`` writes it."""
        return json.dumps(self.to_dict(), allow_nan=False, ensure_ascii=False, indent=2)

    def to_records(self) -> list[dict[str, Any]]:
        """Every row of every result as a plain dictionary with its ``source``: what a data frame is made of."""
        return [{"source": result.source["name"], **row} for result in self.results for row in result.rows()]

    def _repr_html_(self) -> str:
        """The summaries side by side, for notebooks; ``-o page.html`` makes the whole page."""
        names = list(dict.fromkeys(name for result in self.results for name in result.summary))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ("source", *names))
        lines = []
        for result in self.results:
            values = (result.source["name"], *(plain(result.summary.get(name)) for name in names))
            cells = "".join(f"<td>{html.escape('' if v is None else str(v))}</td>" for v in values)
            lines.append(f"<tr>{cells}</tr>")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Report:
        """Read a report back from its JSON form."""
        return cls(
            schema=raw["schema"],
            gradscope=raw["gradscope"],
            command=tuple(raw["command"]),
            seed=raw["seed"],
            environment=raw["environment"],
            results=tuple(Result.from_dict(item) for item in raw["results"]),
            gates=tuple(map(GateOutcome.from_dict, raw.get("gates", ()))),
        )
