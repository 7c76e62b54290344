"""Tensors of a ``.safetensors`` file: a JSON header of checked offsets, then raw little-endian values.

Layout: 8 bytes N (unsigned, little endian), N bytes of JSON ``{name: {dtype, shape, data_offsets: [begin, end]}}``,
then the values; offsets count from the end of the header [1]_. As strict as the reference implementation: keys stand
once, tensors lie one after the other without a hole, nothing follows the last. Whatever scans the file for its owner
then sees the same tensors as this reader does.

References
----------
.. [1] https://huggingface.co/docs/safetensors (format)
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import Budget
from gradscope.sources.stored_tensor import StoredTensor, bfloat16_to_float32, check_total

#: The format's own limit on its header.
MAX_HEADER = 100_000_000
MAX_TENSORS = 50_000
#: numpy's name (or the format's, where numpy has none), bits of an element, and the dtype the bits are read as.
_DTYPES: dict[str, tuple[str, int, str]] = {
    "F64": ("float64", 64, "<f8"),
    "F32": ("float32", 32, "<f4"),
    "F16": ("float16", 16, "<f2"),
    "BF16": ("bfloat16", 16, "<u2"),
    "I64": ("int64", 64, "<i8"),
    "I32": ("int32", 32, "<i4"),
    "I16": ("int16", 16, "<i2"),
    "I8": ("int8", 8, "|i1"),
    "U64": ("uint64", 64, "<u8"),
    "U32": ("uint32", 32, "<u4"),
    "U16": ("uint16", 16, "<u2"),
    "U8": ("uint8", 8, "|u1"),
    "BOOL": ("bool", 8, "|b1"),
    "C64": ("complex64", 64, "<c8"),
    "F8_E5M2": ("float8 (E5M2)", 8, ""),
    "F8_E4M3": ("float8 (E4M3)", 8, ""),
    "F8_E8M0": ("float8 (E8M0)", 8, ""),
    "F6_E2M3": ("float6 (E2M3)", 6, ""),
    "F6_E3M2": ("float6 (E3M2)", 6, ""),
    "F4": ("float4", 4, ""),
}
_BLANK = rb"[ \t\n\r]*+"
_STRING = rb'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"'
_KEY = re.compile(_BLANK + rb"(" + _STRING + rb")" + _BLANK + rb":" + _BLANK)
_PAIR = _BLANK + _STRING + _BLANK + rb":" + _BLANK + _STRING + _BLANK
#: ``__metadata__``, a table of strings that is of no interest: passed over in one step.
_METADATA = re.compile(rb"\{(?:" + _PAIR + rb"(?:," + _PAIR + rb")*+)?+" + _BLANK + rb"\}")
#: An entry holds a word and two short lists.
_ENTRY = re.compile(rb"\{[^{}]{0,2000}+\}")
_NEXT = re.compile(_BLANK + rb"([,}])" + _BLANK)


@dataclass(frozen=True)
class _Entry:
    """One tensor of the header, checked by itself."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def safetensors_tensors(stream: IO[bytes], budget: Budget) -> dict[str, StoredTensor]:
    """List the tensors of an open ``.safetensors`` file, in the order of their offsets.

    Raises
    ------
    InputError
        If the header is longer than the file or is not such a header, a key stands twice, or the tensors do not fill
        the rest of the file one after the other.
    """
    n_bytes, file = budget.n_bytes, budget.file
    stream.seek(0)
    start = stream.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
    if not 2 <= length <= min(n_bytes - 8, MAX_HEADER):
        raise InputError(
            f"{file}: should begin with the length of a safetensors header, but {length if length >= 0 else 'it ends'} "
            f"does not fit a file of {n_bytes} bytes; it is truncated or another format"
        )
    budget.text(length, "its safetensors header")
    entries = sorted(_entries(stream.read(length), budget), key=lambda entry: (entry.begin, entry.end))
    tensors: dict[str, StoredTensor] = {}
    at, before = 0, "its header"
    for entry in entries:
        if entry.begin != at:
            how = "overlap" if entry.begin < at else f"leave a hole of {entry.begin - at} bytes"
            raise InputError(f"{file}: {before} and '{entry.name}' {how}; the file is damaged")
        at, before = entry.end, f"'{entry.name}'"
        tensors[entry.name] = _stored(stream, entry, 8 + length, file=file)
    if at != n_bytes - 8 - length:
        raise InputError(
            f"{file}: its tensors take {at} bytes, but {n_bytes - 8 - length} follow its header; it is truncated, or "
            "something is appended to it"
        )
    check_total(tensors.values(), budget)
    return tensors


def _stored(stream: IO[bytes], entry: _Entry, base: int, *, file: str) -> StoredTensor:
    known, _, bits = _DTYPES[entry.dtype]

    def load() -> Array:
        if not bits:
            raise InputError(f"{file}: '{entry.name}' holds {known}, which numpy cannot hold; save it as float32")
        stream.seek(base + entry.begin)
        raw = np.frombuffer(stream.read(entry.end - entry.begin), dtype=bits)
        return (bfloat16_to_float32(raw) if known == "bfloat16" else raw).reshape(entry.shape)

    return StoredTensor(entry.name, entry.shape, known, load)


def _entries(header: bytes, budget: Budget) -> Iterator[_Entry]:
    """Read the header entry by entry: it is a table of small tables, and never parsed as anything else."""
    file = budget.file
    bad = InputError(f"{file}: its safetensors header is not such a table; the file is damaged or another format")
    if not header.startswith(b"{"):
        raise bad
    if header.rstrip(b" \t\n\r") == b"{}":
        return
    seen: set[str] = set()
    at, after = 1, b","
    while after == b",":
        key = _KEY.match(header, at)
        if key is None:
            raise bad
        name = _name(key[1], budget)
        if name in seen:
            raise InputError(f"{file}: '{name}' stands twice in its header; the file is damaged or hostile")
        seen.add(name)
        budget.count(len(seen), MAX_TENSORS, "tensors")
        value = (_METADATA if name == "__metadata__" else _ENTRY).match(header, key.end())
        if value is None:
            raise InputError(f"{file}: '{name}' has no dtype, shape and data_offsets; the file is damaged")
        if name != "__metadata__":
            yield _entry(name, value[0], budget)
        following = _NEXT.match(header, value.end())
        if following is None:
            raise bad
        at, after = following.end(), following[1]
    if at != len(header):
        raise bad


def _name(token: bytes, budget: Budget) -> str:
    budget.length(len(token) - 2, "a tensor's name")
    try:
        name = str(json.loads(token.decode("utf-8")))
        name.encode("utf-8")  # half of a surrogate pair is no character
    except ValueError as error:
        raise InputError(f"{budget.file}: has a tensor's name that is no text; the file is damaged") from error
    return budget.name(name, "a tensor's name")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def _entry(name: str, content: bytes, budget: Budget) -> _Entry:
    """Check one header entry by itself."""
    file = budget.file
    try:
        entry = json.loads(content.decode("utf-8"), object_pairs_hook=_once)
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: '{name}' lacks dtype, shape or data_offsets; the file is damaged") from error
    if (
        not isinstance(dtype, str)
        or not isinstance(shape, list)
        or not all(type(size) is int and 0 <= size < 1 << 48 for size in (*shape, begin, end))
    ):
        raise InputError(f"{file}: '{name}' has a dtype, shape or offsets that are none; the file is damaged")
    if dtype not in _DTYPES:
        raise InputError(f"{file}: '{name}' has the dtype '{dtype[:40]}', which the format does not know; damaged")
    budget.shape(shape, f"'{name}'")
    if prod(shape) * _DTYPES[dtype][1] != 8 * (end - begin):
        raise InputError(
            f"{file}: '{name}' should have {prod(shape) * _DTYPES[dtype][1] // 8} bytes for its shape and dtype, but "
            f"its offsets are [{begin}, {end}]; the file is truncated or damaged"
        )
    return _Entry(name, dtype, tuple(shape), begin, end)
