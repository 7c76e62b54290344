"""``--vary KEY=VALUES``: lists, ranges and logarithmic ranges, read by the key they belong to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from gradscope.errors import UsageError, did_you_mean
from gradscope.ranges import decimal_range, log_range
from gradscope.sources.inputs import is_generated
from gradscope.sources.spec import SourceSpec

#: A range starts with a number; anything else with a colon in it is a word (a path, a module).
_RANGE = re.compile(r"^\s*[-+.\d][^:]*:")
#: Options of a run that may vary beside the keys of a source; T is what the command line calls steps.
_OPTIONS: dict[str, Callable[[str], Any]] = {
    "T": int,
    "steps": int,
    "seed": int,
    "batch": int,
    "transient": int,
    "epsilon": float,
    "inputs": str,
    "dtype": str,
    "anchor": str,
    "wrt": str,
}


@dataclass(frozen=True)
class Axis:
    """One varied key.

    Attributes
    ----------
    key : str
        As written; the column of the rows.
    role : {"source", "option"}
        Whether it belongs to the source or to the run.
    name : str
        The key of the source, or the option's field (``steps`` for ``T``).
    values : tuple
        Parsed, distinct, in the order written.
    text : str
        The values as written.
    """

    key: str
    role: Literal["source", "option"]
    name: str
    values: tuple[Any, ...]
    text: str


def expand(text: str) -> list[str]:
    """Expand ``0.5:1:0.25,2`` to the text of every value, without drift and with both ends.

    >>> expand("0.5:1:0.25,2")
    ['0.5', '0.75', '1', '2']
    >>> expand("log:1:100:3,relu")
    ['1', '10', '100', 'relu']
    """
    out: list[str] = []
    for part in text.split(","):
        if part.strip().startswith("log:"):
            out += [_written(value) for value in log_range(part.strip())]
        elif _RANGE.match(part):
            out += [_written(value) for value in decimal_range(part)]
        else:
            out.append(part.strip())
    return out


def _written(value: Decimal) -> str:
    """A decimal as a key parser reads it: whole numbers without a point, no exponent."""
    return str(int(value)) if value == value.to_integral_value() else format(value.normalize(), "f")


def read_axis(text: str, spec: SourceSpec, options: Mapping[str, Any]) -> Axis:
    """Read one ``KEY=VALUES`` for a source.

    Parameters
    ----------
    options : mapping
        The fields that the measure's request knows.

    Raises
    ------
    UsageError
        Not KEY=VALUES, a key that neither the source nor the run knows, or a value the key does not take.
    """
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or not key or not values.strip():
        raise UsageError(f"--vary {text}: wanted KEY=VALUES, for example gain=0.5:1.5:0.1 or init=gaussian,orthogonal.")
    source_keys = spec.known_keys()
    written = expand(values)
    as_option = {name: parse for name, parse in _OPTIONS.items() if _field(name) in options}
    # `inputs` is the width of a built network and the kind of its inputs: a number can only be the width.
    if key in source_keys and not (key == "inputs" and not all(v.isdigit() for v in written)):
        parse = source_keys[key].parse
        if (
            parse.__name__ == "parse"
            and values.strip().startswith("log:")
            and isinstance(source_keys[key].default, int)
        ):
            written = [str(round(float(v))) for v in written]
        return Axis(key, "source", key, _parsed(key, written, text, parse, parse.__doc__ or "a value"), values)
    if key in as_option:
        wanted = {int: "whole numbers", float: "numbers", str: "words"}[as_option[key]]  # type: ignore[index]
        return Axis(key, "option", _field(key), _parsed(key, written, text, as_option[key], wanted), values)
    known = list(dict.fromkeys([*source_keys, *(name for name in as_option if name != "steps")]))
    raise UsageError(
        f"--vary {text}: '{spec.text}' has no key '{key}'.{did_you_mean(key, known)}\nKnown: {', '.join(known)}."
    )


def _field(name: str) -> str:
    return "steps" if name == "T" else name


def _parsed(key: str, written: list[str], text: str, parse: Callable[[str], Any], wanted: str) -> tuple[Any, ...]:
    values: dict[Any, None] = {}
    for word in written:
        try:
            values[parse(word)] = None
        except (ValueError, KeyError, OverflowError):
            raise UsageError(f"--vary {text}: {key}={word}: wanted {wanted}.") from None
    return tuple(values)


def is_file_value(value: Any) -> bool:
    """Whether a value of ``inputs`` names a file."""
    return isinstance(value, str) and not is_generated(value)
