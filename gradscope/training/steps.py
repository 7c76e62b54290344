"""Where a checkpoint stands in training: the number in its name."""

from __future__ import annotations

import re
from pathlib import PurePath

from gradscope.errors import UsageError

_NUMBER = re.compile(r"\d+")


def step_of(name: str, pattern: re.Pattern[str] | None = None) -> int | float | None:
    """The training step of a file.

    Without a pattern it is the last number in the file's name, its suffix aside, or else in the name of its folder
    (``checkpoint-500/model.safetensors``).

    >>> step_of("run/epoch=3-step=1200.ckpt"), step_of("checkpoint-500/model.safetensors"), step_of("best.h5")
    (1200, 500, None)

    Raises
    ------
    UsageError
        The pattern is not in the name, or what it holds is no number.
    """
    if pattern is None:
        path = PurePath(name.replace("\\", "/"))
        stem = path.name if path.suffix[1:].isdigit() else path.stem
        found = _NUMBER.findall(stem) or _NUMBER.findall(path.parent.name)
        return int(found[-1]) if found else None
    match = pattern.search(name)
    text = match.group(1) if match else None
    if text is None:
        raise UsageError(f"--step {pattern.pattern}: is not in '{name}'")
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"--step {pattern.pattern}: holds '{text}' in '{name}', which is no number") from None
    return int(number) if number.is_integer() else number


def compiled(pattern: str | None) -> re.Pattern[str] | None:
    """``--step``: a regular expression with one group.

    Raises
    ------
    UsageError
        It is none, or has another number of groups.
    """
    if pattern is None:
        return None
    try:
        found = re.compile(pattern)
    except re.error as problem:
        raise UsageError(f"--step {pattern}: no regular expression ({problem})") from None
    if found.groups != 1:
        raise UsageError(f"--step {pattern}: wanted one group around the number, as in 'step=(\\d+)'")
    return found
