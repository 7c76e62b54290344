"""Zip containers from strangers: nothing is inflated before its declared size has been weighed against the file."""

from __future__ import annotations

import struct
import zipfile
import zlib
from types import TracebackType
from typing import IO

from gradscope.errors import InputError
from gradscope.sources.stored_tensor import FLOOR_BYTES, MAX_RATIO

#: What zipfile raises on damaged or hostile containers.
DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


class ZipMembers:
    """The members of a zip file, opened for reading under a bound on what they may unpack to.

    Parameters
    ----------
    source : seekable binary file
    n_bytes : int
        Its size.
    file : str
        For messages.

    Raises
    ------
    InputError
        If it is no zip file, or its members declare more than ``max(FLOOR_BYTES, MAX_RATIO · compressed size)``
        bytes in total.
    """

    def __init__(self, source: IO[bytes], n_bytes: int, *, file: str) -> None:
        self._file = file
        try:
            self._zip = zipfile.ZipFile(source)
            members = self._zip.infolist()
        except DAMAGE as error:
            raise InputError(f"{file}: should be a zip container, but it cannot be opened as one ({error})") from error
        self._members = {member.filename: member for member in members if not member.filename.endswith("/")}
        # Members may overlap on disk, so their packed sizes can add up to more than there is.
        packed = min(n_bytes, sum(member.compress_size for member in members))
        unpacked = sum(member.file_size for member in members)
        if unpacked > max(FLOOR_BYTES, MAX_RATIO * packed):
            raise InputError(
                f"{file}: its members would unpack to {unpacked} bytes from {packed}, more than {MAX_RATIO} times; "
                "weights do not compress so well, so it is refused (save it uncompressed if it is genuine)"
            )

    def __enter__(self) -> ZipMembers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Member names in the container's order."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """Declared uncompressed size in bytes."""
        return self._members[name].file_size

    def read(self, name: str, *, first: int | None = None) -> bytes:
        """Read a member, or its first bytes; never more than it declares.

        Raises
        ------
        InputError
            If the member is damaged, encrypted, or shorter than declared.
        """
        declared = self._members[name].file_size
        wanted = declared if first is None else min(first, declared)
        try:
            with self._zip.open(self._members[name]) as stream:
                content = stream.read(wanted)
        except DAMAGE as error:
            raise InputError(
                f"{self._file}: its member '{name}' cannot be read ({error}); the file is damaged"
            ) from error
        if len(content) != wanted:
            raise InputError(
                f"{self._file}: its member '{name}' ends after {len(content)} of {wanted} bytes; truncated"
            )
        return content
