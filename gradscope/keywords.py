"""Keyword arguments of the Python functions: the command line's spellings are accepted, wrong ones are a sentence."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from gradscope.analysis.request import RunRequest
from gradscope.errors import UsageError, did_you_mean
from gradscope.ranges import LEAST_BYTES, size_in_bytes, whole_numbers
from gradscope.sources.given_arrays import GivenArray, GivenReadout, is_array, real_array
from gradscope.sources.live import HasStateDict, IsArray
from gradscope.sources.spec import SourceSpec

#: Numbers as a caller holds them: an array or tensor of any library, or nested lists.
Numbers: TypeAlias = IsArray | Sequence[Any]
#: A word or file as on the command line, or the numbers themselves.
TextOrNumbers: TypeAlias = str | os.PathLike[str] | Numbers
#: ``random``, a file, ``weight`` and ``bias`` by name, an ``nn.Linear``, or the weight (or vector) alone.
ReadoutLike: TypeAlias = TextOrNumbers | Mapping[str, Any] | HasStateDict
#: Rows kept: ``"0:50:5"``, ``"1,5,10"``, a range or a list.
LagsLike: TypeAlias = str | Iterable[int]

P = ParamSpec("P")
R = TypeVar("R")
RequestT = TypeVar("RequestT", bound=RunRequest)
Convert: TypeAlias = Callable[[str, Any], Any]


def known_names_only(function: Callable[P, R]) -> Callable[P, R]:
    """Make a wrong keyword a sentence with a suggestion, as a wrong option is on the command line."""
    known = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind == parameter.KEYWORD_ONLY
    ]

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                hint = did_you_mean(name, known)
                raise UsageError(
                    f"unknown option: {function.__name__} has no '{name}'.{hint}\nKnown: {', '.join(known)}."
                )
        return function(*args, **kwargs)

    return checked


def request_of(cls: type[RequestT], given: Mapping[str, Any]) -> RequestT:
    """The typed request that keyword arguments ask for; ``given`` may hold more than the request has fields.

    Raises
    ------
    UsageError, InputError
        A value that is no such thing: named, with what was wanted.
    """
    names = {field.name for field in fields(cls)}
    return cls(**options_of(cls, {name: value for name, value in given.items() if name in names}))


def options_of(cls: type[RunRequest], given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a request, each read as the type that the request's own field has.

    Raises
    ------
    UsageError, InputError
        A name that is no field, or a value that is no such thing.
    """
    known = {field.name: str(field.type) for field in fields(cls)}
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            words = ", ".join(name for name in known if name not in _SILENT)
            raise UsageError(f"unknown option: {name} has no meaning here.{did_you_mean(name, known)}\nKnown: {words}.")
        if name == "lags":
            options["lags"], options["lags_text"] = _lags(value)
            continue
        kind, optional = known[name].removesuffix(" | None"), known[name].endswith(" | None")
        if value is None and optional:
            options[name] = None
        elif name in _BY_NAME:
            options[name] = _BY_NAME[name](name, value)
        else:
            options[name] = _BY_TYPE.get(kind, _as_it_is)(name, value)
    return options


def _shown(value: Any) -> str:
    text = f"an array {tuple(np.shape(value))}" if is_array(value) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _wrong(name: str, value: Any, wanted: str) -> UsageError:
    return UsageError(f"{name}={_shown(value)}: wanted {wanted}.")


def whole(name: str, value: Any) -> int:
    """A whole number, also as text, or as a float or numpy number that is one."""
    if not isinstance(value, bool | np.bool_):
        try:
            number = int(value.strip()) if isinstance(value, str) else int(value)
            if isinstance(value, str) or number == value:
                return number
        except (TypeError, ValueError, OverflowError):
            pass
    raise _wrong(name, value, "a whole number")


def _number(name: str, value: Any) -> float:
    if not isinstance(value, bool | np.bool_):
        try:
            number = float(value)
            if not math.isnan(number):
                return number
        except (TypeError, ValueError, OverflowError):
            pass
    raise _wrong(name, value, "a number")


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise _wrong(name, value, "True or False")


def _word(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _wrong(name, value, "a word")


def _words(name: str, value: Any) -> tuple[str, ...]:
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if isinstance(parts, Iterable) and not is_array(parts):
        found = tuple(parts)
        if all(isinstance(part, str) for part in found):
            return found
    raise _wrong(name, value, "a list of words")


def _lags(value: Any) -> tuple[tuple[int, ...] | None, str | None]:
    """The lags that are kept, ascending, and how they are written."""
    if value is None:
        return None, None
    if isinstance(value, str):
        return whole_numbers(value), value
    try:
        found = sorted({whole("lags", lag) for lag in ([value] if isinstance(value, int) else value)})
    except TypeError:
        raise _wrong("lags", value, 'whole numbers, as "0:50:5" or a list') from None
    if not found or found[0] < 0:
        raise _wrong("lags", value, "whole numbers ≥ 0")
    step = found[1] - found[0] if len(found) > 2 else 0
    even = step > 0 and found == list(range(found[0], found[-1] + 1, step))
    text = f"{found[0]}:{found[-1]}:{step}" if even else ",".join(map(str, found))
    return tuple(found), text


def _size(name: str, value: Any) -> int:
    """A size as the command line writes it, or a number of bytes."""
    found = size_in_bytes(value) if isinstance(value, str) else whole(name, value)
    if found < 1:
        raise _wrong(name, value, 'a number of bytes, or a size like "1G"')
    return found


def _text_or_array(name: str, value: Any) -> str | GivenArray:
    if isinstance(value, str):
        return value
    if isinstance(value, GivenArray):
        return value
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    return GivenArray(real_array(value, what=name))


def _target(name: str, value: Any) -> str | GivenArray:
    """A single number is what the command line would read; everything else is an array."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    return _text_or_array(name, value)


def _readout(name: str, value: Any) -> str | GivenArray | GivenReadout:
    if isinstance(value, GivenReadout):
        return value
    if isinstance(value, HasStateDict) and not isinstance(value, type):
        value = value.state_dict()
    if isinstance(value, Mapping):
        arrays = {
            str(key): real_array(array, what=f"{name}['{key}']").astype(np.float64) for key, array in value.items()
        }
        return GivenReadout(arrays)
    return _text_or_array(name, value)


def _as_it_is(name: str, value: Any) -> Any:
    return value


#: How a field of a request is read, by its declared type ("| None" aside) …
_BY_TYPE: dict[str, Convert] = {
    "int": whole,
    "float": _number,
    "bool": _flag,
    "str": _word,
    "tuple[str, ...]": _words,
    "str | GivenArray": _text_or_array,
    "str | GivenArray | GivenReadout": _readout,
}
#: … or by its name, where the command line has a spelling of its own.
_BY_NAME: dict[str, Convert] = {"memory": _size, "target": _target}

#: Fields that no command line needs: they change no number.
_SILENT = {"progress", "figures", "lags"}
#: Options whose name on the command line is not the keyword's.
_OPTIONS = {"k": "-k", "zipped": "--zip"}
#: What says no where no is not the default.
_OTHERWISE = {"time_major": "--batch-major"}
#: Fields that no option of the command line sets.
_PYTHON_ONLY = {"method"}


def command_of(verb: str, specs: Sequence[SourceSpec], options: Mapping[str, Any]) -> tuple[str, ...]:
    """The command line that gives the same numbers; or one word, a Python call, where arrays stand in the way.

    Parameters
    ----------
    verb : str
    specs : sequence of SourceSpec
    options : mapping
        What differs from the defaults, by keyword; see :func:`changed_options`.
    """
    given = any(isinstance(value, GivenArray | GivenReadout) for value in options.values())
    given |= options.get("memory", LEAST_BYTES) < LEAST_BYTES
    if given or _PYTHON_ONLY & set(options) or any(spec.held is not None for spec in specs):
        return (_python_call(verb, specs, options),)
    words = [verb, *(spec.as_text for spec in specs)]
    for name, value in options.items():
        option = _OPTIONS.get(name, "--" + name.replace("_", "-"))
        if isinstance(value, bool):
            words += [option] if value else [_OTHERWISE[name]] if name in _OTHERWISE else []
        elif isinstance(value, tuple):
            words += [word for part in value for word in (option, str(part))]
        else:
            words += [option, str(value)]
    return tuple(words)


def changed_options(request: RunRequest, threads: int | None = None) -> dict[str, Any]:
    """The options that are not at their defaults, under the names of the functions' keywords."""
    changed = {}
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name not in _SILENT and field.default is not MISSING and value != field.default:
            changed["lags" if field.name == "lags_text" else field.name] = value
    return changed if threads is None else {**changed, "threads": threads}


def _python_call(verb: str, specs: Sequence[SourceSpec], options: Mapping[str, Any]) -> str:
    arguments, seen = [], dict[str, int]()
    for spec in specs:
        if spec.held is None:
            arguments.append(repr(spec.as_text))
            continue
        name = _variable(spec)
        seen[name] = seen.get(name, 0) + 1
        name = name if seen[name] == 1 else f"{name}_{seen[name]}"
        keys = spec.text[len(spec.name) + 1 :]
        arguments.append(f'({name}, "{keys}")' if keys else name)
    for name, value in options.items():
        written = name if isinstance(value, GivenArray | GivenReadout) else repr(_as_list(value))
        arguments.append(f"{name}={written}")
    return f"gradscope.{verb}({', '.join(arguments)})"


def _variable(spec: SourceSpec) -> str:
    if spec.is_one_array:
        return "array"
    return "state_dict" if spec.name == "state_dict" else "model"


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
