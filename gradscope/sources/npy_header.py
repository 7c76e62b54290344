"""The header of a ``.npy`` array, parsed by a strict pattern: nothing is evaluated, nothing unpickled."""

from __future__ import annotations

import re
import struct
from math import prod

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import MAX_AXES, Budget
from gradscope.sources.file_format import NPY_MAGIC

#: numpy itself writes a few hundred bytes at most for a plain array.
MAX_HEADER = 4096
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?)([a-zA-Z])(\d*)['"]""")
_TIMES = re.compile(r"""['"]descr['"]\s*:\s*['"][<>|=]?[mM]8""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\d\s,L]*)\)""")


class NoNumbersError(InputError):
    """A sound array of something else than numbers (exit 3); the arrays beside it may be weights."""


class NpyHeader:
    """Shape, dtype and place of the values in one ``.npy`` array.

    Parameters
    ----------
    start : bytes
        At least the first ``MAX_HEADER + 12`` bytes, or all there are.
    n_bytes : int
        Length of the whole array file.
    name : str
        For messages.
    budget : Budget
        Of the file it stands in.

    Raises
    ------
    InputError
        If the header is not numpy's, the dtype cannot be read without unpickling, or the sizes do not agree.
    """

    def __init__(self, start: bytes, n_bytes: int, *, name: str, budget: Budget) -> None:
        file = budget.file
        where = f"{file}: '{name}'" if name else file
        if not start.startswith(NPY_MAGIC) or len(start) < 10:
            raise InputError(
                f"{where} should be a numpy array, but it does not begin like one; save it with numpy.save"
            )
        wide = start[6] >= 2
        begin = 12 if wide else 10
        if len(start) < begin:
            raise InputError(f"{where} ends inside its header; the file is truncated")
        length = struct.unpack("<I" if wide else "<H", start[8:begin])[0]
        if length > MAX_HEADER or begin + length > n_bytes:
            raise InputError(f"{where} has a header of {length} bytes in a file of {n_bytes}; damaged or not weights")
        text = start[begin : begin + length].decode("latin-1")
        descr, order, shape = _DESCR.search(text), _ORDER.search(text), _SHAPE.search(text)
        if descr is None and ("'descr': [" in text or '"descr": [' in text):
            raise NoNumbersError(f"{where} is a structured array; save each field as a plain numeric array")
        if descr is None and _TIMES.search(text):
            raise NoNumbersError(f"{where} holds dates or times, which are no real numbers; save it as float64")
        if descr is None or order is None or shape is None:
            raise InputError(f"{where} has a header that is not numpy's; the file is damaged")
        byte_order, kind, width = descr.groups()
        if kind == "O":
            raise NoNumbersError(
                f"{where} is an object array, and reading it would run pickled code; save each part as a numeric array"
            )
        try:
            self._dtype = np.dtype(f"{byte_order}{kind}{width}")
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{where} has the dtype '{kind}{width}', which numpy does not know") from error
        sizes = [size.strip().rstrip("L") for size in shape[1].split(",") if size.strip()]
        if len(sizes) > MAX_AXES or not all(size.isdecimal() and len(size) < 20 for size in sizes):
            raise InputError(f"{where} has a shape that is none: ({shape[1][:60]}); the file is damaged")
        self.shape = tuple(int(size) for size in sizes)
        budget.shape(self.shape, f"'{name}'" if name else "it")
        self._fortran = order[1] == "True"
        self._begin = begin + length
        wanted, there = prod(self.shape) * self._dtype.itemsize, n_bytes - self._begin
        if wanted != there:
            raise InputError(
                f"{where} should have {wanted} value bytes for its shape {str(self.shape)[:80]}, but {there} follow "
                "its header; the file is truncated or damaged"
            )

    @property
    def dtype(self) -> str:
        """numpy's name of the dtype, e.g. ``float32``, ``int64``."""
        return self._dtype.name

    def values(self, content: bytes) -> Array:
        """Read the values out of the whole file's bytes; shape ``shape``."""
        flat = np.frombuffer(content, dtype=self._dtype, offset=self._begin, count=prod(self.shape))
        return flat.reshape(self.shape, order="F" if self._fortran else "C")
