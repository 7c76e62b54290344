"""x_1 … x_T: generated from a seed, or read from a file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np

from gradscope.errors import InputError, ShapeError, UsageError, did_you_mean
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.trajectory import GivenSteps
from gradscope.sources.budget import Budget
from gradscope.sources.file_bytes import about, opened
from gradscope.sources.file_format import described, read_start, sniff
from gradscope.sources.given_arrays import GivenArray
from gradscope.sources.npy_header import MAX_HEADER, NpyHeader
from gradscope.sources.seeding import generator

GENERATED = ("normal", "uniform", "zeros")
#: Generated inputs are drawn in blocks of this many steps, each with its own stream: any stretch can be redrawn.
BLOCK_STEPS = 1024


@dataclass(frozen=True)
class ArrayInputs(GivenSteps):
    """Inputs held in memory, and what the report calls them.

    Attributes
    ----------
    starts : ndarray of int, shape (batch,), or None
        Steps of padding before each sequence's first (``--lengths``): all sequences end at the last step.
    """

    description: str = "array"
    starts: Array | None = None


@dataclass(frozen=True)
class GeneratedInputs:
    """Inputs drawn block by block: ``normal`` N(0, 1), ``uniform`` on [−1, 1), or ``zeros``.

    A longer run begins with the same inputs as a shorter one, and no stretch depends on what was read before.
    """

    kind: str
    n_steps: int
    batch: int
    width: int
    seed: int
    dtype: Any = np.float64

    @property
    def description(self) -> str:
        """One word for the report."""
        return self.kind

    def _block(self, index: int) -> Array:
        shape = (BLOCK_STEPS, self.batch, self.width)
        if self.kind == "zeros":
            return np.zeros(shape, dtype=self.dtype)
        rng = generator(self.seed, "inputs", index)
        drawn = rng.standard_normal(shape) if self.kind == "normal" else rng.uniform(-1.0, 1.0, shape)
        return np.asarray(drawn, dtype=self.dtype)

    def read(self, first: int, last: int) -> Array:
        if last < first:
            return np.zeros((0, self.batch, self.width), dtype=self.dtype)
        blocks = range((first - 1) // BLOCK_STEPS, (last - 1) // BLOCK_STEPS + 1)
        start = blocks[0] * BLOCK_STEPS
        parts = []
        for index in blocks:
            low, high = index * BLOCK_STEPS, (index + 1) * BLOCK_STEPS
            parts.append(self._block(index)[max(first - 1 - low, 0) : min(last, high) - low])
        return parts[0] if len(parts) == 1 and start <= first - 1 else np.concatenate(parts)


@dataclass(frozen=True)
class InputsAfter:
    """What remains of inputs after their first ``skip`` steps (the transient)."""

    inputs: ArrayInputs | GeneratedInputs
    skip: int

    @property
    def n_steps(self) -> int:
        """Steps that remain."""
        return self.inputs.n_steps - self.skip

    @property
    def batch(self) -> int:
        """Sequences side by side."""
        return self.inputs.batch

    def read(self, first: int, last: int) -> Array:
        """x_first … x_last, counted after the transient."""
        return self.inputs.read(first + self.skip, last + self.skip)


def is_generated(inputs: str | GivenArray) -> TypeGuard[str]:
    """Tell a generator's name from a file or an array."""
    return isinstance(inputs, str) and inputs in GENERATED


def check_inputs_name(text: str) -> None:
    """Refuse what is neither a generator nor a file, before anything is built.

    Raises
    ------
    UsageError
    """
    if not is_generated(text) and not Path(text).suffix and not Path(text).exists():
        hint = did_you_mean(text, GENERATED)
        raise UsageError(
            f"--inputs {text}: wanted normal, uniform, zeros, or a file (.npy .csv .npz .safetensors).{hint}"
        )


def load_numeric_array(path: Path, *, purpose: str) -> Array:
    """Read one array of real numbers: a .npy, the only array of an .npz or .safetensors, or a CSV, told by content.

    Returns
    -------
    ndarray of float64, no axis of it empty

    Raises
    ------
    InputError
        Missing, empty, foreign, damaged, non-numeric or non-finite: named, with what to do.
    """
    if path.is_dir():
        raise InputError(f"{purpose}: '{path}' is a directory; name the file inside it.")
    if not path.exists():
        raise InputError(f"{purpose}: no file '{path}' here.")
    with about(purpose), opened(path) as (stream, n_bytes):
        start = read_start(stream)
        kind = sniff(start, n_bytes)
        if kind == "npy":
            array = _read_npy(stream, n_bytes, path.name)
        elif kind in ("zip", "safetensors"):
            from gradscope.sources.named_arrays import read_named

            array, _ = read_named(str(path), purpose=purpose)
        elif kind or b"\0" in start:
            found = described(start, n_bytes)
            raise InputError(f"'{path.name}' should be an array (.npy, .csv, .npz, .safetensors), but it is {found}.")
        else:
            array = _read_csv(path, purpose)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{purpose}: '{path}' holds {array.dtype}, wanted real numbers.")
    if array.size == 0:
        raise InputError(f"{purpose}: '{path}' holds no numbers: its shape is {array.shape}.")
    array = np.asarray(array, dtype=np.float64)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{purpose}: '{path}' has a NaN or Inf at index {where}: clean the file first.")
    return array


def array_of(value: str | GivenArray, *, purpose: str) -> tuple[Array, str]:
    """The numbers of a file, or those that a Python caller gave, as float64; and what to call them.

    Raises
    ------
    InputError
    """
    if isinstance(value, GivenArray):
        return value.values.astype(np.float64), value.title
    path = Path(value)
    return load_numeric_array(path, purpose=purpose), path.name


def npy_header(path: Path) -> NpyHeader | None:
    """Shape and dtype of a .npy without its values; None where it is no readable one."""
    try:
        with opened(path) as (stream, n_bytes):
            return NpyHeader(stream.read(MAX_HEADER + 12), n_bytes, name="", budget=Budget(n_bytes, file=path.name))
    except InputError:
        return None


def _read_npy(stream: IO[bytes], n_bytes: int, file: str) -> Array:
    """The array, its declared size checked against the file's before anything is allocated."""
    header = NpyHeader(stream.read(MAX_HEADER + 12), n_bytes, name="", budget=Budget(n_bytes, file=file))
    stream.seek(0)
    return header.values(stream.read())


def _first_line(problem: BaseException) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]


def _read_csv(path: Path, purpose: str) -> Array:
    """Rows are steps; one header line is allowed."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"{purpose}: '{path}' is not a readable text file ({_first_line(problem)}).") from None
    rows = [line for line in lines if line.strip()]
    if rows and not _is_numeric_row(rows[0]):
        rows = rows[1:]
    if not rows:
        raise InputError(f"{purpose}: '{path}' holds no rows of numbers.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.loadtxt(rows, delimiter=",", ndmin=2, dtype=np.float64)
        except (ValueError, UserWarning) as problem:
            raise InputError(f"{purpose}: '{path}' is not a table of numbers ({_first_line(problem)}).") from None


def _is_numeric_row(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


#: A file of so many more sequences than steps may have its first two axes the other way round: that is asked.
MANY_SEQUENCES = 4


def ask_order(shape: tuple[int, ...], time_major: bool | None, *, purpose: str) -> None:
    """Ask which axis is time where a file has many more sequences than steps and nobody said.

    Raises
    ------
    ShapeError
    """
    if time_major is None and len(shape) == 3 and shape[0] > MANY_SEQUENCES * shape[1]:
        raise ShapeError(
            f"{purpose}: shape {shape} reads as {shape[0]} sequences of {shape[1]} steps: (batch, T, inputs).\n"
            f"If it is (T, batch, inputs), {shape[0]} steps of {shape[1]} sequences, add --time-major; "
            "if it is as read, --batch-major."
        )


def arrange_inputs(array: Array, width: int, *, purpose: str, time_major: bool = False) -> Array:
    """Bring (T, I), (batch, T, I), or time-major (T, batch, I), to (T, batch, I), checking the width.

    Raises
    ------
    ShapeError
        Wrong width; a file that looks transposed is asked about, not turned around.
    """
    if array.ndim == 1 and width == 1:
        array = array[:, None]
    if array.ndim not in (2, 3):
        raise ShapeError(f"{purpose}: wanted (T, {width}) or (batch, T, {width}), got shape {array.shape}.")
    if array.shape[-1] != width:
        hint = ""
        if array.shape[-2] == width:
            hint = "\nIt looks transposed: save it with the last two axes swapped if the steps run along the last axis."
        elif array.ndim == 3 and array.shape[0] == width:
            hint = "\nIts first axis has that width: move it to the end."
        raise ShapeError(f"{purpose}: the layer reads inputs of width {width}, the file has shape {array.shape}.{hint}")
    if array.ndim == 3 and time_major:
        return np.ascontiguousarray(array)
    return array[:, None] if array.ndim == 2 else np.ascontiguousarray(np.swapaxes(array, 0, 1))
