"""C19: do all steps transmit with equal strength, whatever the input?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Estimate, Experiment, Finding, estimate
from gradscope.article_claims.runs import claim_generator, gaussian, rnn, run
from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.propagate import step_norms


def experiment(seed: int) -> Finding:
    """Identity activation: J_k = W at every step. tanh: the louder the input, the weaker the step."""
    rng, found = claim_generator(seed, "C19"), Experiment()
    n, T = 32, 600
    W = gaussian(rng, n, n)
    loudness = rng.uniform(0.0, 3.0, (T, 1, 1))
    x = loudness * rng.standard_normal((T, 1, n))
    sizes = np.linalg.norm(x[:, 0], axis=-1)
    strength = {name: _strengths(W, x, name) for name in ("tanh", "sigmoid")}
    # Twenty stretches of thirty steps; the mean of their s.d. is within 1 % of the whole one's.
    spread = {name: estimate([part.std(ddof=1) for part in np.split(values, 20)]) for name, values in strength.items()}
    found.equal("identity: spread over steps of σ₁(J_k), as J_k − J_1", _largest_change(W, x), 0.0)
    found.at_least("tanh: s.d. over steps of ln σ₁(J_k)", spread["tanh"], 0.05)
    found.at_least("sigmoid: s.d. over steps of ln σ₁(J_k)", spread["sigmoid"], 0.05)
    correlation = _correlation(strength["tanh"], sizes)
    # Without any dependence the correlation of 600 pairs has s.d. 0.041: −0.3 is seven of them.
    found.at_most("tanh: correlation of ln σ₁(J_k) with |x_k|", correlation, -0.3)
    shuffled = _correlation(strength["tanh"], rng.permutation(sizes))
    found.equal("control, inputs shuffled against steps: correlation", shuffled, 0.0, allowance=4.5 / np.sqrt(T))
    return found.finding(
        f"s.d. of ln σ₁(J_k) over {T} steps: identity 0, tanh {spread['tanh']:.3f}, sigmoid {spread['sigmoid']:.3f}; "
        f"correlation with |x_k| {correlation:+.2f} (shuffled {shuffled:+.2f})",
        "exactly 0 for the identity alone; > 0 and falling with the input otherwise",
        f"From step to step ln σ₁ varies by {spread['tanh']:.2f} (tanh) and {spread['sigmoid']:.2f} (sigmoid). With "
        f"tanh it falls as the input grows: correlation {correlation:+.2f}, against {shuffled:+.2f} when inputs are "
        "shuffled.",
    )


def _correlation(a: Array, b: Array) -> Estimate:
    """Pearson's, with the half width of Fisher's z to first order."""
    r = float(np.corrcoef(a, b)[0, 1])
    return Estimate(r, 1.96 * (1 - r**2) / np.sqrt(len(a) - 3))


def _strengths(W: Array, x: Array, activation: str) -> Array:
    tape = run(rnn(W, weight_ih=np.eye(len(W)), activation=activation), x)
    return np.asarray(step_norms(tape).log10_norm[:, 0] * np.log(10))


def _largest_change(W: Array, x: Array) -> float:
    """max |J_k − J_1| over all steps of the linear network (W/2, which stays finite for 600 steps)."""
    tape = run(rnn(W / 2, weight_ih=np.eye(len(W)), activation="identity"), x)
    J = np.asarray(tape.jacobians(1, tape.n_steps).dense())
    return float(np.abs(J - J[0]).max())


CLAIM = Claim(
    "C19",
    "W is the same at all times, so all steps transmit with equal strength, whatever the input of the moment.",
    "false",
    experiment,
    "The strength σ₁ of each of 600 steps of a driven network, beside the size of that step's input.",
    "A step transmits tanh′(a_t)·W, and the input is part of a_t: loud inputs close the way. All steps are equal "
    "without an activation only.",
)
