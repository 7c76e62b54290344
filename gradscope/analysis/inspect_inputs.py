"""``inspect`` of a file that holds no network but what one reads: inputs or tokens, told by shape and names."""

from __future__ import annotations

import re
from pathlib import Path

from gradscope.errors import InputError
from gradscope.sources.budget import Budget
from gradscope.sources.file_bytes import opened
from gradscope.sources.file_format import read_start, sniff
from gradscope.sources.inputs import load_numeric_array, npy_header
from gradscope.sources.npz import npz_tensors
from gradscope.sources.safetensors import safetensors_tensors
from gradscope.sources.whole_numbers import rows_of_whole_numbers
from gradscope.sources.zip_members import ZipMembers

#: Largest text that is read to say what it is.
MOST_TEXT = 16 << 20
_PARAMETER = re.compile(r"weight|bias|kernel|[./]", re.IGNORECASE)


def inputs_sentence(path: Path) -> str | None:
    """What an inputs file is and how it is used; None where the file is something else, or cannot be read."""
    try:
        with opened(path) as (stream, n_bytes):
            kind = sniff(start := read_start(stream), n_bytes)
            budget = Budget(n_bytes, file=path.name)
            if kind == "safetensors":
                return _of_named({k: t.shape for k, t in safetensors_tensors(stream, budget).items()}, path)
            if kind == "zip":
                with ZipMembers(stream, budget) as members:
                    return _of_named({k: t.shape for k, t in npz_tensors(members).items()}, path)
        if kind == "npy":
            header = npy_header(path)
            return None if header is None else _of_array(tuple(header.shape), header.dtype, path.name)
        return _of_text(path) if not kind and b"\0" not in start and n_bytes <= MOST_TEXT else None
    except InputError:
        return None


def _of_array(shape: tuple[int, ...], dtype: str, name: str) -> str | None:
    """Two or three axes that are no square matrices, ready Jacobians neither; or whole numbers in a row."""
    if 0 in shape:
        return None
    if len(shape) == 1 and "int" in dtype:
        return _said(f"{shape[0]} tokens or class numbers ({dtype})", "--tokens", name)
    if len(shape) not in (2, 3) or shape[-1] == shape[-2]:
        return None
    many = f"{shape[0]} sequences of " if len(shape) == 3 else ""
    kind = f" ({dtype})" if dtype else ""
    return _said(f"{many}{shape[-2]} steps of {shape[-1]} inputs{kind}", "--inputs", name)


def _said(what: str, option: str, name: str) -> str:
    return f"an inputs file: {what}, no network; use it with gradscope gradients SOURCE {option} {name}"


def _of_named(shapes: dict[str, tuple[int, ...]], path: Path) -> str | None:
    """Arrays with names that no parameter has; which one is the inputs is the user's to say where there are several."""
    if not shapes or any(_PARAMETER.search(name) for name in shapes):
        return None
    if len(shapes) == 1:
        return _of_array(tuple(next(iter(shapes.values()))), "", path.name)
    fitting = [name for name, shape in shapes.items() if _of_array(tuple(shape), "", path.name)]
    if not fitting:
        return None
    listed = ", ".join(f"{name} {tuple(shape)}" for name, shape in list(shapes.items())[:8])
    return _said(f"arrays {listed}", "--inputs", f"{path.name}:{fitting[0]}")


def _of_text(path: Path) -> str | None:
    try:
        array = load_numeric_array(path, purpose="inspect")
    except InputError:
        rows = rows_of_whole_numbers(path, path.name)
        return _said(f"{sum(map(len, rows))} whole numbers", "--tokens", path.name)
    steps, width = array.shape
    return _said(f"{steps} step{'s' * (steps != 1)} of {width} input{'s' * (width != 1)}", "--inputs", path.name)
