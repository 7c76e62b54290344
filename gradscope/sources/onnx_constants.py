"""Constants of an ONNX graph: initialisers, and what a short list of operators makes of them.

Exporters put recurrent weights through Slice, Concat and Unsqueeze to reorder gates; those, and their relatives,
are folded here. No result may have more elements than the file has bytes, and all results together are bounded
too, so that a few nodes cannot grow without end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from gradscope.errors import GradscopeError, InputError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.budget import MAX_AXES
from gradscope.sources.onnx_external import ExternalData
from gradscope.sources.onnx_graph import STANDARD, Scope
from gradscope.sources.stored_tensor import bfloat16_to_float32

_MAX_DEPTH = 64
#: onnx.TensorProto.DataType → (numpy dtype of raw_data, the repeated field that may hold the values instead).
_TYPES: dict[int, tuple[str, str]] = {
    1: ("<f4", "float_data"),
    2: ("|u1", "int32_data"),
    3: ("|i1", "int32_data"),
    5: ("<i2", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("|b1", "int32_data"),
    10: ("<f2", "int32_data"),
    11: ("<f8", "double_data"),
    16: ("<u2", "int32_data"),
}
_CASTS = {1: "f4", 6: "i4", 7: "i8", 9: "b1", 10: "f2", 11: "f8"}
_BFLOAT16 = 16


class NotConstantError(Exception):
    """A value depends on the model's input, or on an operator that is not folded; the message says which."""


def tensor_shape(tensor: Any, *, file: str) -> tuple[int, ...]:
    """Declared shape of a TensorProto.

    Raises
    ------
    InputError
        If no array can have it.
    """
    if len(tensor.dims) > MAX_AXES:
        raise InputError(
            f"{file}: '{tensor.name[:80]}' has {len(tensor.dims)} axes, and {MAX_AXES} is the most; the file is damaged"
        )
    shape = tuple(int(extent) for extent in tensor.dims)
    if any(extent < 0 for extent in shape):
        raise InputError(f"{file}: '{tensor.name[:80]}' has an impossible shape; the file is damaged")
    return shape


def tensor_values(tensor: Any, external: ExternalData, *, file: str) -> Array:
    """Values of a TensorProto; bfloat16 as float32.

    Raises
    ------
    InputError
        If they are in a file that cannot be read, of a type that is not, or fewer or more than the shape says.
    """
    if tensor.data_type not in _TYPES:
        raise InputError(f"{file}: '{tensor.name}' has ONNX type {tensor.data_type}, which cannot be read as weights")
    dtype, place = _TYPES[tensor.data_type]
    shape = tensor_shape(tensor, file=file)
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    flat: Array | None
    if tensor.data_location == 1:
        flat = np.frombuffer(external.read(tensor, n_bytes), dtype=dtype)
    elif tensor.raw_data:
        flat = np.frombuffer(tensor.raw_data, dtype=dtype) if len(tensor.raw_data) == n_bytes else None
    else:
        repeated = getattr(tensor, place)
        flat = _of_numbers(repeated, dtype) if len(repeated) == prod(shape) else None
    if flat is None:
        raise InputError(f"{file}: '{tensor.name}' does not hold the {prod(shape)} values of its shape; damaged")
    return (bfloat16_to_float32(flat) if tensor.data_type == _BFLOAT16 else flat).reshape(shape)


def _of_numbers(repeated: Sequence[Any], dtype: str) -> Array:
    """Values of a repeated field; 16-bit floats are stored as their bits in 32-bit integers."""
    if dtype in ("<f2", "<u2"):
        return (np.array(repeated, dtype=np.int64) & 0xFFFF).astype("<u2").view(dtype)
    return np.array(repeated).astype(dtype)


class ConstantFolder:
    """Folds names to values, remembering which initialisers went into them.

    Parameters
    ----------
    n_bytes : int
        Size of the file: no folded value has more elements, all together no more than 8 times as many. What lies in
        a second file counts as well, once it is opened.
    external : ExternalData
        Where values outside the file are read.
    file : str
        For messages.
    """

    def __init__(self, n_bytes: int, external: ExternalData, *, file: str) -> None:
        self._n_bytes, self._spent, self._file = n_bytes, 0, file
        self.external = external
        self.used: set[str] = set()

    def tensor(self, tensor: Any) -> Array:
        """Values of a TensorProto."""
        return tensor_values(tensor, self.external, file=self._file)

    def value(self, name: str, scope: Scope, depth: int = 0) -> Array:
        """The constant a name stands for.

        Raises
        ------
        NotConstantError
            If it is none; the message is a clause that says why.
        """
        home, name = scope.resolve(name)
        if name in home.cache:
            return home.cache[name]
        if depth > _MAX_DEPTH:
            raise NotConstantError(f"'{name}' comes through more than {_MAX_DEPTH} operators")
        producer = home.producer(name)
        if name in home.initializers:
            self.used.add(name)
            value = self.tensor(home.initializers[name])
        elif producer is None:
            raise NotConstantError(f"'{name}' is an input of the model")
        else:
            value = self._folded(producer, name, home, depth)
        self.charge(value.size)
        home.cache[name] = value
        return value

    def charge(self, n_elements: int) -> None:
        """Weigh a result before it is made, or when it is kept."""
        self._spent += n_elements
        limit = self._n_bytes + self.external.size
        if n_elements > limit or self._spent > 8 * limit:
            raise InputError(f"{self._file}: its constants unfold to more than the file can hold; refused as hostile")

    def _folded(self, node: Any, name: str, scope: Scope, depth: int) -> Array:
        operator = OPERATORS.get(node.op_type) if node.domain in STANDARD else None
        if operator is None:
            raise NotConstantError(f"'{name}' comes from the operator {node.op_type}, which is not folded")
        attributes = scope.attributes(node)
        if node.op_type == "Shape" and node.input and (fixed := _declared_shape(scope, node, attributes)) is not None:
            return fixed
        inputs = [self.value(source, scope, depth + 1) if source else None for source in node.input]
        try:
            results = operator(self, inputs, attributes, node)
            return np.asarray(results[list(node.output).index(name)])
        except GradscopeError:
            raise
        except (ValueError, IndexError, TypeError, KeyError, OverflowError, AttributeError, MemoryError) as error:
            raise NotConstantError(f"'{name}' ({node.op_type}) cannot be folded ({str(error)[:60]})") from error

    def constant(self, _: list[Array | None], attributes: dict[str, Any], __: Any) -> list[Array]:
        """Fold Constant."""
        if "value" in attributes:
            return [self.tensor(attributes["value"].t)]
        for name, part, dtype in (
            ("value_float", "f", "f4"),
            ("value_int", "i", "i8"),
            ("value_floats", "floats", "f4"),
            ("value_ints", "ints", "i8"),
        ):
            if name in attributes:
                stored = getattr(attributes[name], part)
                return [np.array(list(stored) if part.endswith("s") else stored, dtype=dtype)]
        raise KeyError("value")

    def concat(self, inputs: list[Array | None], attributes: dict[str, Any], _: Any) -> list[Array]:
        """Fold Concat, weighing the sum before it is made."""
        parts = [part for part in inputs if part is not None]
        self.charge(sum(part.size for part in parts))
        return [np.concatenate(parts, axis=int(attributes["axis"].i))]

    def constant_of_shape(self, inputs: list[Array | None], attributes: dict[str, Any], _: Any) -> list[Array]:
        """Fold ConstantOfShape, weighing the shape before it is made."""
        shape = _ints(inputs[0])
        if any(extent < 0 for extent in shape):
            raise ValueError("negative shape")
        self.charge(prod(shape))
        fill = self.tensor(attributes["value"].t) if "value" in attributes else np.zeros(1, "f4")
        return [np.full(shape, fill.ravel()[0])]

    def gather(self, inputs: list[Array | None], attributes: dict[str, Any], _: Any) -> list[Array]:
        """Fold Gather, weighing the result before it is made."""
        source, indices = _given(inputs[0]), _given(inputs[1])
        axis = int(attributes["axis"].i) if "axis" in attributes else 0
        self.charge(indices.size * (source.size // max(1, source.shape[axis])))
        return [np.take(source, indices.astype(np.int64), axis=axis)]


def _given(value: Array | None) -> Array:
    if value is None:
        raise ValueError("an input is missing")
    return value


def _ints(value: Array | None) -> tuple[int, ...]:
    return tuple(int(v) for v in _given(value).ravel())


def _axes(inputs: list[Array | None], attributes: dict[str, Any]) -> tuple[int, ...] | None:
    """Axes are an attribute before opset 13 and an input since."""
    if "axes" in attributes:
        return tuple(int(axis) for axis in attributes["axes"].ints)
    return _ints(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else None


def _identity(_: ConstantFolder, inputs: list[Array | None], __: dict[str, Any], ___: Any) -> list[Array]:
    return [_given(inputs[0])]


def _cast(_: ConstantFolder, inputs: list[Array | None], attributes: dict[str, Any], __: Any) -> list[Array]:
    return [_given(inputs[0]).astype(_CASTS[int(attributes["to"].i)])]


def _transpose(_: ConstantFolder, inputs: list[Array | None], attributes: dict[str, Any], __: Any) -> list[Array]:
    order = [int(axis) for axis in attributes["perm"].ints] if "perm" in attributes else None
    return [np.transpose(_given(inputs[0]), order)]


def _reshape(_: ConstantFolder, inputs: list[Array | None], attributes: dict[str, Any], __: Any) -> list[Array]:
    value = _given(inputs[0])
    shape = list(_ints(inputs[1])) if len(inputs) > 1 else [int(extent) for extent in attributes["shape"].ints]
    if not ("allowzero" in attributes and attributes["allowzero"].i):
        shape = [value.shape[i] if extent == 0 else extent for i, extent in enumerate(shape)]
    return [value.reshape(shape)]


def _unsqueeze(_: ConstantFolder, inputs: list[Array | None], attributes: dict[str, Any], __: Any) -> list[Array]:
    return [np.expand_dims(_given(inputs[0]), _axes(inputs, attributes) or ())]


def _squeeze(_: ConstantFolder, inputs: list[Array | None], attributes: dict[str, Any], __: Any) -> list[Array]:
    return [np.squeeze(_given(inputs[0]), _axes(inputs, attributes))]


def shape_part(attributes: dict[str, Any]) -> slice:
    """Which axes a Shape operator gives (``start`` and ``end``, opset 15)."""
    return slice(*(int(attributes[key].i) if key in attributes else None for key in ("start", "end")))


def _shape(_: ConstantFolder, inputs: list[Array | None], attributes: dict[str, Any], ___: Any) -> list[Array]:
    return [np.array(_given(inputs[0]).shape[shape_part(attributes)], dtype=np.int64)]


def _declared_shape(scope: Scope, node: Any, attributes: dict[str, Any]) -> Array | None:
    """The shape of a value that is not constant, where the model declares it."""
    home, name = scope.resolve(node.input[0])
    shape = home.shapes.get(name)
    part = None if shape is None else shape[shape_part(attributes)]
    return None if part is None or None in part else np.array(part, dtype=np.int64)


def _dequantize(_: ConstantFolder, inputs: list[Array | None], attributes: dict[str, Any], ___: Any) -> list[Array]:
    """Fold DequantizeLinear: (x - zero point) * scale, along one axis or for the whole tensor."""
    value, scale = _given(inputs[0]), _given(inputs[1]).astype(np.float64)
    zero = _given(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else np.zeros(scale.shape)
    if "block_size" in attributes and attributes["block_size"].i:
        raise ValueError("scales by blocks")
    if scale.size == 1:
        scale, zero = scale.reshape(()), zero.reshape(())
    else:
        axis = int(attributes["axis"].i) if "axis" in attributes else 1
        if value.shape[axis] != scale.size or zero.shape != scale.shape:
            raise ValueError("scales do not fit")
        along = [1] * value.ndim
        along[axis] = -1
        scale, zero = scale.reshape(along), zero.reshape(along)
    return [((value.astype(np.float64) - zero.astype(np.float64)) * scale).astype(np.float32)]


def _slice(_: ConstantFolder, inputs: list[Array | None], attributes: dict[str, Any], __: Any) -> list[Array]:
    value = _given(inputs[0])
    if "starts" in attributes:  # before opset 10
        starts, ends = ([int(v) for v in attributes[name].ints] for name in ("starts", "ends"))
        axes = [int(v) for v in attributes["axes"].ints] if "axes" in attributes else list(range(len(starts)))
        steps = [1] * len(starts)
    else:
        inputs = [*inputs, None, None, None]
        starts, ends = list(_ints(inputs[1])), list(_ints(inputs[2]))
        axes = list(_ints(inputs[3])) if inputs[3] is not None else list(range(len(starts)))
        steps = list(_ints(inputs[4])) if inputs[4] is not None else [1] * len(starts)
    index: list[slice] = [slice(None)] * value.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # A negative step runs down to and including 0 when the end lies before the beginning.
        stop = None if step < 0 and end < -value.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return [value[tuple(index)]]


def _split(_: ConstantFolder, inputs: list[Array | None], attributes: dict[str, Any], node: Any) -> list[Array]:
    value = _given(inputs[0])
    axis = int(attributes["axis"].i) if "axis" in attributes else 0
    if "split" in attributes:
        sizes = [int(v) for v in attributes["split"].ints]
    elif len(inputs) > 1 and inputs[1] is not None:
        sizes = list(_ints(inputs[1]))
    else:
        n = len(node.output)
        each = -(-value.shape[axis] // n)
        sizes = [each] * (n - 1) + [value.shape[axis] - each * (n - 1)]
    if sum(sizes) != value.shape[axis] or any(size < 0 for size in sizes):
        raise ValueError("sizes do not add up")
    return np.split(value, np.cumsum(sizes)[:-1].tolist(), axis=axis)


_Operator = Callable[[ConstantFolder, list[Any], dict[str, Any], Any], list[Array]]
OPERATORS: dict[str, _Operator] = {
    "Constant": ConstantFolder.constant,
    "ConstantOfShape": ConstantFolder.constant_of_shape,
    "Concat": ConstantFolder.concat,
    "Gather": ConstantFolder.gather,
    "Identity": _identity,
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "DequantizeLinear": _dequantize,
}
