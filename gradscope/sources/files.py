"""From a path to trained weights, or to ready matrices: one door for every file format.

Everything read here is untrusted: no reader executes, writes, or touches the network, and every size is weighed
against the file's own before anything is allocated (``docs/security.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gradscope.errors import InputError
from gradscope.jacobians.base import Array
from gradscope.sources.budget import Budget
from gradscope.sources.file_bytes import FORMATS, HDF5_MAGIC, check_start, looks_like, opened, plain_messages, sha256_of
from gradscope.sources.file_keys import FileKeys
from gradscope.sources.layer_weights import WeightFile
from gradscope.sources.matrices import Matrices, read_matrices
from gradscope.sources.module_selection import select_layers
from gradscope.sources.naming import group_recurrent
from gradscope.sources.stored_tensor import FLOAT_DTYPES, StoredTensor
from gradscope.sources.zip_members import ZipMembers

if TYPE_CHECKING:
    from gradscope.sources.keras_file import KerasWeights

__all__ = ["Matrices", "read_matrices", "read_weights", "select_layers"]

#: Heads and embeddings up to this many bytes (as stored) are kept beside the recurrent layers.
MAX_OTHER_BYTES = 64 << 20
_READABLE = (*FLOAT_DTYPES, "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")

Reader = Callable[[IO[bytes], Budget, FileKeys], WeightFile]


def read_weights(
    path: Path,
    *,
    cell: str | None = None,
    activation: str | None = None,
    gate_activation: str | None = None,
    reset: str | None = None,
) -> WeightFile:
    """Read every recurrent layer and direction of a weights file into gradscope's layout.

    Rows are outputs and gates stand in :data:`~gradscope.sources.layer_weights.GATE_ORDER`, whatever the file has;
    values are float64 (``LayerWeights.dtype`` tells the file's own).

    Parameters
    ----------
    path : Path
        ``.npz``, ``.safetensors``, ``.pt``/``.pth``, ``.h5``/``.hdf5`` (``.weights.h5`` too), ``.keras`` or ``.onnx``.
    cell, activation, gate_activation, reset : str, optional
        What the file cannot tell: see :class:`~gradscope.sources.file_keys.FileKeys` for the known values. A key that
        contradicts the file, or means nothing for a module's cell, becomes that module's entry in
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
    keys = FileKeys(cell=cell, activation=activation, gate_activation=gate_activation, reset=reset)
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        more = "; a .npy holds one matrix or ready Jacobians, not named weights" if path.suffix == ".npy" else ""
        raise InputError(f"{path}: '{path.suffix}' is no weights format; known formats: {FORMATS}{more}")
    with plain_messages(), opened(path) as (stream, n_bytes):
        digest = sha256_of(stream)
        weights = reader(stream, Budget(n_bytes, file=path.name), keys)
        weights = replace(weights, sha256=digest)
        if not weights.layers and weights.questions:
            raise next(iter(weights.questions.values()))
    return weights


def weights_from_named(
    tensors: Mapping[str, StoredTensor],
    budget: Budget,
    *,
    container: str,
    keys: FileKeys,
    skipped: tuple[str, ...] = (),
) -> WeightFile:
    """Group PyTorch-named tensors into layers and keep the small rest."""
    file = budget.file
    found = group_recurrent(tensors, file=file, keys=keys)
    others = [tensor for name, tensor in tensors.items() if name not in found.used]
    if not found.layers and not found.questions:
        names = ", ".join(f"'{tensor.name}'" for tensor in others[:6]) or "no tensors"
        raise InputError(
            f"{file}: should hold a recurrent layer (PREFIX.weight_ih_l0, PREFIX.weight_hh_l0, …), but it has "
            f"{names}{', …' if len(others) > 6 else ''}; rename the arrays"
        )
    return WeightFile(
        name=file,
        format=container,
        sha256="",
        layers=found.layers,
        other_arrays=keep_small(others),
        skipped=(*(tensor.name for tensor in others), *skipped),
        questions=dict(found.questions),
    )


def keep_small(tensors: list[StoredTensor]) -> dict[str, Array]:
    """Load the tensors (heads, embeddings, …) that are numeric and no larger than ``MAX_OTHER_BYTES``."""
    return {
        tensor.name: tensor.load()
        for tensor in tensors
        if tensor.dtype in _READABLE and tensor.size * 8 <= MAX_OTHER_BYTES
    }


# Every reader imports its own parser: nobody waits for nine formats to read one.


def _read_npz(stream: IO[bytes], budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.npz import npz_tensors

    file = budget.file
    check_start(stream, (b"PK",), "a .npz (a zip container of arrays)", file=file)
    with ZipMembers(stream, budget) as members:
        return weights_from_named(npz_tensors(members), budget, container="npz", keys=keys)


def _read_safetensors(stream: IO[bytes], budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.safetensors import safetensors_tensors

    tensors = safetensors_tensors(stream, budget)
    return weights_from_named(tensors, budget, container="safetensors", keys=keys)


def _read_torch(stream: IO[bytes], budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.torch_file import legacy_torch_tensors, zip_torch_tensors

    file = budget.file
    start = check_start(stream, (b"PK", b"\x80"), "a PyTorch checkpoint (.pt)", file=file)
    if start.startswith(b"PK"):
        with ZipMembers(stream, budget) as members:
            found = zip_torch_tensors(members)
            return weights_from_named(found.tensors, budget, container="torch", keys=keys, skipped=found.skipped)
    found = legacy_torch_tensors(stream, budget)
    return weights_from_named(found.tensors, budget, container="torch", keys=keys, skipped=found.skipped)


def _read_hdf5(stream: IO[bytes], budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.hdf5 import Hdf5File
    from gradscope.sources.keras_file import keras_weights

    file = budget.file
    check_start(stream, (HDF5_MAGIC,), "an HDF5 file", file=file)
    with Hdf5File(stream, budget.n_bytes, budget=budget) as h5:
        found = keras_weights(h5, config=None, version=None, file=file, keys=keys)
        if found.layers or found.questions:
            return _weights_from_keras(found, file=file)
        return weights_from_named(h5.tensors, budget, container="hdf5", keys=keys)


def _read_keras(stream: IO[bytes], budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.hdf5 import Hdf5File
    from gradscope.sources.keras_file import keras_weights, keras_zip_stream

    file = budget.file
    start = check_start(stream, (b"PK", HDF5_MAGIC), "a .keras file (a zip container)", file=file)
    if start.startswith(HDF5_MAGIC):  # what .keras meant before Keras 2.12
        return _read_hdf5(stream, budget, keys)
    with ZipMembers(stream, budget) as members:
        inner, size, config, version = keras_zip_stream(members, file=file)
    check_start(inner, (HDF5_MAGIC,), "a .keras file with HDF5 weights inside", file=file)
    with Hdf5File(inner, size, budget=budget) as h5:
        found = keras_weights(h5, config=config, version=version, file=file, keys=keys)
        if not found.layers and not found.questions:
            raise InputError(f"{file}: has no recurrent layer (SimpleRNN, GRU, LSTM); there is nothing to analyse")
        return _weights_from_keras(found, file=file)


def _weights_from_keras(found: KerasWeights, *, file: str) -> WeightFile:
    return WeightFile(
        name=file,
        format=found.container,
        sha256="",
        layers=tuple(found.layers),
        other_arrays=keep_small(found.others),
        skipped=found.skipped,
        questions=found.questions,
        chains=found.chains,
    )


def _read_onnx(stream: IO[bytes], budget: Budget, keys: FileKeys) -> WeightFile:
    from gradscope.sources.onnx_file import onnx_weights

    file = budget.file
    start = stream.read(64)
    stream.seek(0)
    if looks_like(start):  # ONNX has no magic of its own
        raise InputError(f"{file}: should be an ONNX model, but it is not{looks_like(start)}; check the suffix")
    found = onnx_weights(stream.read(budget.n_bytes), budget=budget, keys=keys)
    return WeightFile(
        name=file,
        format="onnx",
        sha256="",
        layers=tuple(found.layers),
        other_arrays=keep_small(found.others),
        skipped=tuple(tensor.name for tensor in found.others),
        questions=found.questions,
        chains=found.chains,
    )


_READERS: dict[str, Reader] = {
    ".onnx": _read_onnx,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".keras": _read_keras,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
}
