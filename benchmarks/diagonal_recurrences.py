"""J: a diagonal recurrence of 10⁴ channels: every lag's norm, every channel's exponent; against reading the factors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.workload import Workload
from gradscope.jacobians.per_unit import PerUnitJacobian
from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.diagonal_products import products_of
from gradscope.numerics.propagate import measure_norms
from gradscope.numerics.tape import StoredTape

CHANNELS, HELD, ROWS = 10_000, 2_400, 24
#: The general road is given a hundredth of the channels and of the steps: its time grows as their product, squared in
#: the channels.
FEW, SHORT = 100, 400


def shares(channels: int, steps: int) -> Array:
    """Kept shares of gates with time constants of 7 to 20,000 steps, each moving from step to step."""
    rng = np.random.default_rng(0)
    return np.asarray(rng.uniform(0.9, 1.0, size=(steps, channels)) ** (10.0 ** -rng.uniform(-0.3, 3, channels)))


def stretches(held: Array, steps: int) -> Iterator[Array]:
    """A run of that many steps: 160 MB read again and again from memory, a few steps at a time."""
    for start in range(0, steps, len(held)):
        for first in range(0, min(len(held), steps - start), ROWS):
            yield held[first : min(first + ROWS, steps - start)]


def read(held: Array, steps: int) -> float:
    """Add all factors up: what reading them once costs."""
    return float(sum(part.sum() for part in stretches(held, steps)))


def tape_of(factors: Array) -> StoredTape:
    """A tape of diagonal steps, one sequence."""
    steps = PerUnitJacobian(np.zeros((len(factors), 1, 1, factors.shape[1])), factors[:, None])
    return StoredTape(np.zeros((len(factors) + 1, 1, factors.shape[1])), steps)


def workloads() -> Iterator[Workload]:
    """Two lengths against reading, and the general road on what it can do."""
    held = shares(CHANNELS, HELD)
    for steps in (100_000, 1_000_000):
        yield Workload(
            f"J diagonal, {CHANNELS:,} channels, T={steps:,}",
            "reading the factors once",
            lambda steps=steps: products_of(stretches(held, steps), steps, (CHANNELS,), ranks=False),  # type: ignore[misc]
            partial(read, held, steps),
            partial(_verify, held),
            3.0,
        )
    few = tape_of(shares(FEW, SHORT))
    yield Workload(
        f"J diagonal, {FEW} channels, T={SHORT}",
        "the general road",
        partial(measure_norms, few),
        partial(measure_norms, few, method="thin"),
        partial(_verify, held),
    )


def _verify(held: Array) -> None:
    """Every lag against 80-bit sums of logarithms."""
    logs = np.cumsum(np.log10(held[:, ::7].astype(np.longdouble)), axis=0)
    found = products_of(stretches(np.ascontiguousarray(held[:, ::7]), len(held)), len(held), (logs.shape[1],))
    assert np.abs(found.norms.log10_norm[1:] - logs.max(axis=1)).max() < 1e-12
    assert np.abs(found.log_channels / np.log(10) - logs[-1]).max() < 1e-11
