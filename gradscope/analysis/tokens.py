"""Integer inputs: tokens looked up in the file's own embedding."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from gradscope.analysis.request import RunRequest
from gradscope.errors import InputError, ShapeError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.file_format import is_one_array
from gradscope.sources.given_arrays import GivenArray, title_of
from gradscope.sources.heads import FileHead
from gradscope.sources.inputs import ArrayInputs, load_numeric_array, npy_header
from gradscope.sources.whole_numbers import rows_of_whole_numbers


def embedded_tokens(request: RunRequest, head: FileHead | None, *, source: str) -> ArrayInputs | None:
    """x_t = E[token_t] for ``--tokens`` or an ``--inputs`` array of integers; None where neither is given.

    Raises
    ------
    UsageError, InputError, ShapeError
        Tokens without an embedding, out of the vocabulary, or of a shape that is no sequence.
    """
    if request.tokens is not None:
        tokens = _read_tokens(request.tokens)
        name = f"tokens {title_of(request.tokens)}"
    else:
        array = _integer_inputs(request, head)
        if array is None:
            return None
        tokens, name = array, title_of(request.inputs)
    if head is None or head.embedding is None:
        raise InputError(
            f"{name}: '{source}' holds no embedding to look tokens up in (a weight (V, I) without a bias).\n"
            "Name it with embedding=NAME, or give the embedded sequence with --inputs FILE.npy."
        )
    table = head.embedding
    vocabulary = table.weight.shape[0]
    if tokens.ndim not in (1, 2) or tokens.size == 0:
        raise ShapeError(f"{name}: wanted tokens (T,) or (batch, T), got shape {tokens.shape}.")
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        wrong = int(tokens.min()) if tokens.min() < 0 else int(tokens.max())
        raise InputError(f"{name}: token {wrong} is not in the vocabulary: {table.title} has 0 … {vocabulary - 1}.")
    looked_up = np.asarray(table.weight, dtype=np.float64)[np.atleast_2d(tokens)]  # (batch, T, I)
    x = np.ascontiguousarray(np.swapaxes(looked_up, 0, 1)).astype(request.dtype)
    return ArrayInputs(x, f"{name} through {table.name}")


def _integer_inputs(request: RunRequest, head: FileHead | None) -> Array | None:
    """The ``--inputs`` array or file if it holds integers shaped like tokens and there is an embedding."""
    if head is None or head.embedding is None:
        return None
    if isinstance(request.inputs, GivenArray):
        values = request.inputs.values
        return values if values.dtype.kind == "i" and values.ndim in (1, 2) else None
    path = Path(request.inputs)
    if not path.is_file():
        return None
    header = npy_header(path)  # None: the ordinary reader says what is wrong with it
    if header is None or "int" not in header.dtype or len(header.shape) not in (1, 2):
        return None
    return load_numeric_array(path, purpose="--inputs").astype(np.int64)


def _read_tokens(text: str | GivenArray) -> Array:
    """An array, ``3,17,4``, an .npy of integers, or a text file of them (a line is a sequence)."""
    if isinstance(text, GivenArray):
        return _whole(text.values, "tokens")
    if re.fullmatch(r"\s*-?[0-9]+(\s*,\s*-?[0-9]+)*\s*", text):
        return np.array([int(part) for part in text.split(",")], dtype=np.int64)
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"--tokens {text}: wanted whole numbers like 3,17,4 or a file of them.")
    if is_one_array(path):
        return _whole(load_numeric_array(path, purpose="--tokens"), f"--tokens {path.name}")
    rows = rows_of_whole_numbers(path, f"--tokens {path.name}")
    lengths = {len(row) for row in rows}
    if lengths == {1}:
        return np.array([row[0] for row in rows], dtype=np.int64)  # a column: one sequence
    if len(lengths) > 1:
        raise ShapeError(
            f"--tokens {path.name}: lines of {min(lengths)} to {max(lengths)} tokens, wanted sequences of one length.\n"
            "Pad the shorter ones at their end with any token, and give the lengths as --lengths."
        )
    return np.array(rows, dtype=np.int64)


def _whole(values: Array, name: str) -> Array:
    if np.any(values != np.round(values)):
        raise ShapeError(f"{name}: wanted whole numbers.")
    return values.astype(np.int64)
