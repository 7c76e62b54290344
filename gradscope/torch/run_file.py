"""The JSON Lines of a training run: a line at a time, each complete when it is there, readable by ``show``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradscope.errors import InputError
from gradscope.records import Report, plain
from gradscope.reports.json_report import end_line


class RunFile:
    """An open file of rows; the end line is written when the run is over.

    Parameters
    ----------
    path : Path
    report : Report
        With the results' sources and settings, without rows.
    overwrite : bool
        Begin again where something stands already.

    Raises
    ------
    InputError
        The file is there already, or cannot be written.
    """

    def __init__(self, path: Path, report: Report, columns: Sequence[str], *, overwrite: bool) -> None:
        self.path = path
        try:
            self._stream = path.open("w" if overwrite else "x", encoding="utf-8")
        except FileExistsError:
            raise InputError(
                f"path={path}: is there already, from another run perhaps; choose another name, or overwrite=True"
            ) from None
        except OSError as problem:
            raise InputError(f"path={path}: cannot be written ({problem.strerror})") from None
        self._names = [str(result.source["name"]) for result in report.results]
        opening = [
            {"source": plain(r.source), "settings": plain(r.settings), "columns": list(columns)} for r in report.results
        ]
        self._write({"kind": "run", **report.header(), "results": opening})

    def add(self, result: int, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self._write({"kind": "row", "result": result, "source": self._names[result], **row})

    def end(self, report: Report) -> None:
        """Write the summaries and close."""
        self._write(end_line(report))
        self._stream.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(line, allow_nan=False) + "\n")
        self._stream.flush()
