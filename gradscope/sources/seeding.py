"""Randomness by name: the same network from the same seed in every verb, process and machine."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *stream: str | int) -> np.random.Generator:
    """Return the generator of a named stream, independent of the order in which streams are asked for.

    >>> bool(generator(0, "weights").random() == generator(0, "weights").random())
    True
    """
    words = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in stream]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))
