"""Tensors of a ``.safetensors`` file: a JSON header of checked offsets, then raw little-endian values.

Layout: 8 bytes N (unsigned, little endian), N bytes of JSON ``{name: {dtype, shape, data_offsets: [begin, end]}}``,
then the values; offsets count from the end of the header [1]_.

References
----------
.. [1] https://huggingface.co/docs/safetensors (format)
"""

from __future__ import annotations

import json
import struct
from math import prod
from typing import IO, Any

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.base import Array
from gradscope.sources.budget import Budget
from gradscope.sources.stored_tensor import StoredTensor, bfloat16_to_float32, check_total

#: The format's own limit on its header.
MAX_HEADER = 100_000_000
#: Element size in bytes and the numpy dtype the bits are read as.
_DTYPES: dict[str, tuple[str, str]] = {
    "F64": ("float64", "<f8"),
    "F32": ("float32", "<f4"),
    "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"),
    "I64": ("int64", "<i8"),
    "I32": ("int32", "<i4"),
    "I16": ("int16", "<i2"),
    "I8": ("int8", "|i1"),
    "U64": ("uint64", "<u8"),
    "U32": ("uint32", "<u4"),
    "U16": ("uint16", "<u2"),
    "U8": ("uint8", "|u1"),
    "BOOL": ("bool", "|b1"),
}
_MAX_AXES = 16


def safetensors_tensors(stream: IO[bytes], budget: Budget) -> dict[str, StoredTensor]:
    """List the tensors of an open ``.safetensors`` file, in the order of their offsets.

    Raises
    ------
    InputError
        If the header is longer than the file, is not such a header, or offsets overlap or leave the file.
    """
    n_bytes, file = budget.n_bytes, budget.file
    start = stream.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
    if not 2 <= length <= min(n_bytes - 8, MAX_HEADER):
        raise InputError(
            f"{file}: should begin with the length of a safetensors header, but {length if length >= 0 else 'it ends'} "
            f"does not fit a file of {n_bytes} bytes; it is truncated or another format"
        )
    try:
        header = json.loads(stream.read(length))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file}: its safetensors header is not JSON; the file is damaged or another format"
        ) from error
    if not isinstance(header, dict):
        raise InputError(f"{file}: its safetensors header is not a table of tensors; the file is damaged")
    entries = [
        _entry(name, entry, n_bytes - 8 - length, file=file) for name, entry in header.items() if name != "__metadata__"
    ]
    entries.sort(key=lambda entry: (entry[3], entry[4]))
    tensors: dict[str, StoredTensor] = {}
    end_before, name_before = 0, ""
    for name, dtype, shape, begin, end in entries:
        if begin < end_before:
            raise InputError(f"{file}: tensors '{name_before}' and '{name}' overlap; the file is damaged")
        end_before, name_before = end, name
        known, bits = _DTYPES.get(dtype, (dtype, ""))

        def load(
            bits: str = bits, known: str = known, shape: tuple[int, ...] = shape, begin: int = begin, end: int = end
        ) -> Array:
            stream.seek(8 + length + begin)
            raw = np.frombuffer(stream.read(end - begin), dtype=bits)
            return (bfloat16_to_float32(raw) if known == "bfloat16" else raw).reshape(shape)

        tensors[name] = StoredTensor(name, shape, known, load)
    check_total(tensors.values(), budget)
    return tensors


def _entry(name: str, entry: Any, n_data: int, *, file: str) -> tuple[str, str, tuple[int, ...], int, int]:
    """Check one header entry: name, dtype, shape, begin, end (all offsets inside the data)."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{file}: '{name}' lacks dtype, shape or data_offsets; the file is damaged") from error
    if (
        not isinstance(dtype, str)
        or not isinstance(shape, list)
        or len(shape) > _MAX_AXES
        or not all(type(size) is int and 0 <= size < 1 << 48 for size in (*shape, begin, end))
    ):
        raise InputError(f"{file}: '{name}' has a dtype, shape or offsets that are none; the file is damaged")
    if not begin <= end <= n_data:
        raise InputError(
            f"{file}: '{name}' should lie within {n_data} bytes of values, but its offsets are [{begin}, {end}]; "
            "the file is truncated or damaged"
        )
    if dtype in _DTYPES and prod(shape) * np.dtype(_DTYPES[dtype][1]).itemsize != end - begin:
        raise InputError(f"{file}: '{name}' has {end - begin} bytes for shape {shape} of {dtype}; the file is damaged")
    return name, dtype, tuple(shape), begin, end
