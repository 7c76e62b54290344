"""A language model of letters, embedding → lstm → head, with its gradients written out: numpy alone, to be read.

Arrays have PyTorch's names and layouts: gates stacked i, f, g, o; a_t = W_ih x_t + b_ih + W_hh h_(t−1) + b_hh;
c_t = f ⊙ c_(t−1) + i ⊙ g; h_t = o ⊙ tanh c_t; y_t = W_hy h_t + b_y; the loss is the mean cross-entropy of the next
letter. Nothing here is shared with the measurement, so that each can be held against the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Trajectory:
    """What one forward pass leaves behind; every list is over time, arrays are (batch, …)."""

    inputs: list[np.ndarray]
    hidden: list[np.ndarray]
    cells: list[np.ndarray]
    gates: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def fresh(symbols: int, width: int, hidden: int, rng: np.random.Generator) -> Arrays:
    """Weights as PyTorch draws them: N(0, 1) for the embedding, U(±1/√hidden) for the rest."""
    shapes = {
        "rnn.weight_ih_l0": (4 * hidden, width),
        "rnn.weight_hh_l0": (4 * hidden, hidden),
        "rnn.bias_ih_l0": (4 * hidden,),
        "rnn.bias_hh_l0": (4 * hidden,),
        "head.weight": (symbols, hidden),
        "head.bias": (symbols,),
    }
    bound = 1 / np.sqrt(hidden)
    drawn = {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}
    return {"embedding.weight": rng.standard_normal((symbols, width)), **drawn}


def run(arrays: Arrays, inputs: np.ndarray) -> Trajectory:
    """Run the lstm from a zero state over inputs (batch, T, width)."""
    w_ih, w_hh = arrays["rnn.weight_ih_l0"], arrays["rnn.weight_hh_l0"]
    bias = arrays["rnn.bias_ih_l0"] + arrays["rnn.bias_hh_l0"]
    zero = np.zeros((len(inputs), w_hh.shape[1]))
    seen = Trajectory([], [zero], [zero], [])
    for x in np.swapaxes(inputs, 0, 1):
        a_i, a_f, a_g, a_o = np.split(x @ w_ih.T + seen.hidden[-1] @ w_hh.T + bias, 4, axis=1)
        i, f, g, o = _sigmoid(a_i), _sigmoid(a_f), np.tanh(a_g), _sigmoid(a_o)
        seen.inputs.append(x)
        seen.gates.append((i, f, g, o))
        seen.cells.append(f * seen.cells[-1] + i * g)
        seen.hidden.append(o * np.tanh(seen.cells[-1]))
    return seen


def loss_and_gradients(arrays: Arrays, tokens: np.ndarray) -> tuple[float, Arrays]:
    """Mean cross-entropy in nats a letter, and its gradient for every array; backpropagation through all steps.

    Parameters
    ----------
    arrays : dict
        As :func:`fresh` draws them.
    tokens : (batch, T + 1) int
        Each of the first T letters predicts the one after it.

    Returns
    -------
    tuple of (float, dict)
    """
    read, wanted = tokens[:, :-1], tokens[:, 1:].T
    seen = run(arrays, arrays["embedding.weight"][read])
    hidden = np.stack(seen.hidden[1:])
    y = hidden @ arrays["head.weight"].T + arrays["head.bias"]
    log_p = y - y.max(axis=-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
    at = (*np.indices(wanted.shape), wanted)
    loss = -float(log_p[at].mean())
    d_y = np.exp(log_p)
    d_y[at] -= 1
    d_y /= wanted.size

    found = {name: np.zeros_like(value) for name, value in arrays.items()}
    found["head.weight"] = np.einsum("tbv,tbh->vh", d_y, hidden)
    found["head.bias"] = d_y.sum(axis=(0, 1))
    d_hidden = d_y @ arrays["head.weight"]
    d_h = d_c = np.zeros_like(seen.hidden[0])
    for t in reversed(range(len(seen.gates))):
        i, f, g, o = seen.gates[t]
        squashed = np.tanh(seen.cells[t + 1])
        d_h = d_h + d_hidden[t]
        d_c = d_c + d_h * o * (1 - squashed**2)
        d_a = np.concatenate(
            [
                d_c * g * i * (1 - i),
                d_c * seen.cells[t] * f * (1 - f),
                d_c * i * (1 - g**2),
                d_h * squashed * o * (1 - o),
            ],
            axis=1,
        )
        found["rnn.weight_ih_l0"] += d_a.T @ seen.inputs[t]
        found["rnn.weight_hh_l0"] += d_a.T @ seen.hidden[t]
        found["rnn.bias_ih_l0"] += d_a.sum(axis=0)
        np.add.at(found["embedding.weight"], read[:, t], d_a @ arrays["rnn.weight_ih_l0"])
        d_h, d_c = d_a @ arrays["rnn.weight_hh_l0"], d_c * f
    found["rnn.bias_hh_l0"] = found["rnn.bias_ih_l0"].copy()
    return loss, found


def step_jacobians(arrays: Arrays, inputs: np.ndarray) -> np.ndarray:
    """∂[h; c]_t/∂[h; c]_(t−1) along one sequence (T, width): (T, 2·hidden, 2·hidden), first step first."""
    seen = run(arrays, inputs[None])
    rows_i, rows_f, rows_g, rows_o = np.split(arrays["rnn.weight_hh_l0"], 4)
    jacobians = []
    for t, gates in enumerate(seen.gates):
        i, f, g, o = (gate[0][:, None] for gate in gates)
        before, squashed = seen.cells[t][0][:, None], np.tanh(seen.cells[t + 1][0])[:, None]
        c_by_h = g * i * (1 - i) * rows_i + before * f * (1 - f) * rows_f + i * (1 - g**2) * rows_g
        slope = o * (1 - squashed**2)
        h_by_h = slope * c_by_h + squashed * o * (1 - o) * rows_o
        c_by_c = np.diag(f[:, 0])
        jacobians.append(np.block([[h_by_h, slope * c_by_c], [c_by_h, c_by_c]]))
    return np.stack(jacobians)


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(a / 2)))
