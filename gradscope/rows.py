"""Rows and columns of a record: columns of one type each, rows as plain dictionaries when they are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, overload


def plain(value: Any) -> Any:
    """Turn numpy scalars and arrays, tuples and mappings into strict-JSON Python; NaN and ±inf become None.

    >>> plain((1.0, float("nan")))
    [1.0, None]
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f"a record holds plain data, not {type(value).__name__}")


def column_of(values: Any) -> Any:
    """A column as a numpy array whose type depends on what it holds, not on where it came from.

    Numbers are float64 with NaN for null; whole numbers without a null int64; flags bool; words, lists and mixtures
    are objects, with None for null. A column that was measured and one that was read back are the same.

    >>> column_of([0.5, None]), column_of([1, 2]).dtype.kind, column_of(["ok", None])[1]
    (array([0.5, nan]), 'i', None)
    """
    import numpy as np

    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if kind in "iufb" and kind and values.ndim == 1:
        fitting = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}[kind]
        return values if values.dtype == fitting else values.astype(fitting)
    items = values.tolist() if hasattr(values, "tolist") else list(values)
    kinds = set(map(type, items))
    if kinds <= {str, type(None)} and str in kinds:
        return values if kind == "O" else _objects(items)
    items = [plain(item) for item in items]
    kinds = set(map(type, items))
    if kinds <= {float, type(None)}:
        return np.array([math.nan if item is None else item for item in items], dtype=np.float64)
    if kinds == {int} and all(-(2**63) <= item < 2**63 for item in items):
        return np.array(items, dtype=np.int64)
    return np.array(items, dtype=np.bool_) if kinds == {bool} else _objects(items)


def _objects(items: list[Any]) -> Any:
    import numpy as np

    return np.fromiter(items, dtype=object, count=len(items))


class Rows(Sequence[dict[str, Any]]):
    """Rows as plain dictionaries, made when they are looked at; ``rows["lag"]`` is a column as a list.

    >>> rows = Rows({"lag": [0, 1], "log10_norm": [0.0, float("nan")]})
    >>> rows[1], len(rows), rows["lag"]
    ({'lag': 1, 'log10_norm': None}, 2, [0, 1])
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()))) if self._columns else 0

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...
    @overload
    def __getitem__(self, place: str) -> list[Any]: ...
    def __getitem__(self, place: int | slice | str) -> Any:
        if isinstance(place, str):
            found: list[Any] = plain(self._columns[place])
            return found
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        return {name: plain(values[place]) for name, values in self._columns.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = list(self._columns)
        for values in zip(*(self._columns[name] for name in names), strict=True):
            yield {name: plain(value) for name, value in zip(names, values, strict=True)}

    def __call__(self) -> Iterator[dict[str, Any]]:
        """The rows one after another: ``result.rows()`` and ``result.rows`` are the same."""
        return iter(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = [repr(row) for row in islice(self, 2)]
        more = [f"… {len(self) - 2} more"] if len(self) > 2 else []
        return f"Rows({', '.join([*shown, *more])})"
