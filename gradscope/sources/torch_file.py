"""Tensors of a PyTorch file: the zip container, and the one before PyTorch 1.6.

Zip: ``NAME/data.pkl`` (the structure) and ``NAME/data/KEY`` (one raw storage each), ``NAME/byteorder``.
Before 1.6: five pickles in a row (magic number, protocol 1001, system, structure, storage keys), then for each
storage its element count (8 bytes) and its elements.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import numpy as np

from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import Budget
from gradscope.sources.pickle_machine import StorageRef, TensorRef
from gradscope.sources.pickle_names import dtype_of_bits
from gradscope.sources.state_dicts import Path, joined, name_tensors
from gradscope.sources.stored_tensor import StoredTensor, bfloat16_to_float32, check_total
from gradscope.sources.torch_pickle import Unpickled, run_pickle
from gradscope.sources.zip_members import ZipMembers

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_DEPTH = 16

_MAX_CONTAINERS = 100_000

ReadStorage = Callable[[StorageRef], tuple[memoryview, str]]


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
    budget.text(members.size(structure), "its pickle")
    found = run_pickle(members.read(structure), budget=budget)
    order = "<"
    if f"{root}byteorder" in names and members.read(f"{root}byteorder", first=16).strip() == b"big":
        order = ">"

    @lru_cache(maxsize=1)  # all tensors of a fused module look into one storage
    def content(member: str) -> bytes:
        return members.read(member)

    def read(storage: StorageRef) -> tuple[memoryview, str]:
        member = f"{root}data/{storage.key}"
        if member not in names:
            raise InputError(f"{file}: its storage '{storage.key}' is missing; the file is damaged")
        return memoryview(content(member)), order

    return _tensors(found.value, read, budget)


def legacy_torch_tensors(stream: IO[bytes], budget: Budget) -> TorchTensors:
    """List the tensors of an open checkpoint in the container before PyTorch 1.6."""
    n_bytes, file = budget.n_bytes, budget.file
    stream.seek(0)
    content = stream.read(n_bytes)
    magic = run_pickle(content, budget=budget)
    if type(magic.value) is not int or magic.value != LEGACY_MAGIC:
        raise InputError(
            f"{file}: is a pickle, but not one of PyTorch's; re-save with torch.save(model.state_dict(), …) or as .npz"
        )
    protocol = run_pickle(content, magic.end, budget=budget)
    system = run_pickle(content, protocol.end, budget=budget)
    structure = run_pickle(content, system.end, budget=budget)
    keys = run_pickle(content, structure.end, budget=budget)
    order = ">" if isinstance(system.value, dict) and system.value.get("little_endian") is False else "<"
    places = _legacy_places(content, keys, structure.storages, order, file=file)
    view = memoryview(content)

    def read(storage: StorageRef) -> tuple[memoryview, str]:
        if storage.key not in places:
            raise InputError(f"{file}: its storage '{storage.key}' is missing; the file is truncated or damaged")
        begin, end = places[storage.key]
        return view[begin:end], order

    return _tensors(structure.value, read, budget)


def _legacy_places(
    content: bytes, keys: Unpickled, storages: Mapping[str, str], order: str, *, file: str
) -> dict[str, tuple[int, int]]:
    """Where each storage's elements begin and end: they follow the pickles in the order of ``keys``."""
    places: dict[str, tuple[int, int]] = {}
    at = keys.end
    for key in keys.value if isinstance(keys.value, list) else []:
        if not isinstance(key, str) or key not in storages:
            raise InputError(f"{file}: has a storage that its pickle does not know; the file is damaged")
        if at + 8 > len(content):
            raise InputError(f"{file}: ends before its storage '{key}'; the file is truncated")
        n_elements = struct.unpack(f"{order}q", content[at : at + 8])[0]
        begin, end = at + 8, at + 8 + n_elements * dtype_of_bits(storages[key]).itemsize
        if n_elements < 0 or end > len(content):
            raise InputError(f"{file}: its storage '{key}' does not fit the file; truncated or damaged")
        places[key] = (begin, end)
        at = end
    return places


def _walk(value: Any, budget: Budget) -> list[tuple[Path, TensorRef]]:
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
            budget.count(len(seen), _MAX_CONTAINERS, "containers")
            stack.append(_entries(path, item))
    return found


def _entries(path: Path, container: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterator[tuple[Path, Any]]:
    """What may hold tensors inside one container."""
    for key, item in container.items() if isinstance(container, dict) else enumerate(container):
        if isinstance(item, TensorRef | dict | list | tuple) and isinstance(key, str | int | float):
            yield (*path, key), item


def _tensors(value: Any, read: ReadStorage, budget: Budget) -> TorchTensors:
    """Name the tensors: a state dict's own keys, without the envelope it stands in if it is the only one."""
    groups: dict[Path, dict[str, TensorRef]] = {}
    skipped: list[str] = []
    for path, tensor in _walk(value, budget):
        if path and all(isinstance(key, str) for key in path):
            groups.setdefault(path[:-1], {})[str(path[-1])] = tensor
        else:
            skipped.append(joined(path, budget) or "(a bare tensor)")
    named = name_tensors(groups, budget)
    tensors = {name: _stored(name, tensor, read, file=budget.file) for name, tensor in named.items()}
    check_total(tensors.values(), budget)
    return TorchTensors(tensors, tuple(skipped))


def _stored(name: str, tensor: TensorRef, read: ReadStorage, *, file: str) -> StoredTensor:
    def load() -> Array:
        storage = tensor.storage
        raw, order = read(storage)
        bits = dtype_of_bits(storage.dtype, order)
        if (storage.offset + storage.n) * bits.itemsize > len(raw):
            raise InputError(
                f"{file}: '{name}' looks into {storage.n} elements of storage '{storage.key[:60]}', which has "
                f"{len(raw) // bits.itemsize}; the file is damaged"
            )
        flat = np.frombuffer(raw, dtype=bits, count=storage.n, offset=storage.offset * bits.itemsize)
        if storage.dtype == "bfloat16":
            flat = bfloat16_to_float32(flat)
        # The view was checked against the storage when the pickle was read.
        if 0 in tensor.size:
            return np.zeros(tensor.size, dtype=flat.dtype)
        # An axis of one element may have any stride, beyond what numpy can count too.
        strides = tuple(
            step * flat.itemsize if extent > 1 else 0 for extent, step in zip(tensor.size, tensor.stride, strict=True)
        )
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.size, strides, writeable=False)
        return np.array(view)

    return StoredTensor(name, tensor.size, tensor.storage.dtype, load)
