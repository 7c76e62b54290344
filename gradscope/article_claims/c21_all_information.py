"""C21: does h_t hold all information of the inputs 1 … t?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Estimate, Experiment, Finding, estimate
from gradscope.article_claims.memory import fisher_memory
from gradscope.article_claims.runs import claim_generator, gaussian, rnn, run
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.sensitivity import sensitivity_of
from gradscope.sources.ensembles import orthogonal


def experiment(seed: int) -> Finding:
    """Of t·I input numbers at most N directions arrive; the whole Fisher memory is 1 for normal W, at most N ever."""
    rng, found = claim_generator(seed, "C21"), Experiment()
    N, width, T = 8, 4, 30
    heard = sensitivity_of(
        run(rnn(gaussian(rng, N, N), weight_ih=gaussian(rng, N, width)), rng.standard_normal((T, 1, width)))
    )
    rank = found.at_most(f"rank of ∂h_{T}/∂(x_1…x_{T}), {T * width} numbers", float(heard.rank[0]), N, identity=True)
    found.equal("… shares of the inputs sum to 1", float(heard.share[:, 0].sum()), 1.0, allowance=1e-12, identity=True)
    linear, tanh, newest, old = _recovered(rng, N)
    # Jaeger (2001): N exactly for a linear network with unlimited precision; 0.95^(2·150) of it is beyond the lags.
    found.equal(
        "inputs that can be read off h_t, linear: Σ over lags of R², 8 networks",
        linear,
        N,
        allowance=1.9 * linear.half,
    )
    found.at_most("… tanh, driven: Σ over lags of R²", tanh, 0.9 * N)
    found.at_least("… tanh: R² of the newest input", newest, 0.9)
    found.at_most("… tanh: R² of the input 12 steps ago", old, 0.25)
    found.at_least("… the last three inputs' share over all others'", float(heard.share[-3:, 0].sum()), 0.5)
    v = rng.standard_normal(N)
    v /= np.linalg.norm(v)
    normal = float(fisher_memory(0.9 * orthogonal(rng, N, 1.0), v, 400).sum())
    found.equal("Fisher memory in all, normal W (0.9·orthogonal)", normal, 1.0, allowance=1e-9)
    Q = orthogonal(rng, N, 1.0)
    symmetric = float(fisher_memory(Q @ np.diag(rng.uniform(-0.95, 0.95, N)) @ Q.T, v, 800).sum())
    found.equal("… normal W, symmetric with eigenvalues in (−0.95, 0.95)", symmetric, 1.0, allowance=1e-9)
    lines = {}
    for gain in (1.0, 10.0):
        chain = fisher_memory(gain * np.eye(10, k=-1), np.eye(10)[0], 10)
        lines[gain] = float(chain.sum())
        closed = sum(gain ** (2 * k) / sum(gain ** (2 * j) for j in range(k + 1)) for k in range(10))
        found.equal(f"… delay line of 10, gain {gain:g}", lines[gain], closed, allowance=1e-8)
    found.equal("… delay line, gain 1: H_10", lines[1.0], sum(1 / k for k in range(1, 11)), allowance=1e-10)
    totals = []
    for _ in range(20):
        W = gaussian(rng, N, N)
        W *= rng.uniform(0.2, 0.95) / np.abs(np.linalg.eigvals(W)).max()
        totals.append(float(fisher_memory(W, v, 600).sum()))
    found.at_most(f"… 20 gaussian W: largest, never above N = {N}", max(totals), N)
    return found.finding(
        f"{T * width} inputs reach h_{T} in {rank:.0f} directions; of past inputs h_t tells {linear:.2f} (linear), "
        f"{tanh:.2f} (tanh), the one 12 steps ago to R² = {old:.2f}; Fisher memory "
        f"{normal:.6f} for normal W, {lines[1.0]:.3f} and {lines[10.0]:.3f} for delay lines, "
        f"{estimate(totals):.2f} for gaussian W",
        f"rank ≤ {N}; {N} linear, fewer tanh, old ones hardly; "
        f"Σ J(k) = 1 for normal W, H_10 = 2.929, 9.910, always ≤ N: bounded, not all",
        f"{T * width} inputs arrive in {rank:.0f} directions. From {N} units {linear.mean:.1f} past inputs in all can "
        f"be read off in a linear network and {tanh.mean:.1f} with tanh, of the one 12 steps ago {100 * old.mean:.0f} "
        f"%. Under noise the memory in all is {normal:.3f} for a normal W, {estimate(totals).mean:.2f} for random W.",
    )


def memory_capacity(h: Array, x: Array, lags: int) -> Array:
    """R² of the best linear reading of x_{t−k} from h_t, k = 0 … lags − 1, adjusted for its N + 1 coefficients.

    References
    ----------
    H. Jaeger, GMD Report 152 (2001): Σ_k ≤ N for iid inputs, with equality for linear networks whose states span R^N.
    """
    T, N = h.shape
    past = np.stack([x[lags - 1 - k : T - k] for k in range(lags)], axis=1)
    reader = np.column_stack([h[lags - 1 :], np.ones(T - lags + 1)])
    coefficients = np.linalg.lstsq(reader, past, rcond=None)[0]
    left = np.var(past - reader @ coefficients, axis=0) / np.var(past, axis=0)
    rows = len(past)
    return np.asarray(1 - left * (rows - 1) / (rows - N - 1))


def _recovered(rng: np.random.Generator, N: int) -> tuple[Estimate, Estimate, Estimate, Estimate]:
    """Σ R² of linear and tanh networks driven by one iid number a step; R² of lags 0 and 12 of the latter."""
    found = []
    for _ in range(8):
        W, U = 0.95 * orthogonal(rng, N, 1.0), rng.standard_normal((N, 1))
        x = rng.uniform(-1, 1, (3150, 1, 1))
        recovered = []
        for activation in ("identity", "tanh"):
            h = rnn(W, weight_ih=U, activation=activation).advance(np.zeros((1, N)), x)[1:, 0]
            recovered.append(memory_capacity(h, x[:, 0, 0], 150))
        found.append([recovered[0].sum(), recovered[1].sum(), recovered[1][0], recovered[1][12]])
    linear, tanh, newest, old = (estimate(column) for column in np.transpose(found))
    return linear, tanh, newest, old


CLAIM = Claim(
    "C21",
    "h_t holds all the information of the inputs 1 … t.",
    "conditional",
    experiment,
    "The rank of ∂h_30/∂(x_1 … x_30), 120 inputs into 8 units; how much of past inputs a straight line reads off h "
    "(R², summed over lags); then the same under noise at every step (Fisher memory).",
    "h_t holds a summary of bounded size: N units take in N directions, and under noise their memory in all is at "
    "most N, and 1 for normal W.",
)
