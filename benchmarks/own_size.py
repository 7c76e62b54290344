"""G, H, I: the article's own network against its parts, wide states, and several results on several cores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.sparse.linalg import LinearOperator, svds

import gradscope
from benchmarks.networks import multiply_densely, tape_of
from benchmarks.workload import Workload
from gradscope.numerics.tape import Tape
from gradscope.records import Report

ONE = "lstm:inputs=1024,hidden=512,init=uniform"
OWN = f"{ONE},layers=2,bidirectional=true,dropout=0.5"
WIDE = "lstm:hidden=1024"
STEPS = 50
#: Dense products that stand for all of them: fifty matrices of 2048 rows would take 1.7 GB.
DENSE_STEPS = 5
#: Four results of about half a second each on a quiet core.
SEVERAL = tuple(f"rnn:hidden=256,gain={gain}" for gain in (0.8, 0.9, 1.0, 1.1))
SEVERAL_STEPS = 300


def own() -> Iterator[Workload]:
    """G, in processor time: it runs on one thread, and other work beside it does not count."""
    yield Workload(
        "G the article's own network, T=50",
        "its four parts one by one (processor time)",
        partial(gradscope.gradients, OWN, steps=STEPS),
        partial(gradscope.gradients, ONE, steps=STEPS),
        _verify_own,
        1.2,
        share=0.25,
        clock=time.process_time,
    )


def wide() -> Iterator[Workload]:
    """H, in processor time."""
    tape = tape_of(WIDE, STEPS)
    yield Workload(
        "H all columns lstm, state 2048, T=50",
        f"{STEPS} dense products (processor time)",
        partial(gradscope.gradients, WIDE, steps=STEPS),
        partial(multiply_densely, [tape.dense(t)[0] for t in range(1, DENSE_STEPS + 1)], DENSE_STEPS),
        partial(_verify_wide, tape),
        0.8,
        share=DENSE_STEPS / STEPS,
        clock=time.process_time,
    )


def several() -> Iterator[Workload]:
    """I, in waiting time: what it is about."""
    yield Workload(
        "I four rnns of 256, T=300, two processes",
        "one after the other",
        partial(_several, 2),
        partial(_several, 1),
        _verify_several,
        1 / 1.7,
    )


def _several(jobs: int) -> Report:
    return gradscope.gradients(*SEVERAL, steps=SEVERAL_STEPS, jobs=jobs)


def _verify_several() -> None:
    assert _several(2).to_json() == _several(1).to_json()


def _verify_own() -> None:
    """Every layer and direction is a network of its own: its first step norms are those of its Jacobians."""
    report = gradscope.gradients(OWN, steps=2, jobs=1)
    assert [(r.source["layer"], r.source["direction"]) for r in report.results] == [
        (layer, direction) for layer in (0, 1) for direction in ("forward", "backward")
    ]
    for result in report.results:
        norm, path = (list(result.columns[name]) for name in ("log10_norm", "log10_path_bound"))
        assert abs(norm[1] - path[1]) < 1e-9  # one factor: its norm is the bound along the path


def _verify_wide(tape: Tape) -> None:
    """Norms of products of one to three factors, by Golub–Kahan–Lanczos on the factors themselves."""
    (result,) = gradscope.gradients(WIDE, steps=STEPS, lags="0:3:1").results
    factors = [tape.dense(t)[0] for t in range(STEPS, STEPS - 3, -1)]
    for k in (1, 2, 3):
        product = LinearOperator(
            factors[0].shape,
            matvec=lambda v, k=k: _through(factors[:k][::-1], v),
            rmatvec=lambda v, k=k: _through([J.T for J in factors[:k]], v),
            dtype=np.float64,
        )
        (exact,) = svds(product, k=1, return_singular_vectors=False, tol=1e-12, random_state=0)
        assert abs(result.columns["log10_norm"][k] - np.log10(exact)) < 1e-9


def _through(matrices: list[np.ndarray], vector: np.ndarray) -> np.ndarray:
    for matrix in matrices:
        vector = matrix @ vector
    return vector
