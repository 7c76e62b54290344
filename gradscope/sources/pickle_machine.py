"""The stack machine behind a PyTorch pickle: inert records and a short list of names, nothing that can be called."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from gradscope.errors import InputError

#: Enough for a checkpoint of 25,000 tensors, and a second or two at most.
MAX_OPCODES = 1_000_000


@dataclass(frozen=True)
class StorageRef:
    """A flat piece of memory that a tensor looks into: elements ``offset … offset + n`` of storage ``key``."""

    key: str
    dtype: str
    n: int
    offset: int = 0


@dataclass(frozen=True)
class TensorRef:
    """A strided view of a storage: ``size`` and ``stride`` in elements, beginning at element ``offset``."""

    storage: StorageRef
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class AllowedName:
    """A global name from the allow-list; never an object of that name."""

    module: str
    name: str


_STORAGES = {
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
}
_ALLOWED = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("builtins", "dict"),
    ("builtins", "set"),
    ("builtins", "list"),
    ("builtins", "int"),
    ("builtins", "float"),
    ("__builtin__", "dict"),
    ("__builtin__", "set"),
    ("__builtin__", "list"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "Tensor"),
    ("torch.nn.parameter", "Parameter"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch.serialization", "_get_layout"),
    *(("torch", name) for name in _STORAGES),
    ("torch.storage", "UntypedStorage"),
    *(("torch", name) for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8")),
    *(("torch", name) for name in ("double", "float", "half", "long", "int", "uint8", "bool")),
}
#: What the opcode "(" puts on the stack.
MARK = object()


class PickleMachine:
    """One run over one pickle."""

    def __init__(self, content: bytes, begin: int, *, file: str) -> None:
        self.content, self.at, self.file = content, begin, file
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def take(self, n: int) -> bytes:
        """The next n bytes of the pickle."""
        if n < 0 or self.at + n > len(self.content):
            raise self.damaged("ends too early")
        self.at += n
        return self.content[self.at - n : self.at]

    def line(self) -> str:
        """The next text argument, up to its newline."""
        end = self.content.find(b"\n", self.at, self.at + 1024)
        if end < 0:
            raise self.damaged("has a text argument without an end")
        text = self.content[self.at : end].decode("latin-1")
        self.at = end + 1
        return text

    def number(self, layout: str) -> int:
        """The next fixed-size number."""
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def pop(self) -> Any:
        """The top of the stack."""
        if not self.stack:
            raise self.damaged("takes from an empty stack")
        return self.stack.pop()

    def to_mark(self) -> list[Any]:
        """Everything above the last mark."""
        items: list[Any] = []
        while self.stack:
            item = self.stack.pop()
            if item is MARK:
                return items[::-1]
            items.append(item)
        raise self.damaged("closes what it never opened")

    def charge(self, n: int) -> None:
        """Count copied items, so that one long list cannot be copied over and over."""
        self.copied += n
        if self.copied > MAX_OPCODES:
            raise self.damaged("copies too much")

    def damaged(self, how: str) -> InputError:
        """The error to raise for a pickle that makes no sense."""
        return InputError(f"{self.file}: its pickle {how}; the file is damaged or no PyTorch checkpoint")

    def global_name(self, module: Any, name: Any) -> AllowedName:
        """Admit a name from the allow-list, refuse any other by name."""
        if (module, name) in _ALLOWED:
            return AllowedName(module, name)
        called = f"{module}.{name}"[:120]
        if called.startswith("__torch__"):
            raise InputError(
                f"{self.file}: is a TorchScript program ('{called}'), not a state dict; load it in torch and save "
                "torch.save(model.state_dict(), 'weights.pt')"
            )
        raise InputError(
            f"{self.file}: refused, its pickle wants '{called}' and only tensors and plain containers are read; "
            "re-save in torch: torch.save(model.state_dict(), 'weights.pt')"
        )

    def set_items(self, pairs: list[Any]) -> None:
        """Put key, value, key, value, … into the dictionary on top of the stack."""
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, dict) or len(pairs) % 2:
            raise self.damaged("sets items of what is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # Strings and numbers only: hashing a deeply nested tuple would recurse in C.
            if not isinstance(key, str | int | float):
                key = f"<{type(key).__name__}>"
            target[key] = value

    def append(self, items: list[Any]) -> None:
        """Extend the list on top of the stack."""
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, list):
            raise self.damaged("appends to what is no list")
        target.extend(items)

    def remember(self, index: int) -> None:
        """Store the top of the stack in the memo."""
        if not self.stack:
            raise self.damaged("remembers nothing")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        """Push an entry of the memo."""
        if index not in self.memo:
            raise self.damaged("recalls what it never stored")
        self.stack.append(self.memo[index])

    def construct(self, target: Any, args: Any) -> Any:
        """What an allowed name applied to ``args`` stands for."""
        if not isinstance(target, AllowedName) or not isinstance(args, tuple):
            raise self.damaged("calls what is no name")
        name = target.name
        try:
            if name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
                return self.tensor(*args[:4])
            if name in ("_rebuild_parameter", "_rebuild_parameter_with_state", "Parameter"):
                return args[0]
            if name in ("OrderedDict", "dict", "Counter"):
                pairs = args[0] if args else []
                if isinstance(pairs, dict):
                    pairs = list(pairs.items())
                self.charge(len(pairs))
                return {str(key)[:200] if not isinstance(key, str | int) else key: value for key, value in pairs}
            if name == "defaultdict":
                return {}
            if name in ("set", "list"):
                items = args[0] if args else []
                self.charge(len(items))
                return list(items)
            if name == "Size":
                return tuple(args[0])
        except InputError:  # a ValueError as well: already says what is wrong
            raise
        except (IndexError, TypeError, ValueError) as error:
            raise self.damaged(f"gives {name} the wrong arguments") from error
        return None  # a device, a layout: of no interest

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> TensorRef:
        """Check that a strided view lies inside its storage."""
        if not (isinstance(storage, StorageRef) and isinstance(size, tuple) and isinstance(stride, tuple)):
            raise self.damaged("rebuilds a tensor from something else")
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or len(size) > 32 or not all(type(v) is int and 0 <= v < 1 << 62 for v in numbers):
            raise self.damaged("rebuilds a tensor of impossible size")
        n_elements = 1
        for extent in size:
            n_elements *= extent
        last = offset + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
        # More elements than the storage has (stride 0) would let a few bytes grow without bound.
        if n_elements and (last >= storage.n or n_elements > storage.n):
            raise self.damaged(f"has a tensor of shape {size} that does not fit its storage of {storage.n} elements")
        return TensorRef(storage, offset, size, stride)

    def storage(self, persistent: Any) -> StorageRef:
        """The storage a persistent id stands for: ('storage', type, key, location, n[, view])."""
        if not isinstance(persistent, tuple) or len(persistent) < 5 or persistent[0] != "storage":
            raise self.damaged("refers to something that is no storage")
        kind, key, n = persistent[1], persistent[2], persistent[4]
        if not isinstance(kind, AllowedName) or kind.name not in _STORAGES or not isinstance(key, str):
            raise self.damaged("refers to a storage of no known type")
        if type(n) is not int or not 0 <= n < 1 << 48:
            raise self.damaged("has a storage of impossible size")
        offset = 0
        view = persistent[5] if len(persistent) > 5 else None
        if view is not None:
            if not (isinstance(view, tuple) and len(view) == 3 and all(type(v) is int and v >= 0 for v in view[1:])):
                raise self.damaged("has a storage view that is none")
            offset, size = view[1], view[2]
            if offset + size > n:
                raise self.damaged("has a storage view outside its storage")
            n = size
        return StorageRef(key, _STORAGES[kind.name], n, offset)
