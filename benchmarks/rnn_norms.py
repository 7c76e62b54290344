"""A: all-lag norms of one rnn against T dense n×n products."""

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

STEPS = 1000
CASES = [
    (128, "gaussian", 0.9),
    (256, "gaussian", 0.9),
    (256, "gaussian", 1.5),
    (512, "gaussian", 0.9),
    (512, "gaussian", 1.5),
]


def workloads() -> Iterator[Workload]:
    """Norms alone, then the whole command."""
    for n, init, gain in CASES:
        yield _norms(
            f"rnn:hidden={n},init={init},gain={gain}", f"A norms n={n} gain={gain}", {256: 0.5, 512: 0.3}.get(n)
        )
    yield _norms("rnn:hidden=256,init=orthogonal,activation=identity", "A norms n=256 orthogonal, identity", 2.0)
    yield _norms("rnn:hidden=256,init=orthogonal", "A norms n=256 orthogonal, tanh", 2.0)
    for n, target in ((256, 1.2), (512, 0.8)):
        source = f"rnn:hidden={n},gain=0.9"
        tape = tape_of(source, STEPS)
        yield Workload(
            f"A all columns n={n} gain=0.9",
            f"{STEPS} dense products",
            partial(measure_gradients, build(source), GradientsRequest(steps=STEPS)),
            partial(multiply_densely, prepared_jacobians(tape), STEPS),
            partial(_verify, tape),
            target,
        )


def _norms(source: str, name: str, target: float | None) -> Workload:
    tape = tape_of(source, STEPS)
    return Workload(
        name,
        f"{STEPS} dense products",
        partial(measure_norms, tape),
        partial(multiply_densely, prepared_jacobians(tape), STEPS),
        partial(_verify, tape),
        target,
    )


def _verify(tape: Tape) -> None:
    assert_norms(measure_norms(tape).log10_norm[:, 0], tape, [0, 1, 2, 7, 15, 16, 17, 40, 100, 400, STEPS])
