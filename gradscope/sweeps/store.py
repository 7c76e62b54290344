"""The file of a sweep: append-only JSON Lines with one writer, readable by ``show`` and by any script.

    {"kind":"run","schema":"gradscope/sweep/1",...,"results":[...],"plan":{...},"plans":[...]}
    {"kind":"row","result":0,"source":"rnn","key":"…","gain":0.5,...}
    {"kind":"end",...}

A line reaches the system in one call and ends in a newline, so a killed writer can tear the last line only; opening
the file again cuts it off. A point of several rows carries ``"part": [i, n]`` and counts once all n are there.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from gradscope.errors import InputError
from gradscope.strict_json import strict_loads

#: A power cut costs at most this many seconds of rows; a killed process costs none.
SYNC_EVERY = 1.0
#: How every store begins; a file that begins otherwise is never touched.
OPENING = b'{"kind":"run","schema":"gradscope/sweep/'

Line = dict[str, Any]


def dumps(item: Mapping[str, Any]) -> bytes:
    """One line of strict JSON, keys in the order given."""
    return (json.dumps(item, allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _parse(raw: bytes) -> Line | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        item = strict_loads(raw)
    except ValueError:
        return None
    return item if isinstance(item, dict) and _is_line(item) else None


def _is_line(item: Line) -> bool:
    """Whether a line has what this program relies on in every line that it wrote itself."""
    if item.get("kind") == "run":
        shapes = (("plan", dict), ("environment", dict), ("plans", list), ("results", list))
        return all(isinstance(item.get(name, shape()), shape) for name, shape in shapes)
    if item.get("kind") == "end":
        return True
    part = item.get("part", [1, 1])
    return (
        item.get("kind") == "row"
        and isinstance(item.get("key"), str)
        and isinstance(item.get("status"), str)
        and isinstance(item.get("error"), str | None)
        and isinstance(part, list)
        and len(part) == 2
        and all(type(number) is int for number in part)
        and 1 <= part[0] <= part[1]
    )


class Store:
    """An open, locked store; use as a context manager.

    Attributes
    ----------
    header : dict or None
        The run line; None for a new file.
    rows : dict of str to list of dict
        Key → the lines of every finished point, in the order they were written.
    ended : bool
        The end line is there.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor
        self.header: Line | None = None
        self.rows: dict[str, list[Line]] = {}
        self.ended = False
        self._size = 0
        self._synced_at = time.monotonic()

    @classmethod
    def open(cls, name: str | Path, *, fresh: bool = False) -> Store:
        """Open or create, lock, repair and read a store; ``fresh`` forgets what it held.

        Raises
        ------
        InputError
            Another sweep holds it, it cannot be written, or it is something else.
        """
        path = Path(name)
        store = cls(path, _open_locked(path))
        try:
            store._check_opening()
            if fresh:
                os.ftruncate(store.descriptor, 0)
            store._read()
        except BaseException:
            os.close(store.descriptor)
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            os.ftruncate(self.descriptor, self._size)
            os.fsync(self.descriptor)
        os.close(self.descriptor)

    def _check_opening(self) -> None:
        start = os.pread(self.descriptor, len(OPENING), 0)
        if start != OPENING[: len(start)]:
            raise InputError(
                f"--store {self.path}: is no sweep's store, and is left as it is. Choose another file name."
            )

    def _read(self) -> None:
        """Read every finished point, and cut off what a killed writer left half written."""
        size = os.fstat(self.descriptor).st_size
        offset = 0
        parts: list[Line] = []
        with os.fdopen(os.dup(self.descriptor), "rb") as stream:
            stream.seek(0)
            for number, raw in enumerate(stream, start=1):
                offset += len(raw)
                line = _parse(raw)
                if line is None and offset == size and not raw.endswith(b"\n"):
                    break
                if line is None or (number == 1) != (line.get("kind") == "run"):
                    raise InputError(
                        f"--store {self.path}: line {number} is no line of a sweep; it was changed by something else.\n"
                        "Restore the file, or start over with --fresh."
                    )
                if self._take(line, parts):
                    self._size = offset
        if self._size < size:
            os.ftruncate(self.descriptor, self._size)

    def _take(self, line: Line, parts: list[Line]) -> bool:
        """Take in one line; whether everything up to it is complete."""
        if line["kind"] == "run":
            self.header = line
        elif line["kind"] == "end":
            self.ended = True
        else:
            parts.append(line)
            if len(parts) < line.get("part", (1, 1))[1]:
                return False
            self.rows[line["key"]] = list(parts)
            parts.clear()
        return True

    def begin(self, header: Line) -> None:
        """Write the run line of a new store."""
        self.header = header
        self._append(dumps(header))
        os.fsync(self.descriptor)

    def add(self, key: str, lines: Iterable[Line]) -> None:
        """Append the rows of one finished point; they are in the system's hands when this returns."""
        kept = list(lines)
        self._append(b"".join(dumps(line) for line in kept))
        self.rows[key] = kept
        now = time.monotonic()
        if now - self._synced_at > SYNC_EVERY:
            self._synced_at = now
            os.fsync(self.descriptor)

    def end(self, line: Line) -> None:
        """Write the end line."""
        self._append(dumps(line))
        self.ended = True

    def rewrite(self, header: Line) -> None:
        """Replace the file by one with another run line and the same rows, all at once; the lock is kept.

        What a larger plan needs: the run line says what the file holds, and an end line has to go.
        """
        handle, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            os.fchmod(handle, os.fstat(self.descriptor).st_mode & 0o777)
            _lock(handle, self.path)
            new = Store(self.path, handle)
            new._append(dumps(header))
            for lines in self.rows.values():
                new._append(b"".join(dumps(line) for line in lines))
            os.fsync(handle)
            os.replace(temporary, self.path)
        except BaseException:
            os.close(handle)
            with suppress(OSError):
                os.unlink(temporary)
            raise
        os.close(self.descriptor)
        self.descriptor, self.header, self.ended, self._size = handle, header, False, new._size

    def _append(self, raw: bytes) -> None:
        """Write at the end, wholly or not at all.

        Raises
        ------
        InputError
            The disk is full or gone; everything before is kept.
        """
        done = 0
        try:
            while done < len(raw):
                done += os.pwrite(self.descriptor, raw[done:], self._size + done)
        except OSError as problem:
            with suppress(OSError):
                os.ftruncate(self.descriptor, self._size)
            raise InputError(
                f"--store {self.path}: writing failed ({problem.strerror}); {len(self.rows)} finished points kept.\n"
                "Make room and run the same command again: it continues there."
            ) from None
        except BaseException:  # Ctrl-C between two writes
            os.ftruncate(self.descriptor, self._size)
            raise
        self._size += len(raw)


def _open_locked(path: Path) -> int:
    if path.is_dir():
        raise InputError(f"--store {path}: wanted a file, this is a directory.")
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as problem:
            raise InputError(f"--store {path}: cannot be opened for writing ({problem.strerror}).") from None
        try:
            _lock(descriptor, path)
            # --extend replaces the file: whoever opened the old one just before has to look again.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: one sweep per file is then the user's promise
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"--store {path}: another sweep is writing this file. Wait for it, or choose another file."
        ) from None
    except OSError:
        # Some network file systems know no locks; refusing to work there would help nobody.
        return
