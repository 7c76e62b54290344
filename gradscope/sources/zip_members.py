"""Zip containers from strangers: nothing is inflated before its declared size has been weighed against the file."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import IO

from gradscope.errors import InputError
from gradscope.sources.budget import Budget

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

#: End of central directory, its zip64 form, the locator between them (PKWARE's APPNOTE, 4.3.14 to 4.3.16).
_END, _END64, _LOCATOR_BYTES = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), 20
_MOST_COMMENT = 1 << 16


class ZipMembers:
    """The members of a zip file, opened for reading under a bound on what they may unpack to.

    Parameters
    ----------
    source : seekable binary file
    budget : Budget
        Charged for every byte that is unpacked.

    Raises
    ------
    InputError
        If it is no zip file, a member's name is too long, or the members declare more than the budget has.
    """

    def __init__(self, source: IO[bytes], budget: Budget) -> None:
        self.budget = budget
        self._file = file = budget.file
        try:
            # Each entry of the directory becomes an object of some 700 bytes, for 46 bytes and its name.
            budget.text(16 * _directory_bytes(source, budget.n_bytes), "the directory of its zip container")
            self._zip = zipfile.ZipFile(source)
            members = self._zip.infolist()
        except DAMAGE as error:
            raise InputError(f"{file}: should be a zip container, but it cannot be opened as one ({error})") from error
        self._members = {member.filename: member for member in members if not member.filename.endswith("/")}
        for name in self._members:
            budget.name(name, "a member's name")
            if self._members[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(
                    f"{file}: its member '{name}' is compressed by a method that no model format uses; unpack the "
                    "archive, and name the weights file inside it"
                )
        budget.values(sum(member.file_size for member in members), "unpacking its members")
        self._read: set[str] = set()

    def __enter__(self) -> ZipMembers:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Member names in the container's order."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """Declared uncompressed size in bytes."""
        return self._members[name].file_size

    def read(self, name: str, *, first: int | None = None) -> bytes:
        """Read a member, or its first bytes; never more than it declares. A second reading is charged again.

        Raises
        ------
        InputError
            If the member is damaged, encrypted, or shorter than declared.
        """
        declared = self._members[name].file_size
        wanted = declared if first is None else min(first, declared)
        if name in self._read:
            self.budget.values(wanted, f"reading its member '{name}' over and over")
        if first is None:
            self._read.add(name)
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


def _directory_bytes(source: IO[bytes], n_bytes: int) -> int:
    """Size of the central directory as the end record declares it: what ``zipfile`` will parse."""
    n_tail = min(n_bytes, _MOST_COMMENT + _END.size)
    source.seek(n_bytes - n_tail)
    tail = source.read(n_tail)
    at = len(tail) - _END.size
    if not (at >= 0 and tail[at:].startswith(b"PK\5\6") and tail.endswith(b"\0\0")):
        at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        return 0  # zipfile says that there is none
    declared = int(_END.unpack_from(tail, at)[5])
    before = n_bytes - n_tail + at - _LOCATOR_BYTES - _END64.size
    if before >= 0:  # zip64: a longer record stands before a locator of its own
        source.seek(before)
        record = source.read(_END64.size)
        if record.startswith(b"PK\6\6"):
            declared = max(declared if declared < 0xFFFFFFFF else 0, int(_END64.unpack(record)[8]))
    return min(declared, n_bytes)
