"""C15: can a network for variable length only be layer-normalised?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.article_claims.claim import Claim, Estimate, Experiment, Finding, estimate
from gradscope.article_claims.runs import claim_generator, gaussian, rnn
from gradscope.jacobians.step_jacobian import Array

#: From pre-activations (batch, H) of one step, and which samples are still running, to normalised ones.
Norm = Callable[[Array, Array], Array]


def batch_norm(p: Array, running: Array) -> Array:
    """Train mode: this batch's own mean and variance, padding included."""
    return np.asarray((p - p.mean(axis=0)) / np.sqrt(p.var(axis=0) + 1e-5))


def masked_batch_norm(p: Array, running: Array) -> Array:
    """Statistics of the samples that are still running alone."""
    valid = p[running]
    return np.asarray((p - valid.mean(axis=0)) / np.sqrt(valid.var(axis=0) + 1e-5))


def stored_batch_norm(mean: Array, variance: Array) -> Norm:
    """Statistics stored per step at training time (Cooijmans et al. 2016)."""
    return lambda p, running: np.asarray((p - mean) / np.sqrt(variance + 1e-5))


def group_norm(p: Array, running: Array) -> Array:
    """Per sample, over four groups of units."""
    grouped = p.reshape(len(p), 4, -1)
    centred = grouped - grouped.mean(axis=-1, keepdims=True)
    return np.asarray((centred / np.sqrt(grouped.var(axis=-1, keepdims=True) + 1e-5)).reshape(p.shape))


def run_normalised(W: Array, U: Array, x: Array, lengths: Array, norm: Norm) -> Array:
    """h of the first sample after its own length; x is (T, batch, I)."""
    h = np.zeros((x.shape[1], len(W)))
    for t in range(int(lengths[0])):
        h = np.tanh(norm(h @ W.T + x[t] @ U.T, lengths > t))
    return np.asarray(h[0])


def experiment(seed: int) -> Finding:
    """One sequence inside two batches with different padding: who notices?"""
    rng, found = claim_generator(seed, "C15"), Experiment()
    n, T, own = 16, 12, 9
    W, U = gaussian(rng, n, n), gaussian(rng, n, 4)
    x = rng.standard_normal((own, 1, 4))
    lengths = np.array([own, 12, 7, 5, 10])
    others = [rng.standard_normal((T, 4, 4)) for _ in range(2)]
    pads = (0.0, 3.0)
    batches = []
    for other, pad in zip(others, pads, strict=True):
        batch = np.concatenate([np.concatenate([x, np.full((T - own, 1, 4), pad)]), other], axis=1)
        for sample, length in enumerate(lengths):
            batch[length:, sample] = pad
        batches.append(batch)
    layer_difference = {}
    for name, kind, matrix in (
        ("no normalisation", "none", W),
        ("layer norm", "layer", W),
        ("weight norm", "none", W / np.linalg.norm(W, axis=1, keepdims=True)),
    ):
        network = rnn(matrix, weight_ih=U, norm=kind)
        ends = [network.advance(np.zeros((5, n)), batch)[own, 0] for batch in batches]
        layer_difference[name] = float(np.abs(ends[0] - ends[1]).max())
    stored = stored_batch_norm(rng.standard_normal(n) * 0.1, rng.uniform(0.5, 1.5, n))
    for name, norm in (("group norm", group_norm), ("batch norm, stored statistics", stored)):
        ends = [run_normalised(W, U, batch, lengths, norm) for batch in batches]
        layer_difference[name] = float(np.abs(ends[0] - ends[1]).max())
    for name, difference in layer_difference.items():
        # Same arithmetic on one sample; BLAS may order the sums by batch shape, never differently by neighbours.
        found.at_most(f"{name}: change of h between two batches and paddings", difference, 1e-13)
    train = [run_normalised(W, U, batch, lengths, batch_norm) for batch in batches]
    moved = found.at_least("batch norm, train mode: the same", float(np.abs(train[0] - train[1]).max()), 1e-2)
    repadded = np.array(batches[0])
    for sample, length in enumerate(lengths):
        repadded[length:, sample] = 7.0
    masked = [run_normalised(W, U, batch, lengths, masked_batch_norm) for batch in (batches[0], repadded)]
    found.equal(
        "masked batch norm: change of h with the padding alone", float(np.abs(masked[0] - masked[1]).max()), 0.0
    )
    unmasked = [run_normalised(W, U, batch, lengths, batch_norm) for batch in (batches[0], repadded)]
    found.at_least("… without the mask", float(np.abs(unmasked[0] - unmasked[1]).max()), 1e-3)
    spread, reused, plain = _stored_statistics(rng, found)
    _scale_invariance(W, rng, found)
    worst = max(layer_difference.values())
    return found.finding(
        f"none, layer, weight, group, stored batch norm: h changes by at most {worst:.0e}; "
        f"masked batch norm ignores padding; with statistics stored per step pre-activations have variance "
        f"{spread:.2f} within the trained length, {reused:.2f} beyond it (unnormalised {plain:.1f})",
        "0 for all but train-mode batch norm; 1, and near 1: several normalisations serve variable length",
        f"By at most {worst:.0g} without normalisation and with layer, weight, group and stored batch normalisation; "
        f"by {moved:.2f} with batch normalisation in training mode.",
    )


def variances(W: Array, U: Array, x: Array, lengths: Array, norm_at: Callable[[int], Norm]) -> list[float]:
    """Mean over units of the variance over running samples of what tanh is given, step by step."""
    h, found = np.zeros((x.shape[1], len(W))), []
    for t in range(len(x)):
        p = norm_at(t)(h @ W.T + x[t] @ U.T, lengths > t)
        found.append(float(p[lengths > t].var(axis=0).mean()))
        h = np.tanh(p)
    return found


def stored_statistics(W: Array, U: Array, x: Array) -> list[tuple[Array, Array]]:
    """Mean and variance of every step's pre-activations, over a training batch that is normalised by them."""
    h, kept = np.zeros((x.shape[1], len(W))), []
    for inputs in x:
        p = h @ W.T + inputs @ U.T
        kept.append((p.mean(axis=0), p.var(axis=0)))
        h = np.tanh(stored_batch_norm(*kept[-1])(p, np.ones(len(p), dtype=bool)))
    return kept


def _stored_statistics(rng: np.random.Generator, found: Experiment) -> tuple[Estimate, Estimate, Estimate]:
    """Trained on 12 steps, applied to other sequences of 12 to 24 steps, the last statistics reused beyond."""
    n, trained, longest = 16, 12, 24
    within, beyond, plain = [], [], []
    for _ in range(8):
        W, U = gaussian(rng, n, n, gain=3.0), gaussian(rng, n, 4)
        kept = stored_statistics(W, U, rng.standard_normal((trained, 400, 4)))
        norms = [stored_batch_norm(*statistics) for statistics in kept]
        x, lengths = rng.standard_normal((longest, 400, 4)), rng.integers(trained, longest + 1, 400)
        lengths[:40] = longest
        course = variances(W, U, x, lengths, lambda t, norms=norms: norms[min(t, trained - 1)])  # type: ignore[misc]
        free = variances(W, U, x, lengths, lambda t: lambda p, running: p)
        within.append(np.mean(course[:trained]))
        beyond.append(np.mean(course[trained:]))
        plain.append(np.mean(free))
    spread, reused, unnormalised = estimate(within), estimate(beyond), estimate(plain)
    # Two samples of 400: a unit's variance ratio has s.d. 0.1, its mean over 16 units, 12 steps and 8 networks 0.01.
    found.equal(
        "stored statistics, new sequences, steps 1 … 12: variance of pre-activations", spread, 1.0, allowance=0.05
    )
    found.equal("… steps 13 … 24, with those of step 12", reused, 1.0, allowance=0.15)
    found.at_least("… without normalisation", unnormalised, 2.0)
    return spread, reused, unnormalised


def _scale_invariance(W: Array, rng: np.random.Generator, found: Experiment) -> float:
    """Layer norm without bias and input: a·W gives the same step, and so the same Jacobian, up to ε/var."""
    h = np.tanh(rng.standard_normal((1, len(W))))
    first, second = (
        network.linearise(np.stack([h, h]), np.zeros((1, 1, 0))).jacobian.dense()[0, 0]
        for network in (rnn(4 * W, norm="layer"), rnn(40 * W, norm="layer"))
    )
    change = float(np.linalg.norm(first - second) / np.linalg.norm(first))
    # ε = 1e-5 beside a variance of order 16·var(Wh) ~ 5.
    return found.at_most("layer norm: relative change of J_t when W → 10W", change, 1e-4, identity=True)


CLAIM = Claim(
    "C15",
    "A network for sequences of variable length can only be layer-normalised.",
    "false",
    experiment,
    "One sequence inside two batches, with other neighbours and other padding: how far its h moves.",
    "Whatever normalises each sequence by itself, or by stored statistics, serves sequences of any length; batch "
    "normalisation in training mode does not. Layer normalisation has another merit: the gradient no longer depends "
    "on the scale of W.",
)
