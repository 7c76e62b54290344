"""CSV: the rows of every result, with a leading ``source`` column; a null is an empty field."""

from __future__ import annotations

import csv
import json
from typing import Any, TextIO

from gradscope.records import Report, Result, plain
from gradscope.reports.reading import plain_rows


def write_csv(report: Report, stream: TextIO) -> None:
    """Write all rows under one header, at full precision; lists stand as JSON in their field.

    ``layer`` and ``direction`` columns follow ``source`` where results are told apart by them
    (a bidirectional network, a per-layer run).
    """
    apart = [
        key
        for key in ("layer", "direction")
        if any(result.source.get(key) is not None for result in report.results)
        and not any(key in result.columns for result in report.results)
    ]
    names = list(dict.fromkeys(name for result in report.results for name in result.columns if name != "source"))
    writer = csv.writer(_PlainLines(stream), lineterminator="\r\n")
    writer.writerow(["source", *apart, *names])
    for result in report.results:
        lead = _lead(result, apart)
        for row in plain_rows(result):
            first = _field(row["source"]) if "source" in row else lead[0]
            writer.writerow([first, *lead[1:], *(_field(row.get(name)) for name in names)])


class _PlainLines:
    r"""Lines that end in ``\n``, from a writer told ``\r\n``: a bare carriage return is then quoted on every Python."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        return self._stream.write(line.removesuffix("\r\n") + "\n")


def _lead(result: Result, apart: list[str]) -> list[str]:
    return [_field(plain(result.source.get(key))) for key in ("name", *apart)]


def _field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, allow_nan=False)
