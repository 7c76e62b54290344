"""Tensors of a PyTorch file: the zip container, and the one before PyTorch 1.6.

Zip: ``NAME/data.pkl`` (the structure) and ``NAME/data/KEY`` (one raw storage each), ``NAME/byteorder``.
Before 1.6: five pickles in a row (magic number, protocol 1001, system, structure, storage keys), then for each
storage its element count (8 bytes) and its elements.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.base import Array
from gradscope.sources.budget import Budget
from gradscope.sources.naming import names_a_recurrent_weight, strip_wrappers
from gradscope.sources.pickle_machine import StorageRef, TensorRef
from gradscope.sources.stored_tensor import StoredTensor, bfloat16_to_float32, check_total
from gradscope.sources.torch_pickle import run_pickle
from gradscope.sources.zip_members import ZipMembers

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_BITS = {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "u2",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "b1",
}
#: Keys that checkpoints put around a state dict; they are no part of a module's name.
_ENVELOPES = {"state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params"}
_MAX_DEPTH = 16

_MAX_CONTAINERS = 100_000

Path: TypeAlias = tuple[str | int, ...]
ReadStorage = Callable[[StorageRef], tuple[bytes, str]]


@dataclass(frozen=True)
class TorchTensors:
    """The tensors of state dicts by name, and the names of what is no state dict (an optimiser's)."""

    tensors: dict[str, StoredTensor]
    skipped: tuple[str, ...]


def zip_torch_tensors(members: ZipMembers) -> TorchTensors:
    """List the tensors of an open zip checkpoint.

    Raises
    ------
    InputError
        If it is no PyTorch checkpoint, is damaged, or its pickle names anything but tensors and plain containers.
    """
    budget = members.budget
    file = budget.file
    names = set(members.names)
    structure = next((name for name in members.names if name.rpartition("/")[2] == "data.pkl"), None)
    if structure is None:
        raise InputError(
            f"{file}: should be a PyTorch checkpoint, but this zip container has no data.pkl; "
            "it may be a .npz or .keras under another name"
        )
    root = structure.removesuffix("data.pkl")
    value, _ = run_pickle(members.read(structure), file=file)
    order = "<"
    if f"{root}byteorder" in names and members.read(f"{root}byteorder").strip() == b"big":
        order = ">"

    def read(storage: StorageRef) -> tuple[bytes, str]:
        member = f"{root}data/{storage.key}"
        if member not in names:
            raise InputError(f"{file}: its storage '{storage.key}' is missing; the file is damaged")
        return members.read(member), order

    return _tensors(value, read, budget)


def legacy_torch_tensors(stream: IO[bytes], budget: Budget) -> TorchTensors:
    """List the tensors of an open checkpoint in the container before PyTorch 1.6."""
    n_bytes, file = budget.n_bytes, budget.file
    stream.seek(0)
    content = stream.read(n_bytes)
    magic, at = run_pickle(content, file=file)
    if type(magic) is not int or magic != LEGACY_MAGIC:
        raise InputError(
            f"{file}: is a pickle, but not one of PyTorch's; re-save with torch.save(model.state_dict(), …) or as .npz"
        )
    _, at = run_pickle(content, at, file=file)
    system, at = run_pickle(content, at, file=file)
    value, at = run_pickle(content, at, file=file)
    keys, at = run_pickle(content, at, file=file)
    order = ">" if isinstance(system, dict) and system.get("little_endian") is False else "<"
    widths = {ref.storage.key: np.dtype(_BITS[ref.storage.dtype]).itemsize for _, ref in _walk(value, file=file)}
    places: dict[str, tuple[int, int]] = {}
    for key in keys if isinstance(keys, list) else []:
        if at + 8 > n_bytes:
            raise InputError(f"{file}: ends before its storage '{key}'; the file is truncated")
        n_elements = struct.unpack(f"{order}q", content[at : at + 8])[0]
        begin, end = at + 8, at + 8 + n_elements * widths.get(str(key), 1)
        if str(key) not in widths or n_elements < 0 or end > n_bytes:
            raise InputError(f"{file}: its storage '{str(key)[:60]}' does not fit the file; truncated or damaged")
        places[str(key)] = (begin, end)
        at = end

    def read(storage: StorageRef) -> tuple[bytes, str]:
        if storage.key not in places:
            raise InputError(f"{file}: its storage '{storage.key[:60]}' is missing; the file is truncated or damaged")
        begin, end = places[storage.key]
        return content[begin:end], order

    return _tensors(value, read, budget)


def _walk(value: Any, *, file: str) -> list[tuple[Path, TensorRef]]:
    """Every tensor inside nested containers with the keys that lead to it, in the file's order; each container once."""
    found: list[tuple[Path, TensorRef]] = []
    seen: set[int] = set()
    stack: list[Iterator[tuple[Path, Any]]] = [_entries((), (value,))]
    while stack:
        path, item = next(stack[-1], ((), None))
        if item is None:
            stack.pop()
        elif isinstance(item, TensorRef):
            found.append((path[1:], item))
        elif id(item) not in seen and len(path) <= _MAX_DEPTH:
            seen.add(id(item))
            if len(seen) > _MAX_CONTAINERS:
                raise InputError(f"{file}: has more than {_MAX_CONTAINERS} containers; save the state dict alone")
            stack.append(_entries(path, item))
    return found


def _entries(path: Path, container: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterator[tuple[Path, Any]]:
    """What may hold tensors inside one container."""
    for key, item in container.items() if isinstance(container, dict) else enumerate(container):
        if isinstance(item, TensorRef | dict | list | tuple) and isinstance(key, str | int):
            yield (*path, key), item


def _tensors(value: Any, read: ReadStorage, budget: Budget) -> TorchTensors:
    """Name the tensors: a state dict's own keys, without the envelope it stands in if it is the only one."""
    file = budget.file
    groups: dict[Path, dict[str, TensorRef]] = {}
    skipped: list[str] = []
    for path, tensor in _walk(value, file=file):
        if path and all(isinstance(key, str) for key in path):
            groups.setdefault(path[:-1], {})[str(path[-1])] = tensor
        else:
            skipped.append(".".join(map(str, path)) or "(a bare tensor)")
    recurrent = [place for place, group in groups.items() if any(map(names_a_recurrent_weight, group))]
    tensors: dict[str, StoredTensor] = {}
    for place, group in groups.items():
        prefix = "".join(f"{key}." for key in place if key not in _ENVELOPES or len(recurrent) > 1)
        if recurrent == [place] and all("." in name for name in group if names_a_recurrent_weight(name)):
            prefix = ""
        for original, name in strip_wrappers(list(group)).items():
            full = prefix + name
            if full in tensors:
                full = ".".join((*map(str, place), original))
            tensors[full] = _stored(full, group[original], read, file=file)
    check_total(tensors.values(), budget)
    return TorchTensors(tensors, tuple(skipped))


def _stored(name: str, tensor: TensorRef, read: ReadStorage, *, file: str) -> StoredTensor:
    def load() -> Array:
        storage = tensor.storage
        raw, order = read(storage)
        bits = np.dtype(order + _BITS[storage.dtype])
        if (storage.offset + storage.n) * bits.itemsize > len(raw):
            raise InputError(
                f"{file}: '{name}' looks into {storage.n} elements of storage '{storage.key[:60]}', which has "
                f"{len(raw) // bits.itemsize}; the file is damaged"
            )
        flat = np.frombuffer(raw, dtype=bits, count=storage.n, offset=storage.offset * bits.itemsize)
        if storage.dtype == "bfloat16":
            flat = bfloat16_to_float32(flat)
        # The view was checked against the storage when the pickle was read.
        strides = tuple(step * flat.itemsize for step in tensor.stride)
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.size, strides, writeable=False)
        return np.array(view)

    return StoredTensor(name, tensor.size, tensor.storage.dtype, load)
