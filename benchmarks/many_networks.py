"""D: hundreds of small networks at once against a loop over them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.networks import assert_norms, one_network, random_rnns, some_networks
from benchmarks.workload import Workload
from gradscope.analysis.cases import Case
from gradscope.analysis.gradient_results import measure_case
from gradscope.analysis.request import GradientsRequest
from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.propagate import measure_norms, step_norms
from gradscope.numerics.tape import StoredTape
from gradscope.records import Result
from gradscope.sweeps.stacked import NUMBERS_AT_ONCE, case_of, measure_stacked
from gradscope.theory.power_norms import power_norms

#: The reference loops over this many networks only; its time is scaled up.
NETWORKS, STEPS, LOOPED = 256, 500, 16


def workloads() -> Iterator[Workload]:
    """Norms alone, with step and power norms, and every column of a stacked sweep; per network."""
    for n in (8, 32, 64):
        tape = random_rnns(NETWORKS, n, STEPS, 1.0)
        parts, singles = _parts(tape, n), [one_network(tape, b) for b in range(LOOPED)]
        yield Workload(
            f"D norms {NETWORKS} networks n={n}",
            "numpy loop over networks (products, norm 2)",
            partial(_norms, parts),
            partial(_loop, singles),
            partial(_verify, parts[0], singles),
            0.1 if n == 32 else None,
            LOOPED / NETWORKS,
        )
    tape = random_rnns(NETWORKS, 32, STEPS, 1.0)
    parts, singles = _parts(tape, 32), [one_network(tape, b) for b in range(LOOPED)]
    yield Workload(
        f"D norms, step norms, power norms, {NETWORKS} networks n=32",
        "numpy loop over networks, the same columns",
        partial(_all_columns, parts),
        partial(_loop, singles, columns=3),
        partial(_verify, parts[0], singles),
        0.2,
        LOOPED / NETWORKS,
    )

    requests = [GradientsRequest(steps=STEPS, seed=seed) for seed in range(NETWORKS)]
    cases = [case_of("rnn:hidden=32,gain=1", request)[0] for request in requests]
    yield Workload(
        f"D every column, {NETWORKS} networks n=32",
        "gradients of one network after the other",
        partial(measure_stacked, cases, requests),
        partial(_one_by_one, cases[:LOOPED], requests),
        partial(_verify_columns, cases, requests),
        0.2,
        LOOPED / NETWORKS,
    )


def _one_by_one(cases: list[Case], requests: list[GradientsRequest]) -> list[Result]:
    return [measure_case(case, request) for case, request in zip(cases, requests, strict=False)]


def _verify_columns(cases: list[Case], requests: list[GradientsRequest]) -> None:
    """Every number of the first networks, measured in company and alone."""
    together = measure_stacked(cases, requests)
    for alone, found in zip(_one_by_one(cases[:4], requests), together, strict=False):
        for name, values in alone.columns.items():
            if name.startswith("log10"):
                np.testing.assert_allclose(found.columns[name], values, rtol=1e-9, atol=1e-9, err_msg=name)


def _parts(tape: StoredTape, n: int) -> list[StoredTape]:
    """The stack as a sweep cuts it: as many networks side by side as fit into cache."""
    size = NUMBERS_AT_ONCE // n**2
    return [some_networks(tape, slice(first, first + size)) for first in range(0, NETWORKS, size)]


def _norms(parts: list[StoredTape]) -> None:
    for tape in parts:
        measure_norms(tape)


def _all_columns(parts: list[StoredTape]) -> None:
    for tape in parts:
        measure_norms(tape)
        step_norms(tape)
        power_norms(tape.steps.recurrent.weights[0, :, 0], STEPS)  # type: ignore[attr-defined]


def _loop(tapes: list[StoredTape], columns: int = 1) -> None:
    for tape in tapes:
        recurrent = tape.steps.recurrent  # type: ignore[attr-defined]
        _one_in_numpy(recurrent.coefficients[:, 0, 0], recurrent.weights[0], columns)


def _one_in_numpy(slopes: Array, W: Array, columns: int) -> list[float]:
    """What a user writes for one network: a product and a norm per lag."""
    P, log_scale, logs = np.eye(len(W)), 0.0, [0.0]
    Q = np.eye(len(W))
    for slope in slopes[::-1]:
        J = slope[:, None] * W
        P = P @ J
        norm = np.linalg.norm(P, 2)
        P /= norm
        log_scale += np.log10(norm)
        logs.append(log_scale)
        if columns == 3:
            np.linalg.norm(J, 2)
            Q = Q @ W
            Q /= np.linalg.norm(Q, 2)
    return logs


def _verify(tape: StoredTape, singles: list[StoredTape]) -> None:
    measured = measure_norms(tape).log10_norm
    for b, single in enumerate(singles[:2]):
        assert_norms(measured[:, b], single, [0, 1, 5, 17, 60, STEPS])
