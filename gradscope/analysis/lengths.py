"""``--lengths``: how long each sequence of a padded batch is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from gradscope.analysis.request import GradientsRequest, RunRequest
from gradscope.errors import InputError, ShapeError, UsageError
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.padded import aligned_to_end
from gradscope.sources.file_format import is_one_array
from gradscope.sources.given_arrays import GivenArray, title_of
from gradscope.sources.inputs import ArrayInputs, GeneratedInputs, load_numeric_array
from gradscope.sources.whole_numbers import rows_of_whole_numbers


def lengths_of(request: RunRequest) -> str | GivenArray | None:
    """What ``--lengths`` says; None where it is not given or the verb has no such option."""
    return request.lengths if isinstance(request, GradientsRequest) else None


def refuse_lengths(request: RunRequest, what: str) -> None:
    """Say where lengths have no meaning.

    Raises
    ------
    UsageError
    """
    if lengths_of(request) is not None:
        raise UsageError(f"--lengths has no meaning for {what}: drop it.")


def with_lengths(request: RunRequest, inputs: ArrayInputs | GeneratedInputs) -> ArrayInputs | GeneratedInputs:
    """The same inputs, each sequence ending at the last step; T is the longest one's length.

    Raises
    ------
    UsageError, InputError, ShapeError
    """
    given = lengths_of(request)
    if given is None:
        return inputs
    assert isinstance(request, GradientsRequest)
    for option, used in (
        ("--transient", request.transient > 0),
        ("--anchor start", request.anchor == "start"),
        ("--per-layer", request.per_layer),
        ("--factors", request.factors),
    ):
        if used:
            raise UsageError(f"--lengths counts lags back from each sequence's own end; drop {option}.")
    lengths = read_lengths(given, batch=inputs.batch, steps=inputs.n_steps)
    longest = int(lengths.max())
    starts = longest - lengths
    x = inputs.read(1, longest)
    return ArrayInputs(aligned_to_end(x, starts), inputs.description, starts)


def read_lengths(given: str | GivenArray, *, batch: int, steps: int) -> Array:
    """Whole numbers from 1 to T, one for each sequence: ``12,9,30``, a text file, an .npy, or an array.

    Raises
    ------
    UsageError, InputError, ShapeError
    """
    name = f"--lengths {title_of(given)}"
    values = _numbers(given, name).reshape(-1)
    if len(values) != batch:
        raise ShapeError(f"{name}: {len(values)} lengths for {batch} sequences; wanted one for each.")
    wrong = values[(values < 1) | (values > steps) | (values != np.round(values))]
    if wrong.size:
        raise InputError(f"{name}: {wrong[0]:g} is no length here: the inputs have {steps} steps; wanted 1 … {steps}.")
    return values.astype(np.int64)


def _numbers(given: str | GivenArray, name: str) -> Array:
    if isinstance(given, GivenArray):
        return np.asarray(given.values, dtype=np.float64)
    if re.fullmatch(r"\s*[0-9]{1,18}(\s*,\s*[0-9]{1,18})*\s*", given):
        return np.array([int(part) for part in given.split(",")], dtype=np.float64)
    path = Path(given)
    if not path.is_file():
        raise UsageError(f"{name}: wanted whole numbers like 12,9,30, one for each sequence, or a file of them.")
    if is_one_array(path):
        return load_numeric_array(path, purpose="--lengths")
    return np.array([number for row in rows_of_whole_numbers(path, name) for number in row], dtype=np.float64)
