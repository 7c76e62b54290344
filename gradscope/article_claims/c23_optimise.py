"""C23: are skips and gates easier to optimise? How long a delay small networks learn, against their horizon before."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding
from gradscope.article_claims.runs import build, claim_generator
from gradscope.cells.cell import Cell
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.networks.trajectory import GivenSteps, Trajectory, run_network
from gradscope.numerics.backprop import state_gradients
from gradscope.numerics.propagate import measure_norms

#: Starts: how they are built, and whether they have a skip or a gate.
STARTS = {
    "rnn": ("rnn:hidden=8,inputs=2,gain=0.5", "rnn:hidden=8,inputs=2", "rnn:hidden=8,inputs=2,init=orthogonal"),
    "lstm": tuple(f"lstm:hidden=8,inputs=2,forget_bias={bias}" for bias in (-2, 1, 4)),
    "skip": ("skip:hidden=8,inputs=2,gain=0.1",),
}
SEEDS, BATCH = 5, 8
DELAYS = (2, 4, 8, 16, 32)
#: Training: Adam (Kingma and Ba 2015) with its usual constants, gradients clipped per network.
UPDATES, RATE, BETA_1, BETA_2, CLIP = 80, 0.03, 0.9, 0.999, 1.0
LEARNT = 0.9
#: Norm of the h corner that still teaches (docs/claims.md, C23), and the longest lag looked at.
EPSILON, LONGEST = 1e-2, 64


def recall(rng: np.random.Generator, delay: int, networks: int) -> tuple[Array, Array]:
    """A sign at the first step, noise for ``delay`` steps; x (delay + 1, networks, batch, 2) and the sign."""
    sign = rng.choice([-1.0, 1.0], size=(networks, BATCH))
    x = np.zeros((delay + 1, networks, BATCH, 2))
    x[0, ..., 0] = sign
    x[1:, ..., 1] = rng.standard_normal((delay, networks, BATCH))
    return x, sign


@dataclass
class Learner:
    """Networks of one shape side by side, each with a readout of its own: P(sign = 1) = σ(v·h_T)."""

    cell: Cell
    readout: Array

    @property
    def parameters(self) -> list[Array]:
        """What is trained, each with the networks in its first axis."""
        return [self.cell.weight_ih, self.cell.weight_hh, self.cell.bias, self.readout]

    def chosen(self, which: Array) -> Learner:
        """Some of the networks."""
        cell = self.cell
        parts = (cell.weight_ih[which], cell.weight_hh[which], cell.bias[which])
        return Learner(replace(cell, weight_ih=parts[0], weight_hh=parts[1], bias=parts[2]), self.readout[which])

    def run(self, x: Array) -> Trajectory:
        """Forward from zero."""
        network = Layer(self.cell)
        return run_network(network, GivenSteps(x), np.zeros((*x.shape[1:-1], network.state_size)))

    def answer(self, tape: Trajectory) -> Array:
        """v·h_T, shape (networks, batch)."""
        h = tape.state(tape.n_steps)[..., : self.readout.shape[-1]]
        return np.asarray(np.einsum("nh,nbh->nb", self.readout, h))

    def gradients(self, tape: Trajectory, sign: Array) -> list[Array]:
        """∂L/∂θ of the mean of −ln P(sign), by backpropagation through every step."""
        T, n_hidden = tape.n_steps, self.readout.shape[-1]
        h = tape.state(T)[..., :n_hidden]
        slope = -sign / (1 + np.exp(sign * self.answer(tape))) / BATCH
        direct = np.zeros((*tape.batch_shape, tape.state_size))
        direct[..., :n_hidden] = slope[..., None] * self.readout[:, None]
        found = list(state_gradients(tape, lambda t: direct if t == T else None))[:-1]
        g = np.stack([np.ldexp(vector, exponent[..., None]) for _, vector, exponent in found[::-1]])
        jacobians = tape.jacobians(1, T)
        (drive,) = jacobians.drive_cotangents(g)
        (blocks,) = jacobians.weight_cotangents(g)
        x = tape.inputs.read(1, T)
        recurrent = np.concatenate([np.einsum("tnbi,tnbj->nij", block.rows, block.columns) for block in blocks], axis=1)
        return [
            np.einsum("tnbi,tnbj->nij", drive, x),
            recurrent,
            drive.sum(axis=(0, 2)),
            np.einsum("nb,nbh->nh", slope, h),
        ]


def starts(kind: str, seed: int) -> Learner:
    """Every start of a kind with every seed, side by side: start by start."""
    cells = [build(text, seed * SEEDS + n).cell for text in STARTS[kind] for n in range(SEEDS)]
    first = cells[0]
    stacked = replace(
        first,
        weight_ih=np.stack([cell.weight_ih for cell in cells]),
        weight_hh=np.stack([cell.weight_hh for cell in cells]),
        bias=np.stack([cell.bias for cell in cells]),
    )
    readouts = np.random.default_rng([seed, 23]).standard_normal((SEEDS, first.hidden_size))
    return Learner(stacked, np.tile(readouts / np.sqrt(first.hidden_size), (len(STARTS[kind]), 1)))


def train(learner: Learner, rng: np.random.Generator, delay: int) -> Array:
    """Train every network on this delay from its start; its share of right answers on fresh sequences afterwards."""
    networks = len(learner.readout)
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in learner.parameters]
    for update in range(1, UPDATES + 1):
        x, sign = recall(rng, delay, networks)
        gradients = clipped(learner.gradients(learner.run(x), sign))
        moved = []
        for parameter, gradient, (mean, square) in zip(learner.parameters, gradients, moments, strict=True):
            mean += (1 - BETA_1) * (gradient - mean)
            square += (1 - BETA_2) * (gradient**2 - square)
            step = mean / (1 - BETA_1**update) / (np.sqrt(square / (1 - BETA_2**update)) + 1e-8)
            moved.append(parameter - RATE * step)
        cell = replace(learner.cell, weight_ih=moved[0], weight_hh=moved[1], bias=moved[2])
        learner = Learner(cell, moved[3])
    right = []
    for _ in range(8):
        x, sign = recall(rng, delay, networks)
        right.append(np.sign(learner.answer(learner.run(x))) == sign)
    return np.asarray(np.concatenate(right, axis=-1).mean(axis=-1))


def clipped(gradients: list[Array]) -> list[Array]:
    """Each network's gradient with a norm of at most `CLIP`."""
    norm = np.sqrt(sum(np.square(g).reshape(len(g), -1).sum(axis=1) for g in gradients))
    scale = np.minimum(1.0, CLIP / np.maximum(norm, 1e-300))
    return [g * scale.reshape(-1, *(1,) * (g.ndim - 1)) for g in gradients]


def learnt_delays(kind: str, seed: int, rng: np.random.Generator) -> Array:
    """The longest delay up to which every shorter one is learnt too, per network; 1 where none is."""
    learnt = np.ones(len(STARTS[kind]) * SEEDS)
    going = np.arange(len(learnt))
    for delay in DELAYS:
        going = going[train(starts(kind, seed).chosen(going), rng, delay) >= LEARNT]
        learnt[going] = delay
        if not going.size:
            break
    return learnt


def horizons(kind: str, seed: int, rng: np.random.Generator) -> Array:
    """Largest lag at which the h corner of ∂s_T/∂s_(T−k) is at least `EPSILON` before training, mean over sequences."""
    learner = starts(kind, seed)
    x, _ = recall(rng, LONGEST, len(learner.readout))
    tape = learner.run(x)
    norms = measure_norms(tape)
    logs = norms.log10_norm if tape.h_components is None else norms.log10_norm_h
    reached = np.where(np.isfinite(logs), logs, -np.inf).mean(axis=-1) >= np.log10(EPSILON)
    return np.array([np.flatnonzero(lags).max(initial=0) for lags in reached.T], dtype=float)


def rank_correlation(x: Array, y: Array) -> tuple[float, float, float]:
    """Spearman's, with its 95 % interval: Fisher's z, standard error 1.03/√(n − 3) (Fieller, Hartley, Pearson 1957)."""
    a, b = _ranks(x), _ranks(y)
    rho = float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0
    z, half = np.arctanh(np.clip(rho, -0.999999, 0.999999)), 1.96 * 1.03 / np.sqrt(len(x) - 3)
    return rho, float(np.tanh(z - half)), float(np.tanh(z + half))


def _ranks(values: Array) -> Array:
    """Ranks from 0, ties sharing their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return np.asarray((last - (counts - 1) / 2)[place])


def experiment(seed: int) -> Finding:
    """Learnable delay of seven starts × five seeds against the horizon before training; gates that are shut beside."""
    rng, found = claim_generator(seed, "C23"), Experiment()
    found.at_most("backpropagation through the task against a complex step, relative", _gradient_error(seed, rng), 1e-9)
    reach = {kind: horizons(kind, seed, rng) for kind in STARTS}
    delay = {kind: learnt_delays(kind, seed, rng) for kind in STARTS}
    # Delays are a scale of doublings: their geometric mean over seeds.
    mean = {kind: np.exp2(np.log2(delay[kind]).reshape(-1, SEEDS).mean(axis=1)) for kind in STARTS}
    rho, low, high = rank_correlation(*(np.concatenate([values[kind] for kind in STARTS]) for values in (reach, delay)))
    found.at_least("rank correlation of learnable delay and horizon over 35 networks", rho, 0.6)
    found.at_least("… lower end of its 95 % interval", low, 0.3)
    open_gate, shut_gate, plain = mean["lstm"][2], mean["lstm"][0], mean["rnn"]
    found.at_least("lstm, gate open (forget bias 4), over an rnn of gain 0.5: mean delay", open_gate / plain[0], 1.5)
    found.at_least("skip over an rnn of gain 0.5: mean delay", mean["skip"][0] / plain[0], 1.5)
    # The control: a gate that is shut helps nothing, and W alone can do what a gate is praised for.
    found.at_least("orthogonal rnn, no gate, over an lstm with a shut gate: mean delay", plain[2] / shut_gate, 1.5)
    return found.finding(
        f"rank correlation with the horizon before training {rho:.2f} ({low:.2f} to {high:.2f}); delay learnt: "
        f"rnn {plain[0]:.0f} (gain 0.5), {plain[1]:.0f}, {plain[2]:.0f} (orthogonal); "
        f"lstm {shut_gate:.0f} (forget bias −2), {mean['lstm'][1]:.0f} (1), {open_gate:.0f} (4); "
        f"skip {mean['skip'][0]:.0f}",
        "the delay that can be learnt follows the horizon, not the name of the cell: a shut gate is worse than none",
        f"The delay learnt goes with that reach (rank correlation {rho:.2f}, 95 % {low:.2f} to {high:.2f}). It is "
        f"{plain[0]:.0f} steps for an rnn of gain 0.5, {plain[2]:.0f} for an orthogonal one, {mean['skip'][0]:.0f} "
        f"with a skip, {open_gate:.0f} for an LSTM with its forget gate open and {shut_gate:.0f} with it shut.",
    )


def _gradient_error(seed: int, rng: np.random.Generator) -> float:
    """Error of the training gradient of W_hh along a random direction, lstm, delay 6."""
    learner = starts("lstm", seed)
    x, sign = recall(rng, 6, len(learner.readout))
    gradient = learner.gradients(learner.run(x), sign)[1]
    direction = rng.standard_normal(gradient.shape)
    moved = Layer(replace(learner.cell, weight_hh=learner.cell.weight_hh + 1e-30j * direction))
    states = moved.advance(np.zeros((*x.shape[1:-1], moved.state_size), dtype=complex), x)
    answer = np.einsum("nh,nbh->nb", learner.readout, states[-1, ..., : learner.readout.shape[-1]])
    exact = np.log(1 + np.exp(-sign * answer)).mean(axis=-1).imag / 1e-30
    scale = np.sqrt(np.square(gradient).sum(axis=(1, 2)) * np.square(direction).sum(axis=(1, 2)))
    return float(np.max(np.abs((gradient * direction).sum(axis=(1, 2)) - exact) / scale))


CLAIM = Claim(
    "C23",
    "Skip connections and gates shorten the way, so that the network's parameters are easier to optimise.",
    "conditional",
    experiment,
    "Plain, skip and LSTM networks of 8 units learn to recall a sign over longer and longer delays, from five seeds "
    "each; beside it how far back their gradient reached before training.",
    "What helps is how far the gradient reaches, by a gate, a skip or the start of W. A gate that is shut is worse "
    "than none.",
)
