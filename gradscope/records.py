"""Records: the frozen, plain data that every renderer, exporter and gate reads, and nothing else.

A record holds columns rather than rows, so that a million lags stay a handful of arrays; ``rows`` makes
plain dictionaries one at a time. NaN inside a float column means "null"; no infinity or NaN ever leaves.

Whatever it was made from, a record holds the same types: one that was measured and one that was read back are equal.
What people see of a report (figures, pages, data frames) is made by ``gradscope.reports``, which stands above the
records: it is named here and imported when somebody asks.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from gradscope.rows import Rows, column_of, plain
from gradscope.text import printable, shortened

__all__ = ["GateOutcome", "Report", "Result", "Rows", "column_of", "plain"]


def _notebook() -> Any:
    """What a report looks like to people."""
    return import_module("gradscope.reports.notebook")


@dataclass(frozen=True)
class Result:
    """What one source gave.

    Attributes
    ----------
    source : mapping
        ``name``, ``cell``, ``hidden``, ``layers``, ``state_size``, ``sha256``, … as in the contract.
    settings : mapping
        What was asked: steps, inputs, batch, dtype, anchor, …
    columns : mapping of str to ndarray
        Rows by column, all of equal length: numbers float64 with NaN for null, whole numbers int64, flags bool, the
        rest objects.
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

    def __post_init__(self) -> None:
        held = {
            "source": plain(self.source),
            "settings": plain(self.settings),
            "columns": {name: column_of(values) for name, values in self.columns.items()},
            "summary": plain(self.summary),
            "warnings": tuple(self.warnings),
            "details": plain(self.details),
        }
        for name, value in held.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"<Result {self._said().removesuffix(f', {self._counted()}')}, {self._counted()}>"

    def _said(self) -> str:
        """The source and its verdict, short."""
        name, verdict = str(self.source.get("name", "?")), self.summary.get("verdict")
        apart = [f" {self.source[key]}" for key in ("layer", "direction") if self.source.get(key) is not None]
        said = shortened(printable(name), 48) + "".join(apart)
        said += "" if verdict is None else f": {shortened(printable(str(verdict)), 24)}"
        if self.summary.get("horizon") is not None:
            said += f", horizon {self.summary['horizon']}"
        elif self.summary.get("horizon_censored"):
            said += f", horizon > {self.settings.get('steps')}"
        elif "agree" in self.summary:
            said += f", {self.summary['agree']} of {self.summary['claims']} come out as predicted"
        elif verdict is None:
            said += f", {self._counted()}"
        return said

    def _counted(self) -> str:
        return f"{self.n_rows} row{'s' if self.n_rows != 1 else ''}"

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def rows(self) -> Rows:
        """Plain dictionaries, one per row, in order; ``rows["lag"]`` is one column as a list."""
        return Rows(self.columns)

    def to_records(self) -> list[dict[str, Any]]:
        """All rows as plain dictionaries."""
        return list(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The result as it stands in the JSON report."""
        out = {
            "source": dict(self.source),
            "settings": dict(self.settings),
            "rows": list(self.rows),
            "summary": dict(self.summary),
            "warnings": list(self.warnings),
        }
        if self.details:
            out["details"] = dict(self.details)
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "command", tuple(self.command))
        object.__setattr__(self, "environment", plain(self.environment))

    @property
    def verb(self) -> str:
        """The verb, from the schema name ``gradscope/VERB/1``."""
        return self.schema.split("/")[1]

    @property
    def command_line(self) -> str:
        """The command as a shell reads it, or the Python call where arrays were given (one word, as it stands)."""
        return self.command[0] if self.is_python_call else shlex.join(["gradscope", *self.command])

    @property
    def is_python_call(self) -> bool:
        """Whether the command is a Python call, since no command line can say it."""
        return len(self.command) == 1 and self.command[0].startswith("gradscope.")

    def header(self) -> dict[str, Any]:
        """Everything that is not a result or a gate."""
        return {
            "schema": self.schema,
            "gradscope": self.gradscope,
            "command": list(self.command),
            "seed": self.seed,
            "environment": dict(self.environment),
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

    def to_pandas(self) -> Any:
        """Every row of every result as a pandas ``DataFrame``, with its ``source`` (and layer and direction).

        Where rows have horizons (sweeps), ``horizon_at_least`` is a number also where the horizon lies beyond the run.

        Raises
        ------
        MissingExtraError
            pandas is not installed.
        """
        return _notebook().to_pandas(self)

    def summary(self) -> Rows:
        """One row a result: its source and its summary, as plain dictionaries; ``summary()["horizon"]`` is a column.

        ``horizon_at_least`` is a number also where the horizon lies beyond the last lag (there it is that lag), so
        that means over seeds are not biased by what was left out. ``pandas.DataFrame(report.summary())`` works.
        """
        found: Rows = _notebook().summary(self)
        return found

    def plot(self, ax: Any = None) -> Any:
        """Draw the report's main figure on a matplotlib ``Axes`` (a new one by default), which comes back.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        UsageError
            There is nothing to draw in this report.
        """
        return _notebook().plot(self, ax)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report; the suffix picks the format (.txt .json .jsonl .csv .md .html .xml .svg .png .pdf).

        Raises
        ------
        UsageError
            Another suffix.
        InputError
            It cannot be written there.
        """
        written: Path = _notebook().save(self, path)
        return written

    def __repr__(self) -> str:
        n = len(self.results)
        head = f"<Report {self.verb}: {n} result{'s' if n != 1 else ''}, seed {self.seed}"
        if self.gates:
            head += f", {sum(gate.passed for gate in self.gates)} of {len(self.gates)} gates passed"
        lines = [head, *(f"  {result._said()}" for result in self.results[:2])]
        return "\n".join(lines) + (f"; {n - 2} more>" if n > 2 else ">")

    def _repr_html_(self) -> str:
        """Verdict, a short table and the figure, for notebooks; ``save("page.html")`` makes the whole page."""
        page: str = _notebook().notebook_html(self)
        return page

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
