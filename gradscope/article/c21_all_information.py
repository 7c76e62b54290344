"""C21: does h_t hold all information of the inputs 1 … t?"""

from __future__ import annotations

import numpy as np

from gradscope.article.base import Claim, Experiment, Finding
from gradscope.article.memory import fisher_memory
from gradscope.article.runs import claim_generator, gaussian, rnn, run
from gradscope.networks.sensitivity import sensitivity_of
from gradscope.sources.ensembles import orthogonal


def experiment(seed: int) -> Finding:
    """Of t·I input numbers at most N directions arrive; the whole Fisher memory is 1 for normal W, at most N ever."""
    rng, found = claim_generator(seed, "C21"), Experiment()
    N, width, T = 8, 4, 30
    heard = sensitivity_of(
        run(rnn(gaussian(rng, N, N), weight_ih=gaussian(rng, N, width)), rng.standard_normal((T, 1, width)))
    )
    rank = found.at_most(f"rank of ∂h_{T}/∂(x_1…x_{T}), {T * width} numbers", float(heard.rank[0]), N)
    effective = found.at_most("… its effective rank", float(heard.effective_rank[0]), N)
    found.equal("… shares of the inputs sum to 1", float(heard.share[:, 0].sum()), 1.0, allowance=1e-12)
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
    largest = 0.0
    for _ in range(20):
        W = gaussian(rng, N, N)
        W *= rng.uniform(0.2, 0.95) / np.abs(np.linalg.eigvals(W)).max()
        largest = max(largest, float(fisher_memory(W, v, 600).sum()))
    found.at_most(f"… 20 gaussian W: largest, never above N = {N}", largest, N)
    return found.finding(
        f"{T * width} inputs reach h_{T} in {rank:.0f} directions (effective {effective:.1f}) of N={N}; Fisher memory "
        f"{normal:.6f} for normal W, {lines[1.0]:.3f} and {lines[10.0]:.3f} for delay lines, "
        f"{largest:.2f} at most for gaussian W",
        f"rank ≤ {N}; Σ J(k) = 1 for normal W, H_10 = 2.929, 9.910, always ≤ N: bounded, not all",
    )


CLAIM = Claim("C21", "h_t holds all the information of the inputs 1 … t.", "conditional", experiment)
