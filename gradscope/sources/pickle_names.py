"""The names a checkpoint's pickle may mention: tensors, their storages, plain containers, and a few inert values.

A name stands for nothing but itself here: no module is imported and nothing of that name exists in this process.
What PyTorch's own ``weights_only`` loading admits is admitted; names that only decorate real checkpoints (numpy
scalars, Lightning's ``AttributeDict``) are read over. Any other name is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
}
#: How the bits of an element are read where numpy has no dtype of that name: quantised ones without their scale.
BITS = {"bfloat16": "u2", "qint8": "i1", "quint8": "u1", "qint32": "i4"}
#: What rebuilds a tensor, or passes one on.
REBUILDS = {
    ("torch._utils", name)
    for name in (
        "_rebuild_tensor",
        "_rebuild_tensor_v2",
        "_rebuild_qtensor",
        "_rebuild_parameter",
        "_rebuild_parameter_with_state",
    )
}
#: Objects of no interest: they become None, whatever they are made from.
_INERT = {
    *((module, name) for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray", "complex", "slice")),
    ("_codecs", "encode"),
    ("builtins", "frozenset"),
    ("torch", "device"),
    ("torch", "Tensor"),
    ("torch.serialization", "_get_layout"),
    ("torch", "finfo"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(
        ("torch", name)
        for name in (
            *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
            *("double", "float", "half", "long", "int", "complex64", "complex128"),
            *("qint8", "quint8", "qint32", "per_tensor_affine", "per_channel_affine"),
            *("strided", "contiguous_format", "preserve_format"),
        )
    ),
    *(
        (module, "AttributeDict")
        for module in (
            "pytorch_lightning.utilities.parsing",
            "lightning.pytorch.utilities.parsing",
            "lightning_fabric.utilities.data",
            "lightning.fabric.utilities.data",
        )
    ),
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
    ("pytorch_lightning.callbacks.early_stopping", "EarlyStopping"),
}
_CONTAINERS = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    *((module, name) for module in ("builtins", "__builtin__") for name in ("dict", "set", "list", "tuple")),
    ("builtins", "int"),
    ("builtins", "float"),
    ("torch", "Size"),
    ("torch.nn.parameter", "Parameter"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    *(("torch", name) for name in STORAGES),
    ("torch.storage", "UntypedStorage"),
    # TorchScript's own words for typed lists.
    *(
        ("torch.jit._pickle", name)
        for name in (
            *("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist"),
            *("restore_type_tag", "build_tensor_from_id"),
        )
    ),
}
_ALLOWED = REBUILDS | _INERT | _CONTAINERS
#: Words in the names of what PyTorch's quantisation leaves in a state dict.
QUANTISED_WORDS = ("quantize", "quantization", "CellParams", "PackedParams", "ScriptObject")


@dataclass(frozen=True)
class AllowedName:
    """A global name from the allow-list; never an object of that name."""

    module: str
    name: str

    @property
    def is_script_class(self) -> bool:
        """True for a class of a TorchScript program: a container of attributes here, its code is never looked at."""
        return self.module == "__torch__" or self.module.startswith("__torch__.")


def dtype_of_bits(name: str, order: str = "<") -> np.dtype[Any]:
    """The numpy dtype that an element of a storage is read as."""
    return np.dtype(order + (BITS[name] if name in BITS else np.dtype(name).str[1:]))


class Attributes(dict[str | int | float, object]):
    """The attributes of a TorchScript object."""


def find_name(module: str, name: str) -> AllowedName | None:
    """The name if it is on the list; None if it is not.

    >>> find_name("collections", "OrderedDict"), find_name("os", "system")
    (AllowedName(module='collections', name='OrderedDict'), None)
    """
    found = AllowedName(module, name)
    return found if (module, name) in _ALLOWED or found.is_script_class else None
