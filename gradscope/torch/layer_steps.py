"""One layer and direction of an nn.RNN, nn.LSTM or nn.GRU at the states it visited: gates, and one step backward.

Independent of :mod:`gradscope.cells`: float64 numpy from the module's own equations, in its own row order, with what
the cells there do not have (``proj_size``, sequences that have ended). Time runs in processing order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gradscope.jacobians.step_jacobian import Array

#: Gates that open and close, by name, in the order of the rows; an lstm's third block is its candidate.
GATES: Mapping[str, tuple[str, ...]] = {"rnn": (), "relu": (), "lstm": ("i", "f", "", "o"), "gru": ("r", "z")}


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one layer and direction in float64; absent biases are zeros.

    Attributes
    ----------
    kind : {"rnn", "relu", "lstm", "gru"}
    W_ih : ndarray, shape (G·H, I)
    W_hh : ndarray, shape (G·H, P)
        P = H without a projection.
    b_ih, b_hh : ndarray, shape (G·H,)
    W_hr : ndarray, shape (P, H), or None
        The projection of an lstm with ``proj_size``.
    """

    kind: str
    W_ih: Array
    W_hh: Array
    b_ih: Array
    b_hh: Array
    W_hr: Array | None = None


class Backward(NamedTuple):
    """What a step hands back from its total ∂L/∂h_t and from ∂L/∂c_t past h_t.

    Attributes
    ----------
    h_prev, c_prev : ndarray, shape (batch, P), (batch, H)
        What goes to the state before; ``c_prev`` has no columns where there is no c.
    c : ndarray, shape (batch, H)
        ∂L/∂c_t with what it reaches through h_t.
    a_ih, a_hh : ndarray, shape (batch, G·H)
        ∂L/∂(W_ih x + b_ih) and ∂L/∂(W_hh h + b_hh): a gru's reset gate stands between the two.
    """

    h_prev: Array
    c_prev: Array
    c: Array
    a_ih: Array
    a_hh: Array


@dataclass(frozen=True)
class VisitedLayer:
    """A layer at the states it visited.

    Attributes
    ----------
    weights : LayerWeights
    live : ndarray of bool, shape (T, batch)
        Where a sequence is there; elsewhere its state is copied.
    h : ndarray, shape (T + 1, batch, P)
    c : ndarray, shape (T + 1, batch, H)
        No columns where there is no c.
    values : dict of str to ndarray, shape (T, batch, H)
        Values of gates and candidates, by name.
    factors : dict of str to ndarray, shape (T, batch, H) or (T, batch, 4, H)
        What a step back multiplies with, by where it leads.
    """

    weights: LayerWeights
    live: Array
    h: Array
    c: Array
    values: dict[str, Array]
    factors: dict[str, Array]

    @classmethod
    def at(cls, weights: LayerWeights, x: Array, h: Array, c0: Array, live: Array) -> VisitedLayer:
        """Evaluate every step at once from the states; only c runs through time.

        Parameters
        ----------
        x : ndarray, shape (T, batch, I)
        h : ndarray, shape (T + 1, batch, P)
        c0 : ndarray, shape (batch, H)
        """
        drive = x @ weights.W_ih.T + weights.b_ih
        recurrent = h[:-1] @ weights.W_hh.T + weights.b_hh
        c = np.zeros((*h.shape[:2], c0.shape[-1] if weights.kind == "lstm" else 0))
        if weights.kind == "lstm":
            c[0] = c0
            values, factors = _lstm_layer(drive + recurrent, c, live)
        elif weights.kind == "gru":
            values, factors = _gru_layer(drive, recurrent, h[:-1])
        else:
            values, factors = (_tanh_layer if weights.kind == "rnn" else _relu_layer)(drive + recurrent)
        return cls(weights, live, h, c, values, factors)

    def step_error(self) -> float:
        """Largest |h_t − step(h_{t−1}, x_t)| over what is live, relative to 1 + max|h|: rounding, if all is right."""
        v = self.values
        if self.weights.kind in ("rnn", "relu"):
            new = v["h"]
        elif self.weights.kind == "gru":
            new = (1.0 - v["z"]) * v["n"] + v["z"] * self.h[:-1]
        else:
            new = v["o"] * v["tanh c"]
            if self.weights.W_hr is not None:
                new = new @ self.weights.W_hr.T
        apart = np.abs(new - self.h[1:])[self.live]
        return float(apart.max(initial=0.0) / (1.0 + np.abs(self.h).max(initial=0.0)))

    @property
    def values_per_sample(self) -> int:
        """T·G·H: numbers that one sequence's pre-activations take."""
        return len(self.live) * len(self.weights.W_hh)

    def of_samples(self, samples: slice) -> VisitedLayer:
        """Some sequences of the batch."""
        values, factors = (
            {name: value[:, samples] for name, value in table.items()} for table in (self.values, self.factors)
        )
        h, c = self.h[:, samples], self.c[:, samples]
        return VisitedLayer(self.weights, self.live[:, samples], h, c, values, factors)

    def mean_gates(self) -> dict[str, float] | None:
        """Mean opening of each gate over units and everything that is live."""
        names = [name for name in GATES[self.weights.kind] if name]
        if not names or not self.live.any():
            return None
        return {name: float(self.values[name][self.live].mean()) for name in names}

    def back(self, t: int, g_h: Array, g_c: Array) -> Backward:
        """Carry ∂L/∂h_t (total) and ∂L/∂c_t (without its way through h_t) one live step back; t counts from 0.

        Further axes may lead the batch.
        """
        w, d = self.weights, self.factors
        if w.kind in ("rnn", "relu"):
            a = g_h * d["a"][t]
            return Backward(a @ w.W_hh, g_c, g_c, a, a)
        if w.kind == "gru":
            a_n, a_z = g_h * d["n"][t], g_h * d["z"][t]
            a_r = a_n * d["r"][t]
            recurrent = np.concatenate([a_r, a_z, a_n * d["q"][t]], axis=-1)
            into = np.concatenate([a_r, a_z, a_n], axis=-1)
            return Backward(g_h * d["h"][t] + recurrent @ w.W_hh, g_c, g_c, into, recurrent)
        g_m = g_h if w.W_hr is None else g_h @ w.W_hr
        c = g_c + g_m * d["c"][t]
        gates = np.empty((*c.shape[:-1], 4, c.shape[-1]))
        np.multiply(c[..., None, :], d["ifg"][t], out=gates[..., :3, :])
        np.multiply(g_m, d["o"][t], out=gates[..., 3, :])
        a = gates.reshape(*c.shape[:-1], -1)
        return Backward(a @ w.W_hh, c * d["f"][t], c, a, a)


#: Values and factors by name.
Blocks = tuple[dict[str, Array], dict[str, Array]]


def sigmoid_and_slope(a: Array) -> tuple[Array, Array]:
    """σ(a) and σ′(a) = e^{−|a|}/(1 + e^{−|a|})², to full relative precision on both tails, from one exponential."""
    decay = np.exp(-np.abs(a))
    wide = 1.0 / (1.0 + decay)
    return np.where(a >= 0, wide, decay * wide), decay * wide * wide


def tanh_and_slope(a: Array) -> tuple[Array, Array]:
    """tanh(a) and tanh′(a) = 4e^{−2|a|}/(1 + e^{−2|a|})², never as 1 − h²."""
    decay = np.exp(-2.0 * np.abs(a))
    return np.tanh(a), 4.0 * decay / (1.0 + decay) ** 2


def _tanh_layer(a: Array) -> Blocks:
    h, slope = tanh_and_slope(a)
    return {"h": h}, {"a": slope}


def _relu_layer(a: Array) -> Blocks:
    return {"h": np.maximum(a, 0.0)}, {"a": (a > 0).astype(np.float64)}


def _gru_layer(drive: Array, recurrent: Array, h_prev: Array) -> Blocks:
    """h = (1 − z)⊙n + z⊙h₋₁, n = tanh(W_in x + b_in + r⊙q) with q = W_hn h₋₁ + b_hn: the reset gate stands after it."""
    drive_r, drive_z, drive_n = np.split(drive, 3, axis=-1)
    recurrent_r, recurrent_z, q = np.split(recurrent, 3, axis=-1)
    r, slope_r = sigmoid_and_slope(drive_r + recurrent_r)
    z, slope_z = sigmoid_and_slope(drive_z + recurrent_z)
    n, slope_n = tanh_and_slope(drive_n + r * q)
    factors = {"h": z, "n": (1.0 - z) * slope_n, "z": (h_prev - n) * slope_z, "r": q * slope_r, "q": r}
    return {"r": r, "z": z, "n": n}, factors


def _lstm_layer(a: Array, c: Array, live: Array) -> Blocks:
    """c = f⊙c₋₁ + i⊙g, h = o⊙tanh c; c (T + 1, batch, H) is filled in from c[0]."""
    values, slopes = {}, {}
    for name, part in zip("ifgo", np.split(a, 4, axis=-1), strict=True):
        values[name], slopes[name] = (tanh_and_slope if name == "g" else sigmoid_and_slope)(part)
    i, f, g, o = values.values()
    written = i * g
    for t in range(len(a)):
        c[t + 1] = np.where(live[t][:, None], f[t] * c[t] + written[t], c[t])
    values["tanh c"], slope_c = tanh_and_slope(c[1:])
    factors = {
        "c": o * slope_c,
        "f": f,
        "ifg": np.stack([g * slopes["i"], c[:-1] * slopes["f"], i * slopes["g"]], axis=-2),
        "o": values["tanh c"] * slopes["o"],
    }
    return values, factors
