"""C: the full Lyapunov spectrum against a Householder QR at every step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.lyapunov import AGREEMENT, driven_tanh, householder_at_every_step
from benchmarks.workload import Workload
from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.frame import Frame
from gradscope.numerics.tape import Tape

HIDDEN, STEPS = 128, 1000


def workloads() -> Iterator[Workload]:
    """Exponents of driven tanh networks, from contracting to weakly chaotic."""
    for gain in (0.9, 1.2, 1.5):
        tape = driven_tanh(HIDDEN, STEPS, gain)
        start = Frame.random(tape, HIDDEN, np.random.default_rng(0)).Q
        yield Workload(
            f"C exponents n={HIDDEN} gain={gain}",
            "numpy.linalg.qr at every step",
            partial(measure_lyapunov, tape, align=0, log_det=False),
            partial(householder_at_every_step, tape, start),
            partial(_verify, tape, start),
            1 / 3,
        )


def _verify(tape: Tape, start: np.ndarray) -> None:
    found = measure_lyapunov(tape, align=0, log_det=False).exponents[0]
    assert np.abs(found - householder_at_every_step(tape, start)).max() <= AGREEMENT
