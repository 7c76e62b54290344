"""What every view says the same way: how the run was made, what a source is, warnings, gates, generic tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradscope.fields import field
from gradscope.records import GateOutcome, Report, Result, plain
from gradscope.remarks import comes_always
from gradscope.reports.document import GATES, Block, Column, Document, Section, Sentence, Table, Tone
from gradscope.reports.numbers import NULL, is_null, log_value, printable, printable_lines, significant

_GATE_TONES: dict[str, Tone] = {"pass": "good", "warn": "mixed", "FAIL": "bad"}
_VERDICT_TONES: dict[str, Tone] = {"vanishing": "bad", "exploding": "bad", "neutral": "good"}


def verdict_tone(verdict: object) -> Tone:
    """Colour of a verdict; the word itself says everything, the colour only helps."""
    return _VERDICT_TONES.get(str(verdict), "mixed")


def made_by(report: Report) -> str:
    """Version, seed and environment: what somebody needs to get the same numbers."""
    env = plain(report.environment)
    versions = (("python", "Python"), ("numpy", "NumPy"), ("scipy", "SciPy"))
    parts = [f"gradscope {report.gradscope}", f"seed {report.seed}"]
    parts += [f"{name} {env[key]}" for key, name in versions if env.get(key)]
    if env.get("blas"):
        threads = env.get("threads")
        kind = f" for {env['blas_architecture']}" if env.get("blas_architecture") else ""
        parts.append(f"{env['blas']}{kind}" + (f" ({threads} thread{'s' if threads != 1 else ''})" if threads else ""))
    return printable(", ".join(parts))


def origin(report: Report) -> str:
    """The same in a few words: what a screen has room for."""
    return printable(f"seed {report.seed}, gradscope {report.gradscope}")


def reproduce(report: Report) -> str:
    """The command that gives this report again."""
    return printable(report.command_line)


def about_source(result: Result) -> str:
    """One line: what the source is and what was asked of it."""
    source = plain(result.source)
    apart = [key for key in ("cell", "layer", "direction") if source.get(key) not in (None, source.get("name"))]
    parts = [f"layer {source[key]}" if key == "layer" else str(source[key]) for key in apart]
    usual = {"layers": 1, "state_size": source.get("hidden")}
    for key, name in (("inputs", "inputs"), ("hidden", "hidden"), ("layers", "layers"), ("state_size", "state")):
        if source.get(key) is not None and source[key] != usual.get(key):
            parts.append(f"{name} {_short(source[key])}")
    parts += _asked(result)
    if source.get("sha256"):
        parts.append(f"sha256 {str(source['sha256'])[:12]}")
    return printable(", ".join(parts))


def shared_settings(report: Report) -> str:
    """What was asked, where it was the same for every source."""
    asked = {", ".join(_asked(result)) for result in report.results}
    return printable(asked.pop()) if len(asked) == 1 else ""


def _asked(result: Result) -> list[str]:
    settings = plain(result.settings)
    parts = []
    if settings.get("steps") is not None:
        parts.append(f"T = {settings['steps']}")
    if settings.get("inputs") is not None:
        kind = _short(settings["inputs"])
        parts.append("no input" if kind == "none" else f"{kind} input")
    for key in ("anchor", "transient", "wrt"):
        value = settings.get(key)
        if value not in (None, 0, "end", "state"):
            parts.append(f"{key} {_short(value)}")
    if settings.get("batch") not in (None, 1):
        parts.append(f"batch {settings['batch']}")
    if settings.get("dtype") not in (None, "float64"):
        parts.append(str(settings["dtype"]))
    return parts


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(_short(item) for item in value)
    if isinstance(value, Mapping):
        return str(value.get("name") or value.get("kind") or ", ".join(f"{k} {_short(v)}" for k, v in value.items()))
    return str(value)


def warnings_of(result: Result) -> list[Block]:
    """What is always so of such a source, in grey; then the warnings about this run. Each carries its next step."""
    notes = [text for text in result.warnings if comes_always(text)]
    blocks: list[Block] = [Sentence(printable(f"Note: {text}"), "note", "dim") for text in notes]
    warnings = (text for text in result.warnings if text not in notes)
    return [*blocks, *(Sentence(printable(f"Warning: {text}"), "warning", "mixed") for text in warnings)]


def gates_section(report: Report) -> list[Section]:
    """A table of the gates, failures first, then warnings; nothing when there are none."""
    if not report.gates:
        return []
    ordered = sorted(report.gates, key=lambda gate: ("FAIL", "warn", "pass").index(outcome(gate)))
    rows = []
    tones: list[Tone] = []
    for gate in ordered:
        rows.append((outcome(gate), printable(gate.condition), cell(gate.found), printable(gate.source)))
        tones.append(_GATE_TONES[outcome(gate)])
    columns = (
        Column("gate", "left"),
        Column("wanted", "left"),
        Column("found", "right"),
        Column("source", "left"),
    )
    worst = outcome(ordered[0])
    blocks: list[Block] = [Sentence(f"{gates_sentence(report)}.", "verdict", _GATE_TONES[worst])]
    blocks.append(Table("", columns, tuple(rows), tuple(tones)))
    blocks += [
        Sentence(printable_lines(gate.message), "warning", _GATE_TONES[outcome(gate)])
        for gate in ordered
        if gate.message and not gate.passed
    ]
    return [Section(GATES, tuple(blocks))]


def outcome(gate: GateOutcome) -> str:
    """How a gate came out: ``pass``, ``warn`` or ``FAIL``."""
    return "pass" if gate.passed else "FAIL" if gate.level == "fail" else "warn"


def gates_sentence(report: Report) -> str:
    """How many gates passed, failed, warned; a gate counts once for each source it was asked of."""
    found = [outcome(gate) for gate in report.gates]
    if len(found) == 1:
        return "The gate " + {"pass": "passed", "warn": "warned", "FAIL": "failed"}[found[0]]
    failed, warned = found.count("FAIL"), found.count("warn")
    if not failed and not warned:
        return {0: "No gate was asked for", 2: "Both gates passed"}.get(len(found), f"All {len(found)} gates passed")
    said = f"{failed} of {len(found)} gates failed" if failed else f"No gate of {len(found)} failed"
    return said + (f", {warned} warned" if warned else "")


def document(report: Report, title: str, sections: Iterable[Section]) -> Document:
    """Put a document together, with the gates last."""
    return Document(title, made_by(report), (*sections, *gates_section(report)), reproduce(report), origin(report))


def cell(value: Any) -> str:
    """Any plain value as a table cell (floats at full precision: a gate's number is not rounded)."""
    value = plain(value)
    if is_null(value):
        return NULL
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return printable(", ".join(cell(item) for item in value))
    if isinstance(value, Mapping):
        return printable(", ".join(f"{key} {cell(item)}" for key, item in value.items()))
    return printable(str(value))


def short_cell(value: Any) -> str:
    """Any plain value as a table cell, floats at four significant digits."""
    value = plain(value)
    return significant(value) if isinstance(value, float) else cell(value)


def generic_table(
    caption: str, names: Sequence[str], rows: Iterable[Mapping[str, Any]], keep: int = 4, verb: str = ""
) -> Table:
    """Lay out rows that have no view of their own: the first ``keep`` columns are never dropped.

    Columns are headed by field name, since that is what ``--columns`` and gates take; units come from the table of
    fields of ``verb``.
    """
    rows = list(rows)
    units = {name: _unit(verb, name) for name in names}
    texts = tuple(tuple(_unit_cell(row.get(name), units[name]) for name in names) for row in rows)
    numeric = [all(isinstance(row.get(name), int | float | None) for row in rows) for name in names]
    columns = tuple(
        Column(name, "right" if right else "left", 0 if i < keep else i, unit=units[name])
        for i, (name, right) in enumerate(zip(names, numeric, strict=True))
    )
    return Table(caption, columns, texts)


def _unit_cell(value: Any, unit: str) -> str:
    return log_value(value) if unit == "log10" and isinstance(value, float) else short_cell(value)


def _unit(verb: str, name: str) -> str:
    known = field(verb, name, "rows")
    return known.unit if known is not None else ""
