"""Datasets of an HDF5 file from a stranger: walked once, sizes weighed before reading, no links out of the file."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from gradscope.errors import GradscopeError, InputError, MissingExtraError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import FLOOR_BYTES, MAX_RATIO, Budget
from gradscope.sources.hdf5_heaps import check_global_heaps, longest_text_said
from gradscope.sources.stored_tensor import StoredTensor, bfloat16_to_float32, check_total, shown

if TYPE_CHECKING:
    import h5py

#: What h5py raises on damaged or hostile files.
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, AttributeError, MemoryError)
#: Filters that are part of HDF5 or h5py: deflate, shuffle, fletcher32, lzf. Others would load a plug-in.
_FILTERS = {1, 2, 3, 32000}
_MAX_DEPTH = 24
#: Files up to this many bytes are read whole: a third less time than when the library asks Python for each part.
_IN_MEMORY = 32 << 20
#: No model file has more, its optimizer left out; opening and reading one takes some 200 microseconds.
MAX_OBJECTS = 10_000


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
        try:
            import h5py
        except ImportError as error:
            raise MissingExtraError(
                f"{budget.file}: reading HDF5 and Keras files needs h5py: pip install h5py"
            ) from error
        self._h5py = h5py
        self.budget, self._file, self._limit = budget, budget.file, max(FLOOR_BYTES, MAX_RATIO * n_bytes)
        self.passed_over: list[str] = []
        self._longest_text = check_global_heaps(stream, n_bytes, file=budget.file)
        with damage_of(budget.file):
            if n_bytes <= _IN_MEMORY:
                content = stream.read(n_bytes)
                stream = io.BytesIO(content)
                self._h5 = h5py.File(h5py.h5f.open_file_image(content), "r")
            else:
                self._h5 = h5py.File(stream, "r")
            self._longest_said = functools.cache(functools.partial(longest_text_said, stream, n_bytes))
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

    def _text(self, place: h5py.Group | h5py.Dataset, name: str) -> str | list[str]:
        """A text attribute; what it may take is charged before it is read, as far as the file says it before."""
        identity = place.attrs.get_id(name)
        n_items = int(np.prod(identity.shape, dtype=object))
        if identity.dtype.hasobject:
            said = self._longest_said(name)
            if said is None or said > self._longest_text or self._h5py.check_string_dtype(identity.dtype) is None:
                raise InputError(
                    f"{self._file}: its attribute '{name[:40]}' says more of its texts than the file holds; "
                    "it is damaged"
                )
        # Texts of variable length are pointers in the attribute, and many may point to one text.
        width = self._longest_text if identity.dtype.hasobject and n_items != 1 else identity.dtype.itemsize
        self.budget.text(n_items * width, f"its attribute '{name[:40]}'")
        value = place.attrs[name]
        if isinstance(value, np.ndarray):
            return [_decoded(item) for item in value.ravel().tolist()]
        text = _decoded(value)
        if identity.dtype.hasobject:
            self.budget.text(len(text), f"its attribute '{name[:40]}'")
        return text

    def _walk(self) -> dict[str, StoredTensor]:
        """Every dataset by its path; hard links only, each object once."""
        h5py = self._h5py
        found: dict[str, StoredTensor] = {}
        seen: set[int] = set()
        n_links = 0
        pending: list[tuple[str, Any]] = [("", self._h5.id)]
        while pending:
            prefix, group = pending.pop()
            n_links += int(group.get_num_objs())
            self.budget.count(n_links, MAX_OBJECTS, "HDF5 objects")
            for raw in group:
                if not prefix and raw.startswith(b"optimizer"):
                    self.passed_over.append(f"{raw.decode('utf-8', 'surrogateescape')}/")
                    continue  # as many tensors again, and none that runs
                self.budget.length(len(prefix) + len(raw), "an HDF5 path")
                path = f"{prefix}{raw.decode('utf-8', 'surrogateescape')}"
                if group.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                    continue  # a soft or external link could lead out of the file
                item = h5py.h5o.open(group, raw)
                address = int(h5py.h5o.get_info(item).addr)
                if address in seen or path.count("/") > _MAX_DEPTH:
                    continue
                seen.add(address)
                if isinstance(item, h5py.h5g.GroupID):
                    pending.append((f"{path}/", item))
                elif isinstance(item, h5py.h5d.DatasetID):
                    found[path] = self._tensor(path, item)
        return dict(sorted(found.items()))

    def _tensor(self, path: str, dataset: h5py.h5d.DatasetID) -> StoredTensor:
        h5py = self._h5py
        marked = h5py.h5a.exists(dataset, b"dtype") and self._text(h5py.Dataset(dataset), "dtype")
        space, dtype = dataset.get_space(), dataset.dtype
        empty = space.get_simple_extent_type() == h5py.h5s.NULL
        shape = (0,) if empty else tuple(int(extent) for extent in space.shape)

        def load() -> Array:
            with damage_of(self._file):
                self._check_layout(path, dataset, shape)
                values = np.zeros(shape, dtype)
                if not empty:
                    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
                return _bfloat16(values) if marked == "bfloat16" else values

        return StoredTensor(path, shape, "bfloat16" if marked == "bfloat16" else dtype.name, load)

    def _check_layout(self, path: str, dataset: h5py.h5d.DatasetID, shape: tuple[int, ...]) -> None:
        """Weigh what reading a dataset takes, and refuse values that lie outside the file."""
        h5d, properties = self._h5py.h5d, dataset.get_create_plist()
        layout, itemsize = properties.get_layout(), dataset.dtype.itemsize
        codes = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
        if layout == h5d.VIRTUAL or properties.get_external_count() or not codes <= _FILTERS:
            raise InputError(
                f"{self._file}: '{path}' keeps its values in another file or behind a plug-in filter; "
                "re-save it as plain data"
            )
        if prod(shape) * itemsize > self._limit:
            raise InputError(
                f"{self._file}: '{path}' declares shape {shown(shape)}, more than a file of this size "
                "can hold; it is damaged"
            )
        if layout == h5d.CHUNKED:  # the library unpacks whole chunks, whatever the shape
            covered = [-(-extent // chunk) * chunk for extent, chunk in zip(shape, properties.get_chunk(), strict=True)]
            self.budget.values(prod(covered) * itemsize, f"the chunks of '{path[:80]}'")


def _bfloat16(values: Array) -> Array:
    """Values of a dataset that Keras marks as bfloat16: two bytes each are the bits, wider numbers are rounded."""
    if values.dtype.itemsize == 2 and values.dtype.kind in "Vui":
        return bfloat16_to_float32(values.view("<u2"))
    bits = values.astype(np.float32).view(np.uint32)
    nearest_even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # Infinities and NaN keep their bits: adding to them would make other numbers of them.
    rounded = np.where(np.isfinite(values), bits + nearest_even, bits)
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def _decoded(value: Any) -> str:
    """Text, whichever way HDF5 stored it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
