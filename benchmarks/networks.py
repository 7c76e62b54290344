"""Tapes of the cells for the workloads, and the plain numpy a user would write."""

from __future__ import annotations

import numpy as np

from gradscope.analysis.cases import cases_of
from gradscope.analysis.request import GradientsRequest
from gradscope.api import build
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled, RowScaledSum
from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.tape import StoredTape, Tape

#: Dense Jacobians are prepared before the clock starts, as many as fit into the caches' neighbourhood.
PREPARED = 16


def tape_of(source: str, steps: int) -> Tape:
    """The tape the command line would measure."""
    return cases_of(build(source), GradientsRequest(steps=steps))[0].tape


def random_rnns(n_networks: int, n: int, steps: int, gain: float) -> StoredTape:
    """Many tanh networks side by side, one weight matrix each."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(n_networks, n, n)) * gain / np.sqrt(n)
    h, slopes = np.zeros((n_networks, n)), []
    for _ in range(steps):
        h = np.tanh((W @ h[..., None])[..., 0] + 0.3 * rng.normal(size=(n_networks, n)))
        slopes.append(1 - h**2)
    steps_taken = DiagonalPlusRowScaled(None, RowScaledSum(np.array(slopes)[..., None, :], W[None, :, None]))
    return StoredTape(np.zeros((steps + 1, n_networks, n)), steps_taken)


def some_networks(tape: StoredTape, which: slice) -> StoredTape:
    """Networks of `random_rnns`, side by side as they are."""
    coefficients, weights = (
        getattr(tape.steps.recurrent, name)[:, which]  # type: ignore[attr-defined]
        for name in ("coefficients", "weights")
    )
    return StoredTape(tape.states[:, which], DiagonalPlusRowScaled(None, RowScaledSum(coefficients, weights)))


def one_network(tape: StoredTape, b: int) -> StoredTape:
    """Network b of `random_rnns` alone."""
    coefficients = tape.steps.recurrent.coefficients[:, b : b + 1]  # type: ignore[attr-defined]
    weights = tape.steps.recurrent.weights[:, b]  # type: ignore[attr-defined]
    return StoredTape(tape.states[:, b : b + 1], DiagonalPlusRowScaled(None, RowScaledSum(coefficients, weights[0])))


def prepared_jacobians(tape: Tape) -> list[Array]:
    """A few dense step Jacobians, newest first, scaled so that their product neither overflows nor underflows."""
    last = tape.n_steps
    matrices = [np.ascontiguousarray(tape.dense(t)[0]) for t in range(last, max(last - PREPARED, 0), -1)]
    return [J / np.linalg.norm(J, 2) * 1.1 for J in matrices]


def multiply_densely(jacobians: list[Array], steps: int) -> Array:
    """T dense n×n products and nothing else: no norms, and only enough scaling to stay clear of (slow) denormals."""
    P = np.eye(jacobians[0].shape[-1])
    for t in range(steps):
        P = P @ jacobians[t % len(jacobians)]
        if t % 50 == 49:
            P /= np.abs(P).max()
    return P


def assert_norms(measured: Array, tape: Tape, lags: list[int]) -> None:
    """Hold log10 norms at some lags against dense products and a full SVD, to 1e-10 relative."""
    P, exponent, done = np.eye(tape.state_size), 0.0, 0
    for lag in lags:
        for k in range(done + 1, lag + 1):
            P = P @ tape.dense(tape.n_steps - k + 1)[0]
            scale = np.abs(P).max()
            P, exponent = P / scale, exponent + np.log10(scale)
        done = lag
        expected = exponent + np.log10(np.linalg.norm(P, 2))
        # 1e-10 relative is 4.3e-11 in the log10; the reference's own sum of logs rounds to 1e-12.
        assert abs(measured[lag] - expected) < 4.4e-11 + 1e-12, f"lag {lag}: {measured[lag]} instead of {expected}"
