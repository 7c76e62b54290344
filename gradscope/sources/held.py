"""Weights that a Python caller holds: a state dict of arrays or tensors, under the rules of such a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from gradscope.cells.activations import ACTIVATIONS
from gradscope.errors import InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import Budget
from gradscope.sources.file_bytes import plain_messages
from gradscope.sources.file_keys import FileKeys
from gradscope.sources.files import weights_from_named
from gradscope.sources.given_arrays import dtype_name, is_array, is_tensor, numpy_array
from gradscope.sources.layer_weights import WeightFile
from gradscope.sources.matrices import Matrices, check_shape
from gradscope.sources.naming import strip_wrappers
from gradscope.sources.state_dicts import Path, name_tensors
from gradscope.sources.stored_tensor import StoredTensor, load_weights

_MAX_DEPTH = 16


@dataclass(frozen=True)
class HeldWeights:
    """Named arrays in memory.

    Attributes
    ----------
    name : str
        What people call them: the model's class, or ``state_dict``.
    arrays : dict of str to ndarray
        Copies, by name: the caller may go on training.
    dtypes : dict of str to str
        As the caller has them.
    sha256 : str
        Over names, dtypes, shapes and values.
    container : {"torch", "npz"}
        Whose conventions hold: PyTorch's where the values are tensors or come from ``state_dict()``.
    activations : mapping of str to str
        What the live modules themselves say of their nonlinearity, by module.
    skipped : tuple of str
        Names of what is no array.
    """

    name: str
    arrays: Mapping[str, Array]
    dtypes: Mapping[str, str]
    sha256: str
    container: str
    activations: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def is_one_array(self) -> bool:
        """False: weights by name."""
        return False

    def weights(self, **said: str | None) -> WeightFile:
        """Every recurrent layer, as :func:`~gradscope.sources.files.read_weights` reads it from a file.

        Raises
        ------
        InputError, UsageError
            As for a file.
        """
        with plain_messages():
            found = weights_from_named(
                {name: self._tensor(name) for name in self.arrays},
                Budget(sum(array.nbytes for array in self.arrays.values()), file=self.name),
                container=self.container,
                keys=FileKeys(**said),
                skipped=self.skipped,
                activations=self.activations,
            )
            if not found.layers and found.questions:
                raise next(iter(found.questions.values()))
        return replace(found, sha256=self.sha256, in_memory=True)

    def _tensor(self, name: str) -> StoredTensor:
        array = self.arrays[name]
        return StoredTensor(name, array.shape, self.dtypes[name], lambda: array)


def held_weights(
    state_dict: Mapping[str, Any],
    *,
    name: str,
    by_torch: bool = False,
    modules: Mapping[str, Any] = MappingProxyType({}),
) -> HeldWeights:
    """Take the arrays of a (possibly nested) mapping; what is no array is passed over, as in a checkpoint.

    Parameters
    ----------
    state_dict : mapping of str to array or tensor
    by_torch : bool
        It came from ``state_dict()``.
    modules : mapping of str to module
        ``named_modules()`` of a live model.

    Raises
    ------
    InputError
        A value cannot be read, or there is no array at all.
    """
    groups: dict[Path, dict[str, Any]] = {}
    skipped = _walk(state_dict, (), groups)
    named = name_tensors(groups, Budget(0, file=name))
    if not named:
        raise InputError(
            f"{name}: wanted a mapping of names to arrays, as model.state_dict() gives; it holds no array."
        )
    arrays = {key: np.array(numpy_array(value, what=f"{name}: '{key}'")) for key, value in named.items()}
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype.newbyteorder('<').str} {array.shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    by_torch = by_torch or any(is_tensor(value) for value in named.values())
    return HeldWeights(
        name=name,
        arrays=arrays,
        dtypes={key: dtype_name(value) for key, value in named.items()},
        sha256=digest.hexdigest(),
        container="torch" if by_torch else "npz",
        activations=_activations(modules),
        skipped=tuple(skipped),
    )


def _walk(mapping: Mapping[Any, Any], path: Path, groups: dict[Path, dict[str, Any]]) -> list[str]:
    """Gather arrays by the dictionary they stand in; returns the names of the rest."""
    skipped = []
    for key, value in mapping.items():
        if isinstance(value, Mapping) and len(path) < _MAX_DEPTH:
            skipped += _walk(value, (*path, str(key)), groups)
        elif isinstance(key, str) and is_array(value):
            groups.setdefault(path, {})[key] = value
        else:
            skipped.append(".".join([*map(str, path), str(key)]))
    return skipped


def _activations(modules: Mapping[str, Any]) -> dict[str, str]:
    """``nn.RNN.nonlinearity`` by module, under the names that the weights have."""
    said = {name: getattr(module, "nonlinearity", None) for name, module in modules.items()}
    stripped = strip_wrappers([f"{name}." for name in said if name])
    known = {name: word for name, word in said.items() if isinstance(word, str) and word in ACTIVATIONS}
    return {stripped[f"{name}."].removesuffix(".") if name else "": word for name, word in known.items()}


def held_matrices(array: Any, *, name: str = "array") -> Matrices:
    """One array (n, n) as W_hh alone, or (K, n, n) as step Jacobians, first step first.

    Raises
    ------
    InputError
        Another shape, no numbers, a NaN or an infinity.
    """
    values = np.array(numpy_array(array, what=name))
    check_shape(values.shape, file=name)
    tensor = StoredTensor(name, values.shape, dtype_name(array), lambda: values)
    loaded = load_weights(tensor, file=name)
    digest = hashlib.sha256(f"{values.shape}\n".encode() + np.ascontiguousarray(loaded, dtype="<f8").tobytes())
    return Matrices(name, digest.hexdigest(), loaded, tensor.dtype)


#: What a source can be that is neither built nor read.
Held = HeldWeights | Matrices
