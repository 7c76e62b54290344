"""The pickle inside a PyTorch file, interpreted without the ``pickle`` module: nothing is imported, nothing called.

A pickle is a program for a small stack machine. This one knows plain values and containers, and a short list of
names that stand for tensors and their storages; it turns those into inert records. Any other name (a class of
the author's, ``os.system``) is refused by that name, so a pickle that would run code cannot.

Opcodes: Python's ``pickletools`` and PEP 307, 3154. Time and memory are bounded by the length of the pickle.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradscope.sources.budget import Budget
from gradscope.sources.pickle_machine import MARK, MAX_OPCODES, PickleMachine
from gradscope.sources.pickle_names import AllowedName

_DECIMAL = re.compile(r"-?[0-9]{1,20}")


@dataclass(frozen=True)
class Unpickled:
    """A pickle's value, the byte after its end, and the storages it refers to (key to dtype)."""

    value: Any
    end: int
    storages: Mapping[str, str]


def run_pickle(content: bytes, begin: int = 0, *, budget: Budget) -> Unpickled:
    """Interpret the pickle that begins at byte ``begin``.

    Values are plain Python ones, ``TensorRef`` where it has tensors, None for objects of no interest.

    Raises
    ------
    InputError
        If the pickle is damaged, too long, costs more than the budget has, or names anything outside the allow-list.
    """
    machine = PickleMachine(content, begin, budget=budget)
    for _ in range(MAX_OPCODES):
        opcode = machine.take(1)
        if opcode == b".":
            return Unpickled(machine.pop(), machine.at, machine.storages)
        action = _ACTIONS.get(opcode)
        if action is None:
            raise machine.damaged(f"has an opcode ({opcode!r}) that no checkpoint needs")
        action(machine)
    raise machine.damaged(f"has more than {MAX_OPCODES} opcodes")


def _push(value: Callable[[PickleMachine], Any]) -> Callable[[PickleMachine], None]:
    def action(machine: PickleMachine) -> None:
        machine.stack.append(value(machine))

    return action


def _long(machine: PickleMachine, layout: str) -> int:
    n = machine.number(layout)
    if not 0 <= n <= 16:
        raise machine.damaged("has a number of more than 16 bytes")
    return int.from_bytes(machine.take(n), "little", signed=True)


def _decimal(machine: PickleMachine) -> int | bool:
    text = machine.line().removesuffix("L")
    if text in ("00", "01"):
        return text == "01"
    if not _DECIMAL.fullmatch(text):
        raise machine.damaged("has a number that is none")
    return int(text)


def _tuple_of(n: int) -> Callable[[PickleMachine], Any]:
    def value(machine: PickleMachine) -> tuple[Any, ...]:
        return machine.new(tuple([machine.pop() for _ in range(n)][::-1]))  # type: ignore[no-any-return]

    return value


def _global(machine: PickleMachine) -> AllowedName:
    module = machine.line()
    return machine.global_name(module, machine.line())


def _stack_global(machine: PickleMachine) -> AllowedName:
    name, module = machine.pop(), machine.pop()
    return machine.global_name(module, name)


def _reduce(machine: PickleMachine) -> Any:
    args, target = machine.pop(), machine.pop()
    return machine.construct(target, args)


def _dict_to_mark(machine: PickleMachine) -> None:
    items = machine.to_mark()
    machine.stack.append(machine.new({}))
    machine.set_items(items)


def _set_item(machine: PickleMachine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _pop_mark_append(machine: PickleMachine) -> None:
    machine.append(machine.to_mark())


def _append_one(machine: PickleMachine) -> None:
    machine.append([machine.pop()])


def _set_items(machine: PickleMachine) -> None:
    machine.set_items(machine.to_mark())


def _ignore(_: object) -> None:
    """Drop a value: a frame length, a popped object."""


def _passed_over(machine: PickleMachine, layout: str) -> None:
    """Bytes (a packed random state, say) are never looked at."""
    n = machine.number(layout)
    if machine.at + n > len(machine.content):
        raise machine.damaged("ends too early")
    machine.at += n


def _protocol(machine: PickleMachine) -> None:
    if machine.number("<B") > 5:
        raise machine.damaged("is of a protocol after 5")


_ACTIONS: dict[bytes, Callable[[PickleMachine], None]] = {
    b"\x80": _protocol,
    b"\x95": lambda m: _ignore(m.take(8)),
    b"(": _push(lambda m: MARK),
    b"0": lambda m: _ignore(m.pop()),
    b"1": lambda m: _ignore(m.to_mark()),
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"J": _push(lambda m: m.number("<i")),
    b"K": _push(lambda m: m.number("<B")),
    b"M": _push(lambda m: m.number("<H")),
    b"I": _push(_decimal),
    b"L": _push(_decimal),
    b"\x8a": _push(lambda m: _long(m, "<B")),
    b"\x8b": _push(lambda m: _long(m, "<i")),
    b"G": _push(lambda m: struct.unpack(">d", m.take(8))[0]),
    b"X": _push(lambda m: m.text("<I")),
    b"\x8c": _push(lambda m: m.text("<B")),
    b"\x8d": _push(lambda m: m.text("<Q")),
    b"U": _push(lambda m: m.text("<B", "latin-1")),
    b"T": _push(lambda m: m.text("<i", "latin-1")),
    b"C": _push(lambda m: _passed_over(m, "<B")),
    b"B": _push(lambda m: _passed_over(m, "<I")),
    b"\x8e": _push(lambda m: _passed_over(m, "<Q")),
    b"\x96": _push(lambda m: _passed_over(m, "<Q")),
    b"]": _push(lambda m: m.new([])),
    b"}": _push(lambda m: m.new({})),
    b")": _push(lambda m: ()),
    b"\x8f": _push(lambda m: m.new([])),
    b"l": _push(lambda m: m.new(m.to_mark())),
    b"t": _push(lambda m: m.new(tuple(m.to_mark()))),
    b"\x91": _push(lambda m: m.new(m.to_mark())),
    b"d": _dict_to_mark,
    b"\x85": _push(_tuple_of(1)),
    b"\x86": _push(_tuple_of(2)),
    b"\x87": _push(_tuple_of(3)),
    b"a": _append_one,
    b"e": _pop_mark_append,
    b"\x90": _pop_mark_append,
    b"s": _set_item,
    b"u": _set_items,
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.recall(m.number("<B")),
    b"j": lambda m: m.recall(m.number("<I")),
    b"c": _push(_global),
    b"\x93": _push(_stack_global),
    b"R": _push(_reduce),
    b"\x81": _push(_reduce),
    b"b": lambda m: m.build(m.pop()),
    b"Q": _push(lambda m: m.storage(m.pop())),
}
