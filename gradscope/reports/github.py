"""GitHub Actions: an annotation per gate that failed, and Markdown for the step summary."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gradscope.errors import InputError
from gradscope.records import GateOutcome, Report
from gradscope.reports import markdown
from gradscope.reports.numbers import printable, printable_lines, to_ascii
from gradscope.reports.views.common import gates_sentence

# The platform shows ten annotations of a level per step and drops the rest in silence; a summary holds 1 MiB.
ANNOTATIONS_PER_LEVEL = 10
SUMMARY_BYTES = 1024 * 1024
_MESSAGE_CHARACTERS = 4000
_CUT = "\n\n_The rest was left out: a step summary holds 1 MiB._\n"


def escape_data(text: str) -> str:
    r"""Escape the message of a workflow command.

    >>> escape_data("50 %\nnext")
    '50 %25%0Anext'
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Escape a property of a workflow command.

    >>> escape_property("a:b,c")
    'a%3Ab%2Cc'
    """
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


def render(report: Report, *, unicode: bool = True) -> str:
    """Render one ``::error`` or ``::warning`` line per gate and source that failed, one plain line where all passed.

    Beyond ten of a level, the tenth line names the rest.
    """
    lines: list[str] = []
    for level, command in (("fail", "error"), ("warn", "warning")):
        failed = [gate for gate in report.gates if not gate.passed and gate.level == level]
        shown = failed if len(failed) <= ANNOTATIONS_PER_LEVEL else failed[: ANNOTATIONS_PER_LEVEL - 1]
        lines += [_annotation(command, gate) for gate in shown]
        rest = failed[len(shown) :]
        if rest:
            said = "; ".join(f"wanted {gate.condition} on {gate.source} (found {gate.found})" for gate in rest)
            lines.append(_line(command, f"gradscope: {len(rest)} more gates failed", f"{said}. See the step summary."))
    if not lines:
        lines.append(f"gradscope: {gates_sentence(report)}.")
    text = "".join(line + "\n" for line in lines)
    return text if unicode else to_ascii(text)


def _annotation(command: str, gate: GateOutcome) -> str:
    title = f"gradscope: wanted {gate.condition}" + (f" ({gate.source})" if gate.source else "")
    return _line(command, title, gate.message or f"wanted {gate.condition}, found {gate.found}")


def _line(command: str, title: str, message: str) -> str:
    message = printable_lines(message)
    if len(message) > _MESSAGE_CHARACTERS:
        message = message[: _MESSAGE_CHARACTERS - 3] + "..."
    return f"::{command} title={escape_property(printable(title)[:200])}::{escape_data(message)}"


def append_step_summary(report: Report, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Append the report as Markdown, gates first, to ``$GITHUB_STEP_SUMMARY``; return whether there was such a file.

    Raises
    ------
    InputError
        The variable names a file that cannot be written.
    """
    path = environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return False
    text = markdown.render(report, gates_first=True).encode("utf-8", "backslashreplace")
    try:
        held = Path(path).stat().st_size if Path(path).exists() else 0
        room = SUMMARY_BYTES - held
        if len(text) > room:
            kept = text[: max(0, room - len(_CUT.encode()))]
            text = kept[: kept.rfind(b"\n") + 1] + _CUT.encode() if room > len(_CUT.encode()) else b""
        with open(path, "ab") as stream:
            stream.write(text)
    except OSError as error:
        raise InputError(f"GITHUB_STEP_SUMMARY={path}: cannot be written ({error.strerror or error}).") from error
    return True
