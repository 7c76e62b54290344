"""C06: is an RNN worse than a DNN because its W are all the same? Four propositions, matched controls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import fdtri

from gradscope.article_claims.claim import STANDARD_ERRORS, Claim, Estimate, Experiment, Finding, estimate
from gradscope.article_claims.runs import claim_generator, gaussian, log_norms, rnn, run
from gradscope.cells.rnn import Rnn
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.independent import Independent
from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.tape import tape_of_matrices
from gradscope.theory.mean_field import newman_exponents, newman_step_variances, residual_exponents


def experiment(seed: int) -> Finding:
    """Equal at large N and fixed lag; the spread across draws and residual networks are where sharing is worse."""
    rng, found = claim_generator(seed, "C06"), Experiment()
    same, independent = _large_network(rng, found)
    _with_slopes(rng, found)
    worst = _spectrum(rng, found)
    ratio, above = _long_lag(rng, found)
    shared, apart = _residual(rng, found)
    exact = residual_exponents(0.5, 40)
    return found.finding(
        f"N=200, lag 5: σ₁ {same:.3f} shared, {independent:.3f} independent; Newman's spectrum to {worst:.1f} s.e.; "
        f"lag 200: variance ratio {ratio[1]:.0f} ({ratio[0]:.0f} to {ratio[2]:.0f}), E ln ρ − ln g = {above:+.3f}; "
        f"residual: {shared:.3f} against {apart:.4f}",
        f"both near {np.sqrt(6**6 / 5**5):.3f}; exact; ratio ≫ 10, +0.05 at N=50; ln 1.5 = {np.log(1.5):.3f} "
        f"against {exact.independent_exact:.4f}: worse in spread and when residual, equal otherwise",
        f"After 5 steps the largest stretch is {same:.2f} with one W and {independent:.2f} with different ones. "
        f"After 200 steps the logarithm of the norm varies {ratio[1]:.0f} times as much from network to network with "
        f"one W. With a skip one W grows by {np.exp(shared.mean):.2f} a step, different ones by "
        f"{np.exp(apart.mean):.2f}.",
    )


def _large_network(rng: np.random.Generator, found: Experiment) -> tuple[Estimate, Estimate]:
    """N = 200, lag 5: both share the Fuss–Catalan edge √((t+1)^(t+1)/t^t), 3.864 at t = 5."""
    draws, n, lag = 24, 200, 5
    shared, apart = np.empty(draws), np.empty(draws)
    for index, factors in enumerate(_factors(rng, draws, n, lag)):
        shared[index] = np.linalg.norm(np.linalg.matrix_power(factors[0], lag), 2)
        apart[index] = np.linalg.norm(np.linalg.multi_dot(list(factors)), 2)
    edge = np.sqrt((lag + 1.0) ** (lag + 1) / lag**lag)
    error = np.sqrt(shared.var(ddof=1) / draws + apart.var(ddof=1) / draws)
    # The edge is corrected at relative order N^(-2/3) = 0.029; twice that.
    finite = 2 * n ** (-2 / 3) * edge
    found.equal(
        "N=200, lag 5: mean σ₁, same W",
        estimate(shared),
        edge,
        allowance=STANDARD_ERRORS * shared.std(ddof=1) / np.sqrt(draws) + finite,
    )
    found.equal(
        "N=200, lag 5: mean σ₁, independent W",
        estimate(apart),
        edge,
        allowance=STANDARD_ERRORS * apart.std(ddof=1) / np.sqrt(draws) + finite,
    )
    found.equal(
        "N=200, lag 5: difference of the means (Welch)",
        shared.mean() - apart.mean(),
        0.0,
        allowance=STANDARD_ERRORS * error + finite,
    )
    return estimate(shared), estimate(apart)


def _with_slopes(rng: np.random.Generator, found: Experiment) -> None:
    """The same with D_k from driven tanh trajectories: the rnn against a dnn with a W of its own at every step."""
    draws, n, lag = 24, 100, 8
    W, U = gaussian(rng, lag, draws, n, n, gain=1.5), np.broadcast_to(np.eye(n), (draws, n, n))
    x = 0.3 * rng.standard_normal((lag, draws, 1, n))
    shared = rnn(W[0], weight_ih=U)
    assert isinstance(shared.cell, Rnn)
    apart = Independent.from_draws(shared.cell, lambda t: np.asarray(W[t - 1]))
    same, different = (log_norms(run(network, x))[lag, :, 0] for network in (shared, apart))
    error = np.sqrt((same.var(ddof=1) + different.var(ddof=1)) / draws)
    found.equal(
        "tanh, N=100, lag 8: mean ln σ₁, same W less independent W (Welch)",
        same.mean() - different.mean(),
        0.0,
        allowance=STANDARD_ERRORS * error + 2 * n ** (-2 / 3),
    )


def _factors(rng: np.random.Generator, draws: int, n: int, lag: int) -> Iterator[Array]:
    for _ in range(draws):
        yield gaussian(rng, lag, n, n)


def _spectrum(rng: np.random.Generator, found: Experiment) -> float:
    """Newman's exact exponents of independent factors, and the circular law of one W: the same limit."""
    n, T, gain = 16, 2000, 1.3
    tape = tape_of_matrices(gaussian(rng, T, n, n, gain=gain))
    # From a random first frame, with no alignment, every step's ln R_ii is independent with the exact variance.
    measured = np.sort(measure_lyapunov(tape, align=0, log_det=False, rng=rng).exponents[0])[::-1]
    exact, errors = newman_exponents(gain, n), np.sqrt(newman_step_variances(n) / T)
    for index in (0, n // 2, n - 1):
        found.equal(
            f"independent W, N=16: λ_{index + 1} (Newman 1986)",
            measured[index],
            exact[index],
            allowance=STANDARD_ERRORS * errors[index],
        )
    z = np.abs(measured - exact) / errors
    found.at_most("… largest deviation of all 16, in standard errors", float(z.max()), STANDARD_ERRORS)
    n = 300
    moduli = np.sort(np.abs(np.linalg.eigvals(gaussian(rng, n, n))))[::-1]
    x = np.array([0.1, 0.25, 0.5, 0.75])
    for fraction, modulus, newman in zip(
        x, moduli[(x * n).astype(int)], np.exp(newman_exponents(1.0, n))[(x * n).astype(int)], strict=True
    ):
        # Moduli fluctuate by O(1/N) around √(1−x); 0.04 is four times what N = 300 shows.
        found.equal(
            f"same W, N=300: |λ| at rank {fraction:.2f}N against the independent exp λ", modulus, newman, allowance=0.04
        )
    return float(z.max())


def _long_lag(rng: np.random.Generator, found: Experiment) -> tuple[tuple[float, float, float], Estimate]:
    """N = 50, lag 200: a given RNN is more extreme. ln‖P e‖ of independent factors has an exact mean and variance."""
    n, lag, draws = 50, 200, 120
    radii = np.log([np.abs(np.linalg.eigvals(gaussian(rng, n, n))).max() for _ in range(300)])
    error = float(radii.std(ddof=1) / np.sqrt(radii.size))
    # +0.052 and s.d. 0.058 at N = 50 are published with draws of their own (theory.md C06.3): 0.004 for their error.
    above = estimate(radii)
    found.equal("same W, N=50: mean ln ρ − ln g", above, 0.052, allowance=STANDARD_ERRORS * error + 0.004)
    first = newman_exponents(1.0, n)[0]
    found.at_least("… above the independent λ₁ by", radii.mean() - first, STANDARD_ERRORS * error)
    v = np.zeros((draws, n, 1))
    v[:, 0] = 1.0
    logs = np.zeros(draws)
    for _ in range(lag):
        v = gaussian(rng, draws, n, n) @ v
        length = np.linalg.norm(v, axis=1, keepdims=True)
        logs += np.log(length[:, 0, 0])
        v /= length
    variance = lag * float(newman_step_variances(n)[0])
    found.mean("independent W, N=50, lag 200: mean ln gain", logs, lag * float(first), variance=variance)
    spread = STANDARD_ERRORS * np.sqrt(2 / (draws - 1))  # of the sample variance of a gaussian, relative
    found.equal("… variance over t·ψ′(N/2)/4", logs.var(ddof=1) / variance, 1.0, allowance=spread)
    same = []
    for _ in range(draws):
        W = gaussian(rng, n, n)
        same.append(_log_norm_of_power(W, lag))
    ratio = float(np.var(same, ddof=1) / logs.var(ddof=1))
    found.at_least("variance across draws, same W over independent", ratio, 10.0)
    # Both are near gaussian across draws, so that the ratio over the true one follows F.
    low, high = (ratio / float(fdtri(draws - 1, draws - 1, p)) for p in (0.975, 0.025))
    return (low, ratio, high), above


def _log_norm_of_power(W: Array, lag: int) -> float:
    """ln ‖W^lag e‖, renormalised at every step."""
    v, total = np.eye(len(W))[0], 0.0
    for _ in range(lag):
        v = W @ v
        length = float(np.linalg.norm(v))
        total, v = total + np.log(length), v / length
    return total


def _residual(rng: np.random.Generator, found: Experiment) -> tuple[Estimate, Estimate]:
    """I + W: ln(1+g) with the same W, ½ ln(1+g²) with independent ones; here sharing is clearly worse."""
    n, gain = 40, 0.5
    exact = residual_exponents(gain, n)
    edges = np.log([np.abs(1 + np.linalg.eigvals(gaussian(rng, n, n, gain=gain))).max() for _ in range(200)])
    # Finite N moves the edge by about E ln ρ's +0.05·g/(1+g); twice that.
    shared = estimate(edges)
    found.equal("residual, same W, N=40, g=0.5: mean exponent, ln(1+g)", shared, exact.shared, allowance=0.035)
    v = rng.standard_normal((200, n, 1))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    gains = []
    for _ in range(100):
        v = v + gaussian(rng, 200, n, n, gain=gain) @ v
        length = np.linalg.norm(v, axis=1, keepdims=True)
        gains.append(np.log(length[:, 0, 0]))
        v /= length
    apart = found.mean(
        "residual, independent W: mean ln gain per step (noncentral χ²)", np.ravel(gains), exact.independent_exact
    )
    found.at_least("… same W worse by", shared.mean - apart.mean, 0.2)
    return shared, apart


CLAIM = Claim(
    "C06",
    "It is worse than in a DNN, whose different W can cancel: the RNN's W is the same at every step.",
    "false",
    experiment,
    "One W at every step against a new W at every step, all else equal: 200 units over 5 steps, 50 units over 200 "
    "steps, and with a skip (I + W).",
    "Different W do not cancel on average: in wide networks both products grow alike. One W makes each single "
    "network more extreme the longer it runs, and is worse where a skip is added.",
)
