"""Keys of the source grammar: how a value is read, its default, what it means. A cell declares its own with these."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Key:
    """A key of the grammar.

    Attributes
    ----------
    parse : callable
        From the text to the value; ValueError where it is none. Its docstring says what is wanted.
    default : object
    meaning : str
    in_files : bool
        Whether a weights file cannot tell it, so that the user may say it of a file too (there without a default).
    """

    parse: Callable[[str], Any]
    default: Any
    meaning: str
    in_files: bool = field(default=False)


def integer(low: int) -> Callable[[str], int]:
    """Whole numbers from ``low`` up."""

    def parse(text: str) -> int:
        value = int(text)
        if value < low:
            raise ValueError
        return value

    parse.__doc__ = f"a whole number ≥ {low}"
    return parse


def number(text: str) -> float:
    """a finite number (at most 1e150, so that squares are finite too)"""
    value = float(text)
    if not math.isfinite(value) or abs(value) > 1e150:
        raise ValueError
    return value


def positive(text: str) -> float:
    """a number above 0"""
    value = number(text)
    if value <= 0:
        raise ValueError
    return value


def probability(text: str) -> float:
    """a number from 0 up to, not including, 1"""
    value = number(text)
    if not 0 <= value < 1:
        raise ValueError
    return value


def share(text: str) -> float:
    """a number from 0 to 1"""
    value = number(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def boolean(text: str) -> bool:
    """true or false"""
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def one_of(*words: str) -> Callable[[str], str]:
    """One of the words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    parse.__doc__ = "one of " + ", ".join(words)
    return parse


def word(text: str) -> str:
    """a text"""
    if not text:
        raise ValueError
    return text


#: Of every cell.
NORM = Key(one_of("none", "layer"), "none", "normalise pre-activations per sample and step")
#: Of cells with a gate that keeps the old state.
MEMORY_KEYS = {
    "forget_bias": Key(number, 0.0, "added to the gate that keeps the old state"),
    "chrono_max": Key(integer(3), 100, "longest time of init=chrono, in steps"),
}
