"""Opening a file that a stranger sent: it must exist, be a regular file, and begin as its suffix says."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from gradscope.errors import InputError

FORMATS = ".npy .npz .safetensors .pt .pth .h5 .hdf5 .keras .onnx"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_KNOWN_STARTS = (
    (b"PK\x03\x04", "a zip container (.npz, .pt or .keras)"),
    (HDF5_MAGIC, "an HDF5 file (.h5)"),
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"\x80\x02", "a pickle (.pt from before PyTorch 1.6)"),
    (b"\x80", "a pickle"),
    (b"version https://git-lfs", "a git-lfs pointer (fetch the file itself with 'git lfs pull')"),
    (b"<", "a web page or XML"),
    (b"\x1f\x8b", "a gzip file (unpack it first)"),
)


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
        with open(path, "rb") as stream:
            n_bytes = os.fstat(stream.fileno()).st_size
            if n_bytes == 0:
                raise InputError(f"{path}: should hold weights, but it is empty (0 bytes); copy or download it again")
            yield stream, n_bytes
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path (formats: {FORMATS})") from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def sha256_of(stream: BufferedReader) -> str:
    """Hash the whole stream in pieces, and rewind it."""
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(0)
    return digest


def check_start(stream: IO[bytes], wanted: tuple[bytes, ...], what: str, *, file: str) -> bytes:
    """Return the first bytes if they are one of ``wanted``; otherwise say what the file looks like instead."""
    stream.seek(0)
    start = stream.read(64)
    stream.seek(0)
    for magic in wanted:
        if start.startswith(magic):
            return start
    raise InputError(f"{file}: should be {what}, but it is not{looks_like(start)}; check the suffix or save it again")


def looks_like(start: bytes) -> str:
    """Say what a file's first bytes look like, as a clause; empty if they look like nothing known.

    >>> looks_like(b"PK" + bytes([3, 4]))
    ' (it begins like a zip container (.npz, .pt or .keras))'
    """
    for magic, what in _KNOWN_STARTS:
        if start.startswith(magic):
            return f" (it begins like {what})"
    return ""
