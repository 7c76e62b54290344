"""B: the same for cells with more than one path, against T dense products of the state's size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.networks import assert_norms, multiply_densely, prepared_jacobians, tape_of
from benchmarks.workload import Workload
from gradscope.analysis.gradient_results import measure_gradients
from gradscope.analysis.request import GradientsRequest
from gradscope.api import build
from gradscope.numerics.propagate import measure_norms
from gradscope.numerics.tape import Tape

STEPS = 500
CASES = [
    ("lstm", "lstm:hidden=128", 0.5),
    ("gru", "gru:hidden=256", None),
    ("lstm, 2 layers", "lstm:hidden=64,layers=2", None),
]


def workloads() -> Iterator[Workload]:
    """Norms alone, then the whole command for the lstm."""
    for name, source, target in CASES:
        tape = tape_of(source, STEPS)
        yield Workload(
            f"B norms {name}, state {tape.state_size}",
            f"{STEPS} dense products",
            partial(measure_norms, tape),
            partial(multiply_densely, prepared_jacobians(tape), STEPS),
            partial(_verify, tape),
            target,
        )
    tape = tape_of("lstm:hidden=128", STEPS)
    yield Workload(
        "B all columns lstm, state 256",
        f"{STEPS} dense products",
        partial(measure_gradients, build("lstm:hidden=128"), GradientsRequest(steps=STEPS)),
        partial(multiply_densely, prepared_jacobians(tape), STEPS),
        partial(_verify, tape),
        1.5,
    )


def _verify(tape: Tape) -> None:
    assert_norms(measure_norms(tape).log10_norm[:, 0], tape, [0, 1, 2, 16, 17, 40, 100, STEPS])
