"""A named tensor that a file declares: its shape and dtype are known before a byte of it is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import Budget

#: The dtypes that can carry weights, as they are named in ``LayerWeights.dtype``.
FLOAT_DTYPES = ("float64", "float32", "float16", "bfloat16")

#: What stands beside recurrent layers is kept up to this many bytes as float64; heads and embeddings of any size.
MAX_OTHER_BYTES = 64 << 20
_READABLE = (*FLOAT_DTYPES, "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of an open file.

    Attributes
    ----------
    name : str
        As the file has it.
    dtype : str
        numpy's name, or ``bfloat16``, or whatever the file says if numpy has no name for it.
    load : callable
        Reads the values; the reader has checked by then that the file holds as many bytes as the shape needs.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], Array]

    @property
    def size(self) -> int:
        """Number of elements (exact: Python integers do not overflow)."""
        return prod(self.shape)


def shown(shape: tuple[int, ...]) -> str:
    """Write a shape for an error message, at most six axes of it.

    >>> shown((512, 128)), shown((3,))
    ('(512, 128)', '(3,)')
    """
    return str(shape) if len(shape) <= 6 else f"({', '.join(map(str, shape[:5]))}, … {len(shape)} axes)"


def load_weights(tensor: StoredTensor, *, file: str) -> Array:
    """Read a tensor as float64 weights, shape ``tensor.shape``; float16, bfloat16 and float32 convert exactly.

    Raises
    ------
    InputError
        If the dtype is not a floating-point one, or a value is NaN or infinite.
    """
    if tensor.dtype not in FLOAT_DTYPES:
        raise InputError(
            f"{file}: '{tensor.name}' should be floating-point weights, but its dtype is {tensor.dtype}; "
            f"save it as one of {', '.join(FLOAT_DTYPES)} (dequantise it first if it is quantised)"
        )
    with np.errstate(invalid="ignore"):  # a signalling NaN is found below, by name
        values = np.ascontiguousarray(tensor.load(), dtype=np.float64)
    if not np.isfinite(values).all():
        n_bad = int(values.size - np.isfinite(values).sum())
        raise InputError(
            f"{file}: '{tensor.name}' should hold finite weights, but {n_bad} of its {values.size} values are NaN or "
            "infinite; the training run diverged or the file is damaged, use an earlier checkpoint"
        )
    return values


def check_total(tensors: Iterable[StoredTensor], budget: Budget) -> None:
    """Refuse a file whose tensors together claim far more values than it has bytes for, before any is read.

    Several names may look into the same bytes (tied weights); thousands of them are an attack on memory.

    Raises
    ------
    InputError
        If they come to more, as float64, than the file may take.
    """
    budget.values(8 * sum(tensor.size for tensor in tensors), "the values that its tensors declare")


def keep_beside(tensors: Iterable[StoredTensor], widths: Collection[int]) -> dict[str, Array]:
    """Load the numeric tensors that are small, or a matrix that a layer of one of the ``widths`` may read or feed.

    A language model's head over 50,000 words is such a matrix; an encoder of images beside the recurrence is not.
    """
    return {
        tensor.name: tensor.load()
        for tensor in tensors
        if tensor.dtype in _READABLE
        and (tensor.size * 8 <= MAX_OTHER_BYTES or (len(tensor.shape) == 2 and set(tensor.shape) & set(widths)))
    }


def bfloat16_to_float32(raw: Array) -> Array:
    """Widen bfloat16 bit patterns (uint16) to float32: the same 16 bits, followed by 16 zero bits.

    >>> float(bfloat16_to_float32(np.array([0x3F80], dtype=np.uint16))[0])
    1.0
    """
    return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
