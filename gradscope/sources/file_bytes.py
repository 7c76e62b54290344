"""Opening a file that a stranger sent: it must exist, be a regular file, and not be empty."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from gradscope.errors import InputError, UsageError
from gradscope.sources.file_format import FORMATS_SENTENCE, described, read_start

#: Two full lines of a wide terminal and some.
MAX_MESSAGE = 480


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """Open a regular, non-empty file; gives the stream and its size in bytes.

    Raises
    ------
    InputError
        Missing, a directory, a device or pipe, unreadable, or empty.
    """
    try:
        # Stat first: opening a named pipe for reading would wait for ever.
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path}: should be a file, but it is a directory; name the file inside it")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path}: should be a regular file, but it is a device or pipe; copy it to a file first")
        stream = open(path, "rb")  # noqa: SIM115 (closed below; an error in the caller is not one of opening)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path ({FORMATS_SENTENCE})") from error
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise InputError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    with stream:
        n_bytes = os.fstat(stream.fileno()).st_size
        if n_bytes == 0:
            raise InputError(f"{path}: should hold numbers, but it is empty (0 bytes); copy or download it again")
        try:
            yield stream, n_bytes
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror or error}); check the disk and copy it"
            ) from error


@contextmanager
def about(purpose: str) -> Iterator[None]:
    """Say first what a file was read for (``--readout``), where the reader does not know."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(purpose):
            raise
        raise type(error)(f"{purpose}: {error}") from error


@contextmanager
def plain_messages() -> Iterator[None]:
    """Keep what a file calls its parts from flooding or steering the terminal it is reported on."""
    try:
        yield
    except (InputError, UsageError) as error:
        said = plain_message(str(error))
        if said == str(error):
            raise
        raise type(error)(said) from error


def plain_message(message: str) -> str:
    """Shorten a message in the middle and replace what does not print (newlines within names, escape sequences).

    >>> plain_message("module 'a" + chr(27) + "[2J' is odd")
    "module 'a?[2J' is odd"
    """
    printable = "".join(letter if letter.isprintable() else "?" for letter in message)
    return printable if len(printable) <= MAX_MESSAGE else f"{printable[:300]} … {printable[-150:]}"


def sha256_of(stream: BufferedReader) -> str:
    """Hash the whole stream in pieces, and rewind it."""
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(0)
    return digest


def check_start(stream: IO[bytes], wanted: tuple[bytes, ...], what: str, *, file: str) -> bytes:
    """Return the first bytes if they are one of ``wanted``; otherwise say what the file looks like instead."""
    start = read_start(stream)
    if start.startswith(wanted):
        return start
    found = described(start, stream.seek(0, os.SEEK_END))
    stream.seek(0)
    raise InputError(f"{file}: should be {what}, but it is {found}")
