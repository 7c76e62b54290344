"""Datasets of an HDF5 file from a stranger: walked once, sizes weighed before reading, no links out of the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from gradscope.errors import GradscopeError, InputError, MissingExtraError
from gradscope.jacobians.base import Array
from gradscope.sources.budget import FLOOR_BYTES, MAX_RATIO, Budget
from gradscope.sources.hdf5_heaps import check_global_heaps
from gradscope.sources.stored_tensor import StoredTensor, bfloat16_to_float32, check_total, shown

if TYPE_CHECKING:
    import h5py

#: What h5py raises on damaged or hostile files.
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, AttributeError, MemoryError)
#: Filters that are part of HDF5 or h5py: deflate, shuffle, fletcher32, lzf. Others would load a plug-in.
_FILTERS = {1, 2, 3, 32000}
_MAX_DEPTH = 24
_MAX_OBJECTS = 50_000


@contextmanager
def damage_of(file: str) -> Iterator[None]:
    """Turn what the HDF5 library says about a damaged file into one sentence."""
    try:
        yield
    except GradscopeError:
        raise
    except DAMAGE as error:
        said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{file}: cannot be read as HDF5 ({said}); the file is damaged or truncated") from error


class Hdf5File:
    """The datasets and root attributes of an open HDF5 file.

    Parameters
    ----------
    stream : seekable binary file
    n_bytes : int
        Its size; no dataset that declares more than ``max(FLOOR_BYTES, MAX_RATIO · n_bytes)`` is read.
    budget : Budget
        Of the file that was opened (which this one may lie inside of).

    Raises
    ------
    MissingExtraError
        If h5py is not installed.
    """

    def __init__(self, stream: IO[bytes], n_bytes: int, *, budget: Budget) -> None:
        file = budget.file
        try:
            import h5py
        except ImportError as error:
            raise MissingExtraError(
                f"{file}: reading HDF5 and Keras files needs h5py: pip install 'gradscope-rnn[keras]'"
            ) from error
        self._h5py = h5py
        self._file, self._budget, self._limit = file, budget, max(FLOOR_BYTES, MAX_RATIO * n_bytes)
        check_global_heaps(stream, n_bytes, file=file)
        with damage_of(file):
            self._h5 = h5py.File(stream, "r")
            self.tensors = self._walk()
        check_total(self.tensors.values(), budget)

    def __enter__(self) -> Hdf5File:
        return self

    def __exit__(self, *_: object) -> None:
        with damage_of(self._file):
            self._h5.close()

    def attribute(self, name: str) -> str | list[str] | None:
        """A text attribute of the root group, or of ``model_weights``; None if there is none."""
        with damage_of(self._file):
            for place in (self._h5, self._h5.get("model_weights") if "model_weights" in self._h5 else None):
                if isinstance(place, self._h5py.Group) and name in place.attrs:
                    return self._text(place, name)
        return None

    def weight_names(self, group: str) -> list[str]:
        """The ``weight_names`` of a Keras 2 layer group, in the layer's own order; empty if it has none."""
        with damage_of(self._file):
            place = self._h5.get(group)
            if isinstance(place, self._h5py.Group) and "weight_names" in place.attrs:
                names = self._text(place, "weight_names")
                return names if isinstance(names, list) else [names]
        return []

    def _text(self, place: h5py.Group, name: str) -> str | list[str]:
        identity = place.attrs.get_id(name)
        if int(np.prod(identity.shape, dtype=object)) * identity.dtype.itemsize > self._limit:
            raise InputError(f"{self._file}: its attribute '{name}' is larger than the file; damaged")
        value = place.attrs[name]
        if isinstance(value, np.ndarray):
            return [_decoded(item) for item in value.ravel().tolist()]
        return _decoded(value)

    def _walk(self) -> dict[str, StoredTensor]:
        """Every dataset by its path; hard links only, each object once."""
        found: dict[str, StoredTensor] = {}
        seen: set[int] = set()
        pending: list[tuple[str, h5py.Group]] = [("", self._h5)]
        while pending:
            prefix, group = pending.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
                    continue  # a soft or external link could lead out of the file
                item = group[name]
                address = int(self._h5py.h5o.get_info(item.id).addr)
                path = f"{prefix}{name}"
                if address in seen or path.count("/") > _MAX_DEPTH:
                    continue
                seen.add(address)
                if len(seen) > _MAX_OBJECTS:
                    raise InputError(f"{self._file}: has more than {_MAX_OBJECTS} objects; not a model file")
                if isinstance(item, self._h5py.Group):
                    pending.append((f"{path}/", item))
                elif isinstance(item, self._h5py.Dataset):
                    found[path] = self._tensor(path, item)
        return dict(sorted(found.items()))

    def _tensor(self, path: str, dataset: Any) -> StoredTensor:
        brain = "dtype" in dataset.attrs and _decoded(dataset.attrs["dtype"]) == "bfloat16"
        shape = tuple(int(extent) for extent in dataset.shape) if dataset.shape is not None else (0,)

        def load() -> Array:
            with damage_of(self._file):
                properties = dataset.id.get_create_plist()
                codes = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
                if dataset.is_virtual or dataset.external or not codes <= _FILTERS:
                    raise InputError(
                        f"{self._file}: '{path}' keeps its values in another file or behind a plug-in filter; "
                        "re-save it as plain data"
                    )
                if int(np.prod(shape, dtype=object)) * dataset.dtype.itemsize > self._limit:
                    raise InputError(
                        f"{self._file}: '{path}' declares shape {shown(shape)}, more than a file of this size "
                        "can hold; it is damaged"
                    )
                values = np.asarray(dataset[()])
                return bfloat16_to_float32(values.view("<u2")) if brain else values

        return StoredTensor(path, shape, "bfloat16" if brain else dataset.dtype.name, load)


def _decoded(value: Any) -> str:
    """Text, whichever way HDF5 stored it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
