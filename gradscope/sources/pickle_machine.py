"""The stack machine behind a PyTorch pickle: inert records and a short list of names, nothing that can be called.

Nothing that comes out of a pickle is ever written as text (``str``, ``repr``, a format) before it is known to be a
short string or a small number: an object of a few hundred bytes can have a text without end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from gradscope.errors import InputError
from gradscope.sources.budget import MAX_AXES, Budget
from gradscope.sources.pickle_names import QUANTISED_WORDS, REBUILDS, STORAGES, AllowedName, Attributes, find_name

#: Enough for a checkpoint of 25,000 tensors, and a second or two at most.
MAX_OPCODES = 1_000_000
#: What an empty container, and a record of a tensor, take as Python objects.
CONTAINER_BYTES, RECORD_BYTES = 64, 256


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


#: What the opcode "(" puts on the stack.
MARK = object()


class PickleMachine:
    """One run over one pickle."""

    def __init__(self, content: bytes, begin: int, *, budget: Budget) -> None:
        self.content, self.at, self.budget, self.file = content, begin, budget, budget.file
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, str] = {}
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

    def text(self, layout: str, encoding: str = "utf-8") -> str:
        """The next counted text."""
        n = self.number(layout)
        self.budget.text(n + CONTAINER_BYTES, "the text in its pickle")
        return self.take(n).decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")

    def new(self, container: Any) -> Any:
        """Charge a new container."""
        self.budget.text(CONTAINER_BYTES, "the containers in its pickle")
        return container

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
        if not (isinstance(module, str) and isinstance(name, str)):
            raise self.damaged("names something by what is no name")
        self.budget.length(len(module) + len(name), "a class name")
        found = find_name(module, name)
        if found is not None:
            return found
        called = f"{module}.{name}"[:120]
        if any(word in called for word in QUANTISED_WORDS):
            raise InputError(
                f"{self.file}: holds a quantised model ('{called}'), whose packed weights cannot be read; "
                "save the state dict of the float model, before it is quantised"
            )
        raise InputError(
            f"{self.file}: refused, its pickle wants '{called}' and only tensors and plain containers are read; "
            "re-save in torch: torch.save(model.state_dict(), 'weights.pt')"
        )

    def key(self, key: Any) -> str | int | float:
        """Admit a dictionary's key: a string or a number. Hashing or writing a nested tuple may never end."""
        if isinstance(key, AllowedName):
            return key.name
        if isinstance(key, str):
            self.budget.length(len(key), "a key")
            return key
        if not isinstance(key, int | float):
            raise self.damaged(f"has a key that is a {type(key).__name__}, and strings and numbers are what is read")
        return key

    def set_items(self, pairs: list[Any]) -> None:
        """Put key, value, key, value, … into the dictionary on top of the stack."""
        target = self.stack[-1] if self.stack else None
        if target is None and self.stack:
            return  # items of an object of no interest
        if not isinstance(target, dict) or len(pairs) % 2:
            raise self.damaged("sets items of what is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[self.key(key)] = value

    def append(self, items: list[Any]) -> None:
        """Extend the list on top of the stack."""
        target = self.stack[-1] if self.stack else None
        if target is None and self.stack:
            return
        if not isinstance(target, list):
            raise self.damaged("appends to what is no list")
        target.extend(items)

    def build(self, state: Any) -> None:
        """Give the object on top of the stack its attributes: kept for TorchScript objects, else of no interest."""
        target = self.stack[-1] if self.stack else None
        if isinstance(target, Attributes) and isinstance(state, dict):
            self.charge(len(state))
            target.update(state)

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
        try:
            return self._construct(target, args)
        except InputError:  # a ValueError as well: already says what is wrong
            raise
        except (IndexError, TypeError, ValueError) as error:
            raise self.damaged(f"gives {target.name[:80]} the wrong arguments") from error

    def _construct(self, target: AllowedName, args: tuple[Any, ...]) -> Any:
        if target.is_script_class:
            return self.new(Attributes())
        name = target.name
        if name == "_rebuild_from_type_v2":  # a tensor with attributes: (function, type, arguments, attributes)
            target, args = args[0], args[2]
            if not isinstance(target, AllowedName) or (target.module, target.name) not in REBUILDS:
                raise self.damaged("rebuilds a tensor by what does not")
            name = target.name
        if name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_qtensor"):
            return self.tensor(*args[:4])
        if name in ("_rebuild_parameter", "_rebuild_parameter_with_state", "Parameter", "restore_type_tag"):
            return args[0]
        if name in ("OrderedDict", "dict", "Counter"):
            pairs = args[0] if args else []
            if isinstance(pairs, dict):
                pairs = list(pairs.items())
            if not isinstance(pairs, list | tuple):
                raise self.damaged(f"makes a {name} of what is no list")
            self.charge(len(pairs))
            return self.new({self.key(key): value for key, value in pairs})
        if name == "defaultdict":
            return self.new({})
        if name in ("set", "list", "tuple") or name.startswith("build_"):
            items = args[0] if args else []
            if not isinstance(items, list | tuple):
                raise self.damaged(f"makes a {name} of what is no list")
            self.charge(len(items))
            return self.new(list(items))
        if name == "Size":
            if not isinstance(args[0], list | tuple):
                raise self.damaged("has a size that is no list")
            self.budget.axes(len(args[0]), "a tensor in its pickle")
            return self.new(tuple(args[0]))
        return None  # a device, a layout, a numpy scalar: of no interest

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> TensorRef:
        """Check that a strided view lies inside its storage."""
        if not (isinstance(storage, StorageRef) and isinstance(size, tuple) and isinstance(stride, tuple)):
            raise self.damaged("rebuilds a tensor from something else")
        if len(size) != len(stride) or len(size) > MAX_AXES:
            raise self.damaged("rebuilds a tensor of impossible shape")
        if not all(type(v) is int and 0 <= v < 1 << 62 for v in (offset, *size, *stride)):
            raise self.damaged("rebuilds a tensor of impossible size")
        self.budget.text(RECORD_BYTES, "the tensors in its pickle")
        self.budget.shape(size, "a tensor in its pickle")
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
        if not isinstance(kind, AllowedName) or kind.name not in STORAGES or not isinstance(key, str):
            raise self.damaged("refers to a storage of no known type")
        self.budget.length(len(key), "the key of a storage")
        if type(n) is not int or not 0 <= n < 1 << 48:
            raise self.damaged("has a storage of impossible size")
        dtype = STORAGES[kind.name]
        self.storages.setdefault(key, dtype)
        offset = 0
        view = persistent[5] if len(persistent) > 5 else None
        if view is not None:
            if not (isinstance(view, tuple) and len(view) == 3 and all(type(v) is int and v >= 0 for v in view[1:])):
                raise self.damaged("has a storage view that is none")
            offset, size = view[1], view[2]
            if offset + size > n:
                raise self.damaged("has a storage view outside its storage")
            n = size
        return StorageRef(key, dtype, n, offset)
