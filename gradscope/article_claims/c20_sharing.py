"""C20: is nothing shared any more in an LSTM?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding
from gradscope.article_claims.runs import build, claim_generator, run
from gradscope.cells.lstm import Lstm
from gradscope.jacobians.step_jacobian import Array
from gradscope.numerics.backprop import backpropagate


def parameters(cell: object) -> int:
    """Numbers that training would change."""
    assert isinstance(cell, Lstm)
    return int(cell.weight_ih.size + cell.weight_hh.size + cell.bias.size)


def experiment(seed: int) -> Finding:
    """One W for all steps: the count does not know T, and every step's contribution adds up to the one gradient."""
    rng, found = claim_generator(seed, "C20"), Experiment()
    H, width, T = 8, 4, 30
    network = build(f"lstm:hidden={H},inputs={width}", seed)
    lstm = network.cell
    assert isinstance(lstm, Lstm)
    x, v = rng.standard_normal((T, 1, width)), rng.standard_normal(H)
    counts = []
    for steps in (5, T):
        tape = run(network, x[:steps])
        counts.append(sum(parameters(cell) for cell in tape.network.layers))
    found.equal("parameters after 5 and after 30 steps: difference", counts[1] - counts[0], 0, identity=True)
    found.equal("… 4 gates of (H + I + 1)·H", counts[0], 4 * H * (H + width + 1), identity=True)
    tape = run(network, x)
    direct = np.concatenate([v, np.zeros(H)])[None]
    contributions = []
    for step in backpropagate(tape, lambda t: direct if t == T else None):
        for (block,) in step.weights:
            outer = block.rows[0, :, None] * block.columns[0, None, :]
            contributions.append(np.ldexp(outer, int(step.exponent[0])))
    # The first step multiplies h_0 = 0, so its copy has no gradient; all others have.
    norms = [float(np.linalg.norm(c)) for c in contributions[::-1]]
    found.at_least("smallest contribution of the steps 2 … 30, log10", float(np.log10(min(norms[1:]))), -300.0)
    total = np.sum(contributions, axis=0)
    direction = rng.standard_normal(total.shape)
    truth = _complex_step(lstm, x, v, direction)
    scale = float(np.linalg.norm(total) * np.linalg.norm(direction))
    error = found.at_most(
        "Σ of the contributions against dL of the one shared W_hh (complex step), relative",
        abs(float(np.sum(total * direction)) - truth) / scale,
        1e-12,
    )
    share = float(np.linalg.norm(contributions[0]) / np.linalg.norm(total))
    found.at_least(
        "… the last step's alone is not the total: relative difference",
        float(np.linalg.norm(total - contributions[0]) / np.linalg.norm(total)),
        1e-3,
    )
    ratios = _descent(lstm, x, v, total, contributions[0])
    # To first order the fall is η times ⟨gradient, direction⟩; the second order is η‖direction‖ times a curvature.
    found.equal("one step of W along Σ: fall of vᵀh_T over η‖Σ‖²", ratios[0], 1.0, allowance=1e-3)
    found.at_most(
        "… along the last step's contribution alone, at equal length: over the fall along Σ", ratios[1], 0.999
    )
    found.equal("… its cosine with Σ", ratios[1], share_along(contributions[0], total), allowance=1e-3)
    blocks = list(lstm.recurrent_blocks().values())
    apart = min(float(np.linalg.norm(a - b)) for i, a in enumerate(blocks) for b in blocks[:i])
    found.at_least("what is separate: the gates' matrices, smallest distance", apart, 1e-3)
    return found.finding(
        f"{counts[0]} parameters whether T = 5 or {T}; {T} contributions sum to the gradient of the one W "
        f"to {error:.0e} "
        f"(the last alone is {100 * share:.0f} % of its norm); a step along the sum lowers the loss by {ratios[0]:.4f} "
        f"of η‖Σ‖², as far along the last alone by {ratios[1]:.3f} of that",
        "a count without T; sum exact; 1, and less: all weights are shared over time, gates merely have matrices of "
        "their own",
        f"{counts[0]} parameters after 5 steps and {counts[1]} after {T}. The {T} parts add up to the exact gradient "
        f"to {error:.0g}; the last step's alone is {100 * share:.0f} % of its norm.",
    )


def share_along(part: Array, whole: Array) -> float:
    """Cosine of two gradients."""
    return float(np.sum(part * whole) / (np.linalg.norm(part) * np.linalg.norm(whole)))


def _descent(lstm: Lstm, x: Array, v: Array, whole: Array, last: Array) -> tuple[float, float]:
    """How far vᵀh_T falls when the one W moves along the whole gradient, and along one step's part of it."""
    eta = 1e-5 / np.linalg.norm(whole)
    start = _output(lstm, lstm.weight_hh, x, v).real
    along = start - _output(lstm, lstm.weight_hh - eta * whole, x, v).real
    length = np.linalg.norm(whole) / np.linalg.norm(last)
    part = start - _output(lstm, lstm.weight_hh - eta * length * last, x, v).real
    return float(along / (eta * np.linalg.norm(whole) ** 2)), float(part / along)


def _complex_step(lstm: Lstm, x: Array, v: Array, direction: Array) -> float:
    """d(vᵀh_T) when the one W_hh moves along ``direction``, written out with complex arithmetic."""
    return float(_output(lstm, lstm.weight_hh + 1e-30j * direction, x, v).imag / 1e-30)


def _output(lstm: Lstm, W: Array, x: Array, v: Array) -> complex:
    """vᵀh_T of the recurrence written out, with this W at every step."""
    H = lstm.hidden_size
    h, c = np.zeros(H, dtype=complex), np.zeros(H, dtype=complex)
    for inputs in x[:, 0]:
        i, f, g, o = (W @ h + lstm.weight_ih @ inputs + lstm.bias).reshape(4, H)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    return complex(v @ h)


CLAIM = Claim(
    "C20",
    "In an RNN all layers share their parameters; in an LSTM they are not shared any more.",
    "false",
    experiment,
    "The number of an LSTM's parameters after 5 and after 30 steps; every step's part of ∂L/∂W_hh, added up, "
    "against the exact gradient.",
    "All time steps share their weights in both. What an LSTM has more of is matrices: one for each gate.",
)
