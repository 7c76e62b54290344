"""Configuration: ``[tool.gradscope]`` in pyproject.toml, or gradscope.toml; flag > environment > file > default."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gradscope.errors import InputError, UsageError, did_you_mean

#: Looked for in the current directory, in this order.
FILES = ("gradscope.toml", "pyproject.toml")
_NOT_CONFIGURABLE = {"config", "help", "version"}


def option_names(command: click.Command) -> dict[str, click.Parameter]:
    """Option names as they stand in a file (``fail-on``), with their parameters; ``sources`` for the argument."""
    names: dict[str, click.Parameter] = {}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            long = max(parameter.opts, key=len).removeprefix("--")
            if long not in _NOT_CONFIGURABLE:
                names[long] = parameter
        elif parameter.name == "sources":
            names["sources"] = parameter
    return names


def load_defaults(
    command: click.Command, verb: str, all_commands: Mapping[str, Any], given: str | None
) -> dict[str, Any]:
    """Defaults of one verb, by parameter name: the top table, and the verb's own on top of it.

    Raises
    ------
    InputError
        The file is missing or no TOML.
    UsageError
        A key that no option has; the message suggests the closest.
    """
    table, name = _table(given)
    known = option_names(command)
    defaults: dict[str, Any] = {}
    own = table.get(verb, {})
    if not isinstance(own, Mapping):
        raise UsageError(f"{name}: '{verb}' should be a table of options, [{verb}].")
    for key, value in table.items():
        if key in all_commands and isinstance(value, Mapping):
            continue
        if key in known:
            value = _own_gates(verb, value) if key in ("expect", "fail-on", "warn-on") else value
            defaults.update(_as_default(known[key], value, name, key))
        elif not any(key in option_names(other) for other in _load_all(all_commands)):
            raise UsageError(f"{name}: no option '{key}'.{did_you_mean(key, [*known, *all_commands])}")
    for key, value in own.items():
        if key not in known:
            raise UsageError(f"{name}: {verb} has no option '{key}'.{did_you_mean(key, known)}")
        defaults.update(_as_default(known[key], value, name, key))
    return defaults


def _own_gates(verb: str, expressions: Any) -> Any:
    """The gates of the top table that speak of this verb: `horizon < 50` must not keep `spectrum` from running.

    A name that no verb produces stays, and is refused with a suggestion like one from the command line.
    """
    from gradscope.fields import VERBS, names

    listed = [expressions] if isinstance(expressions, str) else expressions
    if verb not in VERBS or not isinstance(listed, list):
        return expressions
    of_others = {name for other in VERBS for name in names(other)} - {*names(verb)}
    return [text for text in listed if not (isinstance(text, str) and _gate_name(text) in of_others)]


def _gate_name(expression: str) -> str:
    match = re.match(r"\s*(\w+)", expression)
    return match.group(1) if match else ""


def _load_all(all_commands: Mapping[str, Any]) -> list[click.Command]:
    return [load() for load in all_commands.values()]


def _as_default(parameter: click.Parameter, value: Any, name: str, key: str) -> dict[str, Any]:
    """A TOML value as click would have read it from words."""
    repeatable = getattr(parameter, "multiple", False) or parameter.nargs == -1
    if repeatable:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{name}: {key} should be a text or a list of texts.")
        return {str(parameter.name): tuple(value)}
    if isinstance(value, list | dict):
        raise UsageError(f"{name}: {key} should be a single value.")
    is_flag = getattr(parameter, "is_flag", False)
    if is_flag and not isinstance(value, bool):
        raise UsageError(f"{name}: {key} should be true or false.")
    return {str(parameter.name): value if is_flag or getattr(parameter, "count", False) else str(value)}


def _table(given: str | None) -> tuple[Mapping[str, Any], str]:
    """The table that holds options, and the file's name for messages."""
    given = given or os.environ.get("GRADSCOPE_CONFIG")
    candidates = [Path(given)] if given else [Path(name) for name in FILES]
    for path in candidates:
        if not path.is_file():
            if given:
                raise InputError(f"--config {given}: no such file.")
            continue
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
            if not given and path.name == "pyproject.toml":
                continue  # somebody else's broken file is not ours to complain about
            raise InputError(f"{path}: not a TOML file ({problem}).") from None
        if path.name == "pyproject.toml":
            section = content.get("tool", {}).get("gradscope")
            if section is None and not given:
                continue
            return section or {}, "[tool.gradscope] in pyproject.toml"
        nested = content.get("tool", {})
        if isinstance(nested, Mapping) and "gradscope" in nested:
            return nested["gradscope"], f"[tool.gradscope] in {path.name}"
        return content, path.name
    return {}, ""
