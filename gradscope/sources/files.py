"""From a path to trained weights, or to ready matrices: one door for every file format.

Everything read here is untrusted: no reader executes, writes, or touches the network, and every size is weighed
against the file's own before anything is allocated (``docs/security.md``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType

from gradscope.errors import InputError
from gradscope.sources.budget import Budget
from gradscope.sources.file_bytes import check_start, opened, plain_messages, sha256_of
from gradscope.sources.file_format import FORMATS_SENTENCE, HDF5_MAGIC, described, read_start, sniff
from gradscope.sources.file_keys import FileKeys
from gradscope.sources.layer_weights import WeightFile, readout_widths
from gradscope.sources.matrices import Matrices, read_matrices
from gradscope.sources.module_selection import select_layers
from gradscope.sources.naming import group_recurrent
from gradscope.sources.stored_tensor import StoredTensor, keep_beside
from gradscope.sources.zip_members import ZipMembers

__all__ = ["Matrices", "read_matrices", "read_weights", "select_layers"]

Reader = Callable[[BufferedReader, Budget, FileKeys], WeightFile]


def read_weights(path: Path, **said: str | None) -> WeightFile:
    """Read every recurrent layer and direction of a weights file into gradscope's layout.

    Rows are outputs and gates stand in :data:`~gradscope.sources.layer_weights.GATE_ORDER`, whatever the file has;
    values are float64 (``LayerWeights.dtype`` tells the file's own).

    Parameters
    ----------
    path : Path
        What it is, its content says (:mod:`gradscope.sources.file_format`), whatever its suffix.
    **said : str, optional
        What the file cannot tell: the keys of :class:`~gradscope.sources.file_keys.FileKeys`, with the known values. A
        key that contradicts the file, or means nothing for a module's cell, becomes that module's entry in
        ``WeightFile.questions`` and is raised when the module is selected.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged or foreign, or holds no recurrent layer that can be represented.
    MissingExtraError
        If h5py or onnx is needed and not installed.
    UsageError
        If a key's value is unknown.
    """
    keys = FileKeys(**said)
    path = Path(path)
    with plain_messages(), opened(path) as (stream, n_bytes):
        digest = sha256_of(stream)
        weights = _reader_of(stream, path, n_bytes)(stream, Budget(n_bytes, file=path.name), keys)
        weights = replace(weights, sha256=weights.sha256 or digest)
        if not weights.layers and weights.questions:
            raise next(iter(weights.questions.values()))
    return weights


def _reader_of(stream: BufferedReader, path: Path, n_bytes: int) -> Reader:
    """The reader for what the first bytes are; a protobuf under another beginning is trusted to its suffix."""
    start = read_start(stream)
    kind = sniff(start, n_bytes)
    if kind == "index":
        return partial(_read_sharded, folder=path.parent)
    if kind in _READERS:
        return _READERS[kind]
    if not kind and path.suffix.lower() == ".onnx" and described(start, n_bytes).startswith("binary"):
        return _read_onnx
    if not kind and path.suffix.lower() == ".safetensors":
        return _read_safetensors  # which says what is wrong with its beginning
    if kind == "npy":
        raise InputError(
            f"{path.name}: is one numpy array, not named weights; save them by name with numpy.savez(FILE.npz, "
            "weight_ih_l0=…, weight_hh_l0=…)"
        )
    raise InputError(f"{path.name}: should hold weights, but it is {described(start, n_bytes)} ({FORMATS_SENTENCE})")


def weights_from_named(
    tensors: Mapping[str, StoredTensor],
    budget: Budget,
    *,
    container: str,
    keys: FileKeys,
    skipped: tuple[str, ...] = (),
    activations: Mapping[str, str] = MappingProxyType({}),
) -> WeightFile:
    """Group PyTorch-named tensors into layers and keep the small rest."""
    file = budget.file
    by_torch = container in ("torch", "safetensors")
    found = group_recurrent(tensors, file=file, keys=keys, by_torch=by_torch, activations=activations)
    others = [tensor for name, tensor in tensors.items() if name not in found.used]
    if not found.layers and not found.questions:
        names = ", ".join(f"'{tensor.name}'" for tensor in others[:6]) or "no tensors"
        if any(word in tensor.name for tensor in others for word in ("_packed_params", "_all_weight_values")):
            raise InputError(
                f"{file}: holds a quantised model ({names}, …), whose packed weights cannot be read; save the state "
                "dict of the float model, before it is quantised"
            )
        raise InputError(
            f"{file}: should hold a recurrent layer (PREFIX.weight_ih_l0, PREFIX.weight_hh_l0, …), but it has "
            f"{names}{', …' if len(others) > 6 else ''}; rename the arrays"
        )
    return WeightFile(
        name=file,
        format=container,
        sha256="",
        layers=tuple(found.layers),
        other_arrays=keep_beside(others, readout_widths(found.layers)),
        skipped=(*(tensor.name for tensor in others), *skipped),
        questions=found.questions,
    )


# Every reader imports its own parser: nobody waits for nine formats to read one.


def _read_zip(stream: BufferedReader, budget: Budget, keys: FileKeys) -> WeightFile:
    """A zip container is what its members are: a PyTorch archive, a Keras 3 model, or arrays."""
    from gradscope.sources.npz import npz_tensors
    from gradscope.sources.torch_file import zip_torch_tensors

    with ZipMembers(stream, budget) as members:
        last = {name.rpartition("/")[2] for name in members.names}
        if "data.pkl" in last:
            found = zip_torch_tensors(members)
            return weights_from_named(found.tensors, budget, container="torch", keys=keys, skipped=found.skipped)
        if last & {"model.weights.h5", "config.json"}:
            return _read_keras(members, budget, keys)
        if not last or any(name.endswith(".npy") for name in last):
            return weights_from_named(npz_tensors(members), budget, container="npz", keys=keys)
        held = ", ".join(f"'{name}'" for name in members.names[:4]) or "nothing"
    raise InputError(
        f"{budget.file}: is a zip archive that holds {held}{', …' * (len(members.names) > 4)}: neither a PyTorch "
        "checkpoint (data.pkl), nor a .npz (NAME.npy), nor a Keras model; unpack it and name the weights file inside"
    )


def _read_safetensors(stream: BufferedReader, budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.safetensors import safetensors_tensors

    tensors = safetensors_tensors(stream, budget)
    return weights_from_named(tensors, budget, container="safetensors", keys=keys)


def _read_sharded(stream: BufferedReader, budget: Budget, keys: FileKeys, *, folder: Path) -> WeightFile:
    from gradscope.sources.sharded import open_shards

    with open_shards(stream, budget, folder) as (tensors, digest):
        found = weights_from_named(tensors, budget, container="safetensors", keys=keys)
    return replace(found, sha256=digest)


def _read_pickle(stream: BufferedReader, budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.torch_file import legacy_torch_tensors

    found = legacy_torch_tensors(stream, budget)
    return weights_from_named(found.tensors, budget, container="torch", keys=keys, skipped=found.skipped)


def _read_hdf5(stream: BufferedReader, budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.hdf5 import Hdf5File
    from gradscope.sources.keras_file import keras_weights

    file = budget.file
    with Hdf5File(stream, budget.n_bytes, budget=budget) as h5:
        found = keras_weights(h5, config=None, version=None, file=file, keys=keys)
        if found.layers or found.questions:
            return found
        return weights_from_named(h5.tensors, budget, container="hdf5", keys=keys)


def _read_keras(members: ZipMembers, budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.hdf5 import Hdf5File
    from gradscope.sources.keras_file import keras_weights, keras_zip_stream

    file = budget.file
    inner, size, config, version = keras_zip_stream(members, file=file)
    check_start(inner, (HDF5_MAGIC,), "a .keras file with HDF5 weights inside", file=file)
    with Hdf5File(inner, size, budget=budget) as h5:
        found = keras_weights(h5, config=config, version=version, file=file, keys=keys)
        if not found.layers and not found.questions:
            raise InputError(f"{file}: has no recurrent layer (SimpleRNN, GRU, LSTM); there is nothing to analyse")
        return found


def _read_onnx(stream: BufferedReader, budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.onnx_file import onnx_weights

    # An open file knows its path; bytes that came another way have no folder to look for a second file in.
    name = getattr(stream, "name", None)
    folder = Path(name).parent if isinstance(name, str | os.PathLike) else None
    return onnx_weights(stream.read(budget.n_bytes), budget=budget, keys=keys, folder=folder)


_READERS: dict[str, Reader] = {
    "zip": _read_zip,
    "pickle": _read_pickle,
    "safetensors": _read_safetensors,
    "hdf5": _read_hdf5,
    "onnx": _read_onnx,
}
