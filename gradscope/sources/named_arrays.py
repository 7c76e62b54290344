"""Named arrays of an .npz or .safetensors file, for readouts, inputs and states: plain numbers, nothing executed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import Budget
from gradscope.sources.file_bytes import about, opened
from gradscope.sources.file_format import described, read_start, sniff
from gradscope.sources.npz import npz_tensors
from gradscope.sources.safetensors import safetensors_tensors
from gradscope.sources.stored_tensor import StoredTensor
from gradscope.sources.zip_members import ZipMembers


def read_arrays(path: Path, *, purpose: str) -> dict[str, Array]:
    """Read every numeric array of the file, as float64.

    Raises
    ------
    InputError
        Another format, an unreadable file, an array that is not of finite real numbers.
    """
    with about(purpose), opened(path) as (stream, n_bytes):
        budget = Budget(n_bytes, file=path.name)
        start = read_start(stream)
        kind = sniff(start, n_bytes)
        if kind == "safetensors":
            return _loaded(safetensors_tensors(stream, budget), path, purpose)
        if kind != "zip":
            found = described(start, n_bytes)
            raise InputError(f"{purpose}: '{path.name}' should be a .npz or .safetensors, but it is {found}")
        with ZipMembers(stream, budget) as members:
            return _loaded(npz_tensors(members), path, purpose)


def _loaded(tensors: dict[str, StoredTensor], path: Path, purpose: str) -> dict[str, Array]:
    arrays = {}
    for name, tensor in tensors.items():
        values = np.asarray(tensor.load())
        if values.dtype.kind not in "fiub":
            raise InputError(f"{purpose}: '{name}' in {path.name} holds {tensor.dtype}, wanted real numbers.")
        arrays[name] = np.asarray(values, dtype=np.float64)
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"{purpose}: '{name}' in {path.name} has a NaN or Inf: clean the file first.")
    return arrays


def read_named(text: str, *, purpose: str) -> tuple[Array, str]:
    """Read one array as ``FILE.npz`` (holding one) or ``FILE.npz:NAME``; returns it and what to call it.

    Raises
    ------
    InputError
        Several arrays and no name, or a name that is not there: the message lists what is.
    """
    path, name = Path(text), None
    if not path.exists() and ":" in text:
        head, _, name = text.rpartition(":")
        path = Path(head)
    arrays = read_arrays(path, purpose=purpose)
    listed = ", ".join(f"{key} {value.shape}" for key, value in arrays.items()) or "nothing"
    if name is None:
        if len(arrays) != 1:
            raise InputError(
                f"{purpose}: {path.name} holds {listed}.\nPick one with {path.name}:{next(iter(arrays), 'NAME')}"
            )
        name = next(iter(arrays))
    if name not in arrays:
        raise InputError(f"{purpose}: no array '{name}' in {path.name}; it holds {listed}.")
    return arrays[name], f"{path.name}:{name}"
