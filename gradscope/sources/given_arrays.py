"""Arrays as Python callers hold them (numpy, torch, JAX, TensorFlow, nested lists), without importing their library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.stored_tensor import shown

#: Floats of one or two bytes that numpy does not have; float32 holds each of them exactly.
_SMALL_FLOATS = ("bfloat16", "float8")


@dataclass(frozen=True, eq=False)
class GivenArray:
    """An array that a Python caller gives where the command line names a file.

    Attributes
    ----------
    values : ndarray of float64, or of int64 where the caller's are whole numbers
    """

    values: Array

    @property
    def title(self) -> str:
        """For people and ``settings``: ``array (30, 16)``."""
        return f"array {shown(self.values.shape)}"


@dataclass(frozen=True, eq=False)
class GivenReadout:
    """A readout that a Python caller gives: y = weight h + bias.

    Attributes
    ----------
    arrays : dict of str to ndarray
        ``weight`` and perhaps ``bias``, float64.
    """

    arrays: dict[str, Array]

    @property
    def title(self) -> str:
        """For people and ``settings``."""
        return f"array {shown(self.arrays['weight'].shape)}" if "weight" in self.arrays else "arrays"


def title_of(value: str | GivenArray | GivenReadout) -> str:
    """What a report calls it: a file without its directory, a word as it is, an array by its shape."""
    if not isinstance(value, str):
        return value.title
    return Path(value).name if Path(value).suffix else value


def is_tensor(value: object) -> bool:
    """Whether this is one of torch's tensors, by what it can do."""
    return all(hasattr(value, name) for name in ("detach", "cpu", "numpy", "dtype", "shape"))


def is_array(value: object) -> bool:
    """Whether this is an array of any library (a number or a list is none)."""
    if isinstance(value, type):
        return False
    return is_tensor(value) or all(hasattr(value, name) for name in ("__array__", "shape", "dtype"))


def dtype_name(value: Any) -> str:
    """``float32``, ``bfloat16``, … of an array of any library."""
    dtype = value.dtype
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def numpy_array(value: Any, *, what: str) -> Array:
    """A numpy array with the same values; dtypes that numpy does not know come as float32, which holds them exactly.

    It may share the caller's memory: copy before keeping it.

    Raises
    ------
    InputError
        Something that is no array, or whose values cannot be had (a tensor without storage, a ragged list).
    """
    if not is_array(value) and not (isinstance(value, Sequence | int | float) and not isinstance(value, str | bytes)):
        raise InputError(f"{what}: wanted an array or tensor of numbers, got {type(value).__name__}.")
    try:
        if is_tensor(value):
            return _of_tensor(value)
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype.name.startswith(_SMALL_FLOATS) else array
    except Exception as problem:  # whatever a foreign library raises when it is asked for its values
        said = (str(problem).splitlines() or [type(problem).__name__])[0][:200]
        raise InputError(f"{what}: these values cannot be read as an array ({said}).") from problem


def _of_tensor(value: Any) -> Array:
    tensor = value.detach()
    if getattr(tensor, "is_quantized", False):
        tensor = tensor.dequantize()
    if str(getattr(tensor, "layout", "torch.strided")) != "torch.strided":
        tensor = tensor.to_dense()
    if dtype_name(tensor).startswith(_SMALL_FLOATS):
        tensor = tensor.float()
    return np.asarray(tensor.cpu().numpy())


def real_array(value: Any, *, what: str) -> Array:
    """A copy of the caller's values, float64 (integers stay whole numbers, int64).

    Raises
    ------
    InputError
        No array, an empty one, not of real numbers, or with a NaN or an infinity, whose index is named.
    """
    array = numpy_array(value, what=what)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what}: an array of {array.dtype}, wanted real numbers.")
    if array.size == 0:
        raise InputError(f"{what}: holds no numbers: its shape is {array.shape}.")
    if array.dtype.kind in "iu":
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise InputError(f"{what}: {array.max()} is more than a whole number can be here.")
        return array.astype(np.int64)
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{what}: there is a NaN or Inf at index {where}.")
    return array
