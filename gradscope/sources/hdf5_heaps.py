"""A look at an HDF5 file's global heaps before the HDF5 library sees them.

Variable-length strings live in global heap collections: a header, then objects one after the other, each with its
own length. The library walks them by those lengths, and a length of zero in the wrong place makes it walk for
ever (found by fuzzing, HDF5 2.0.0). Layout: HDF5 File Format Specification 3.0, III.E.
"""

from __future__ import annotations

from typing import IO

from gradscope.errors import InputError

_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_HEADER = 16
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
    for place in _find_all(stream, n_bytes):
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


def _find_all(stream: IO[bytes], n_bytes: int) -> list[int]:
    """Places of the collection signature, found in pieces that overlap."""
    places: list[int] = []
    for begin in range(0, n_bytes, _CHUNK):
        stream.seek(begin)
        piece = stream.read(_CHUNK + len(_SIGNATURE) - 1)
        at = piece.find(_SIGNATURE)
        while at >= 0:
            places.append(begin + at)
            at = piece.find(_SIGNATURE, at + 1)
    return places
