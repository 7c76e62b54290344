"""C08: is x_1 diluted on its way to h_10 by the W and by x_2 … x_9?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding, Line, Picture, estimate
from gradscope.article_claims.memory import fisher_memory
from gradscope.article_claims.runs import claim_generator, gaussian, rnn, run
from gradscope.networks.sensitivity import measure_influence, sensitivity_of
from gradscope.sources.ensembles import orthogonal


def experiment(seed: int) -> Finding:
    """Linear: x_2 … x_9 have no effect on ∂h_10/∂x_1; tanh: through the slopes alone. Dilution is signal to noise."""
    rng, found = claim_generator(seed, "C08"), Experiment()
    n = 32
    W, U, x = gaussian(rng, n, n), gaussian(rng, n, n), rng.standard_normal((10, 1, n))
    start = np.zeros((1, n))
    linear = measure_influence(rnn(W, weight_ih=U, activation="identity"), x, start, rng=rng)
    for name, other in (("in another order", linear.permuted), ("five times larger", linear.rescaled)):
        found.equal(
            f"linear: change of log10 ‖∂h_10/∂x_1‖ with x_2…x_9 {name}", float((other - linear.original)[0]), 0.0
        )
    drops, shares = [], []
    for _ in range(12):
        network = rnn(gaussian(rng, n, n), weight_ih=gaussian(rng, n, n))
        inputs = rng.standard_normal((10, 1, n))
        tanh = measure_influence(network, inputs, start, rng=rng)
        drops.append(float((tanh.rescaled - tanh.original)[0]))
        shares.append(sensitivity_of(run(network, inputs)).share[[0, 9], 0])
    drop = estimate(drops)
    found.at_most("tanh, 12 networks: the same, five times larger", drop, -0.5)
    scaled = x.copy()
    scaled[1:9] *= 5
    plain = rnn(W, weight_ih=U, activation="identity")
    moved = float(np.linalg.norm(plain.advance(start, scaled)[-1] - plain.advance(start, x)[-1]))
    found.at_least("linear: … although that moves h_10 itself, by", moved, 0.1)
    # Signal to noise: what a lag is worth when every later step adds unit noise.
    Q = 0.9 * orthogonal(rng, n, 1.0)
    v = rng.standard_normal(n)
    memory = fisher_memory(Q, v / np.linalg.norm(v), 200)
    found.equal(
        "normal W, 0.9·orthogonal: Fisher memory J(9) = (1−ρ²)ρ^18", memory[9], (1 - 0.81) * 0.81**9, allowance=1e-10
    )
    found.at_most(
        "… largest J(k+1)/J(k): each step dilutes", float(np.max(memory[1:60] / memory[:59])), 0.81, allowance=1e-9
    )
    share, newest = (estimate(values) for values in np.transpose(shares))
    found.at_most(
        "tanh, 12 networks: share of x_1 in ∂h_10/∂(x_1…x_10), below a tenth of x_10's", share, newest.mean / 10
    )
    courses = {
        "linear": sensitivity_of(run(plain, x)),
        "linear, x_2 … x_9 five times larger": sensitivity_of(run(plain, scaled)),
        "tanh": sensitivity_of(run(rnn(W, weight_ih=U), x)),
        "tanh, x_2 … x_9 five times larger": sensitivity_of(run(rnn(W, weight_ih=U), scaled)),
    }
    found.draw(
        Picture(
            "dilution",
            "What h_10 still hears of each input: the others matter through tanh alone",
            "Norm of ∂h_10/∂x_j; in the linear network the size of the other inputs makes no difference.",
            "input j",
            "norm of ∂h_10/∂x_j",
            tuple(Line(name, range(1, 11), course.log10_norm[:, 0]) for name, course in courses.items()),
            powers=True,
        )
    )
    return found.finding(
        f"linear: x_2…x_9 change ∂h_10/∂x_1 by {float((linear.rescaled - linear.original)[0]):g}; "
        f"tanh, ×5: by {drop:+.2f} decades; signal to noise of lag 9: {memory[9]:.4f}, "
        f"share of x_1 {share:.1e}, of x_10 {newest:.2f}",
        f"exactly 0; less through smaller slopes; (1−ρ²)ρ^18 = {(1 - 0.81) * 0.81**9:.4f}",
        "In the linear network the other inputs change ∂h_10/∂x_1 by "
        f"{float((linear.rescaled - linear.original)[0]):g}. In tanh networks louder ones lower it by "
        f"{-drop.mean:.1f} decades. Under noise a signal is worth {memory[0]:.2f} when it comes and {memory[9]:.3f} "
        "nine steps later.",
    )


CLAIM = Claim(
    "C08",
    "On the way from h_1 to h_10 the information of x_1 is diluted by the W in between and by x_2 … x_9.",
    "conditional",
    experiment,
    "∂h_10/∂x_1 of a linear and of a tanh network, while x_2 … x_9 change places and become five times as large; "
    "then what a signal is worth when every step adds noise.",
    "Inputs do not dilute one another's gradients: in a linear network they do not enter them, in a tanh network "
    "they do through the slopes alone. What is diluted is signal against noise, by ρ² a step for a W of ρ times an "
    "orthogonal matrix.",
)
