"""Files that a report is written to: opened before the work starts and replaced atomically when it ends."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

from gradscope.errors import InputError
from gradscope.records import Report
from gradscope.reports.formats import FORMATS, format_of_path, write, writer_of


@dataclass
class OutputFile:
    """One ``-o FILE``: written beside its place, then moved there, so that a reader never sees half of it."""

    path: Path
    format_name: str
    stream: TextIO | BinaryIO = field(repr=False)
    temporary: Path

    @classmethod
    def open(cls, name: str) -> OutputFile:
        """Open a temporary file in the same directory, before anything is computed.

        Raises
        ------
        UsageError
            A suffix that is no format.
        InputError
            A directory that does not exist or cannot be written.
        """
        path = Path(name)
        format_name = format_of_path(path)
        writer_of(format_name)  # a missing extra shows here, not after the work
        if path.is_dir():
            raise InputError(f"-o {name}: wanted a file, this is a directory.")
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as problem:
            raise InputError(f"-o {name}: cannot write there ({problem.strerror}).") from None
        if FORMATS[format_name].binary:
            stream: TextIO | BinaryIO = os.fdopen(handle, "wb")
        else:
            stream = os.fdopen(handle, "w", encoding="utf-8", newline="")
        return cls(path, format_name, stream, Path(temporary))

    def finish(self, report: Report, *, figures: Sequence[str] = ()) -> None:
        """Write the report and put it in place; a picture shows the ``figures`` named, or the main ones."""
        try:
            write(report, self.format_name, self.stream, verbose=True, figures=figures)
            self.stream.close()
            # mkstemp makes private files; a result gets what the umask allows, like any other.
            umask = os.umask(0)
            os.umask(umask)
            self.temporary.chmod(0o666 & ~umask)
            self.temporary.replace(self.path)
        except OSError as problem:
            raise InputError(f"-o {self.path}: writing failed ({problem.strerror}).") from None

    def discard(self) -> None:
        """Leave no trace of an unfinished file."""
        with suppress(OSError):
            self.stream.close()
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)


class Outputs:
    """All files of one command; leaves nothing behind unless every one was finished."""

    def __init__(self, names: Sequence[str]) -> None:
        self.files: list[OutputFile] = []
        try:
            for name in names:
                self.files.append(OutputFile.open(name))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.discard()

    def write(self, report: Report, *, figures: Sequence[str] = ()) -> None:
        for file in self.files:
            file.finish(report, figures=figures)
