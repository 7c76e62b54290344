"""A look at an HDF5 file's global heaps, and at what points into them, before the HDF5 library does.

Variable-length strings live in global heap collections: a header, then objects one after the other, each with its
own length. The library walks them by those lengths, and a length of zero in the wrong place makes it walk for
ever (found by fuzzing, HDF5 2.0.0). What points to a text says its length too, and the library allocates that much
before it looks the text up: 32 bytes changed in a file of 10 KB took a gigabyte (found by fuzzing as well). Layout:
HDF5 File Format Specification 3.0, III.E and IV.A.2.m.
"""

from __future__ import annotations

from typing import IO

from gradscope.errors import InputError

_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_HEADER = 16
_VARIABLE_LENGTH = 9
_CHUNK = 8 << 20


def check_global_heaps(stream: IO[bytes], n_bytes: int, *, file: str) -> int:
    """Walk every global heap collection of a file; rewinds the stream and returns the length of the longest object.

    Raises
    ------
    InputError
        If the file's lengths are not 8 bytes, or a collection's objects do not fit it.
    """
    stream.seek(0)
    start = stream.read(16).ljust(16, b"\0")
    # Size of offsets and of lengths: bytes 13, 14 of superblocks 0 and 1, bytes 9, 10 of superblocks 2 and 3.
    sizes = start[13:15] if start[8] < 2 else start[9:11]
    if start[8] > 3 or sizes != b"\x08\x08":
        raise InputError(f"{file}: its HDF5 superblock is not one that Keras writes; the file is damaged")
    # Honest collections do not overlap, so all of them together have fewer objects than the file has headers' worth.
    left, longest = n_bytes // _HEADER, 0
    for place in _find_all(stream, n_bytes, _SIGNATURE):
        stream.seek(place + 8)
        length = int.from_bytes(stream.read(8), "little")
        if not _HEADER <= length <= n_bytes - place:
            raise _damaged(file)
        at, end = _HEADER, length
        while end - at >= _HEADER:
            stream.seek(place + at)
            head = stream.read(_HEADER)
            index, size = int.from_bytes(head[:2], "little"), int.from_bytes(head[8:], "little")
            # Object 0 is the free space, whose size counts its own header; others are padded to 8 bytes.
            step = size if index == 0 else _HEADER + (size + 7) // 8 * 8
            if step < _HEADER or at + step > end:
                raise _damaged(file)
            at, left, longest = at + step, left - 1, max(longest, size if index else 0)
            if left < 0:
                raise _damaged(file)
    stream.seek(0)
    return longest


def _damaged(file: str) -> InputError:
    return InputError(f"{file}: a global heap of its HDF5 structure does not fit together; the file is damaged")


def longest_text_said(stream: IO[bytes], n_bytes: int, name: str) -> int | None:
    """The greatest length that any attribute of this name says of its variable-length texts; None if there is none.

    The attribute's message is found by its name, wherever it stands: version, flags, sizes of name, datatype and
    dataspace (and from version 3 on a character set) come before it, datatype, dataspace and the pointers (length 4
    bytes, address 8, index 4) after it; version 1 pads each to 8 bytes.
    """
    written = name.encode() + b"\0"
    longest = None
    for place in _find_all(stream, n_bytes, written):
        stream.seek(max(place - 9, 0))
        before = stream.read(min(9, place)).rjust(9, b"\0")
        for head, versions in ((before[1:], (1, 2)), (before[:8], (3,))):
            version, flags = head[:2]
            name_size, type_size, space_size = (int.from_bytes(head[i : i + 2], "little") for i in (2, 4, 6))
            if name_size != len(written) or version not in versions:
                continue
            pad = 7 if version == 1 else 0
            at = place + ((name_size + pad) & ~pad)
            stream.seek(at)
            kind = stream.read(1)[:1]
            if not kind or (kind[0] & 15 != _VARIABLE_LENGTH and not flags & 1):
                continue
            at += (type_size + pad) & ~pad
            stream.seek(at)
            n_items = _extent(stream.read(space_size), n_bytes)
            stream.seek(at + ((space_size + pad) & ~pad))
            pointers = stream.read(16 * n_items)
            lengths = [int.from_bytes(pointers[i : i + 4], "little") for i in range(0, len(pointers) - 3, 16)]
            longest = max(lengths, default=0) if longest is None else max(longest, *lengths, 0)
    return longest


def _extent(space: bytes, n_bytes: int) -> int:
    """How many items a dataspace message says, at most what the file has room for."""
    if len(space) < 4:
        return 0
    begin, n_items = 8 if space[0] == 1 else 4, 1
    for axis in range(space[1]):
        n_items *= int.from_bytes(space[begin + 8 * axis : begin + 8 * axis + 8], "little")
    return min(n_items, n_bytes // _HEADER + 1)


def _find_all(stream: IO[bytes], n_bytes: int, wanted: bytes) -> list[int]:
    """Places of these bytes, found in pieces that overlap."""
    places: list[int] = []
    for begin in range(0, n_bytes, _CHUNK):
        stream.seek(begin)
        piece = stream.read(_CHUNK + len(wanted) - 1)
        at = piece.find(wanted)
        while at >= 0:
            places.append(begin + at)
            at = piece.find(wanted, at + 1)
    return places
