"""The formats, their suffixes and writers: one registry for ``-f``, ``-o`` and the Python API."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath
from typing import BinaryIO, TextIO, TypedDict, Unpack, cast

from gradscope.errors import UsageError, did_you_mean
from gradscope.records import Report


class Look(TypedDict, total=False):
    """What may be asked of how a report looks: columns (None: complete at any width), colour, signs beyond ASCII, all
    details, and the names of the figures that a picture shows.
    """

    width: int | None
    color: bool
    unicode: bool
    verbose: bool
    figures: Sequence[str]


@dataclass(frozen=True)
class Format:
    """A way to write a report: ``function`` in ``module`` is imported when first used, and told these ``options``."""

    name: str
    module: str
    function: str
    options: tuple[str, ...] = ()
    streams: bool = False
    binary: bool = False
    on_stdout: bool = True


_PICTURE = ("verbose", "figures")


FORMATS = {
    entry.name: entry
    for entry in (
        Format("table", "table", "render", ("width", "color", "unicode", "verbose")),
        Format("json", "json_report", "write_json", streams=True),
        Format("jsonl", "json_report", "write_jsonl", streams=True),
        Format("csv", "csv_report", "write_csv", streams=True),
        Format("md", "markdown", "render", ("unicode", "verbose")),
        Format("html", "html", "render"),
        Format("junit", "junit", "render", ("unicode",)),
        Format("github", "github", "render", ("unicode",)),
        Format("svg", "svg", "render", _PICTURE, on_stdout=False),
        Format("png", "figure_files", "render_png", _PICTURE, binary=True, on_stdout=False),
        Format("pdf", "figure_files", "render_pdf", _PICTURE, binary=True, on_stdout=False),
    )
}
STDOUT_FORMATS = tuple(name for name, entry in FORMATS.items() if entry.on_stdout)
SUFFIXES = {
    ".txt": "table",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".md": "md",
    ".html": "html",
    ".xml": "junit",
    ".svg": "svg",
    ".png": "png",
    ".pdf": "pdf",
}


def format_of_path(path: str | PurePath) -> str:
    """Return the format that a file's suffix asks for.

    Raises
    ------
    UsageError
        The suffix is none of ours; the message lists them.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix not in SUFFIXES:
        found = f"suffix '{suffix}'" if suffix else "no suffix"
        raise UsageError(
            f"-o {path}: wanted one of {' '.join(SUFFIXES)}; found {found}.{did_you_mean(suffix, SUFFIXES)}"
        )
    return SUFFIXES[suffix]


def _entry(name: str) -> Format:
    if name not in FORMATS:
        raise UsageError(f"unknown format '{name}'; known: {', '.join(FORMATS)}.{did_you_mean(name, FORMATS)}")
    return FORMATS[name]


def writer_of(name: str) -> Callable[..., object]:
    """Import the function behind a format, so that a missing extra shows before anything is computed."""
    entry = _entry(name)
    return cast("Callable[..., object]", getattr(import_module(f"gradscope.reports.{entry.module}"), entry.function))


def render(report: Report, name: str, **look: Unpack[Look]) -> str | bytes:
    """Render ``report`` in the format ``name``: text, or bytes for png and pdf."""
    entry, function = _entry(name), writer_of(name)
    if entry.streams:
        buffer = io.StringIO()
        function(report, buffer)
        return buffer.getvalue()
    told = {option: value for option, value in look.items() if option in entry.options}
    return cast("str | bytes", function(report, **told))


def write(report: Report, name: str, stream: TextIO | BinaryIO, **look: Unpack[Look]) -> None:
    """Write ``report`` to an open stream: text, or binary for png and pdf; json, jsonl and csv go row by row."""
    if _entry(name).streams:
        writer_of(name)(report, stream)
        return
    rendered = render(report, name, **look)
    if isinstance(rendered, bytes):
        cast("BinaryIO", stream).write(rendered)
    else:
        cast("TextIO", stream).write(rendered)
