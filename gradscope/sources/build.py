"""From a parsed SOURCE to a network with its weights, its record, and what theory reads of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradscope.errors import InputError
from gradscope.sources.built_network import built_source
from gradscope.sources.file_format import FORMATS_SENTENCE
from gradscope.sources.source import Source
from gradscope.sources.spec import SourceSpec

#: Weights larger than this are refused before anything is allocated, unless --memory says otherwise.
DEFAULT_MEMORY = 4 * 2**30


def build_source(spec: SourceSpec, *, seed: int, dtype: str = "float64", memory: int = DEFAULT_MEMORY) -> Source:
    """Build or read what a SOURCE names.

    Raises
    ------
    UsageError
        A size that would not fit in ``memory`` (said before allocating), keys that do not go together.
    InputError
        A file that cannot be read.
    """
    source = _build(spec, seed, np.dtype(dtype), memory)
    return replace(source, warnings=(*spec.warnings, *source.warnings)) if spec.warnings else source


def _build(spec: SourceSpec, seed: int, dtype: Any, memory: int) -> Source:
    if spec.kind == "cell":
        return built_source(spec, seed, dtype, memory)
    if spec.held is None and spec.path.is_dir():
        raise InputError(f"{spec.name} is a directory: wanted a file in it ({FORMATS_SENTENCE}).")
    # Nine readers that a network built here can do without.
    from gradscope.sources.file_network import source_of_matrices, source_of_weights

    if spec.is_one_array:
        return source_of_matrices(spec, dtype)
    return source_of_weights(spec, dtype)
