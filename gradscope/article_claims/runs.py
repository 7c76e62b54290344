"""Small networks and their runs, for experiments: matrices in, tapes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradscope.cells import CELLS
from gradscope.cells.activations import ACTIVATIONS
from gradscope.cells.cell import Cell
from gradscope.cells.rnn import Rnn
from gradscope.jacobians.step_jacobian import Array
from gradscope.log_domain import LN10
from gradscope.networks.layer import Layer
from gradscope.networks.network import Network
from gradscope.networks.trajectory import GivenSteps, Trajectory, run_network
from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.propagate import measure_norms
from gradscope.numerics.tape import Tape
from gradscope.sources.build import build_source
from gradscope.sources.kinds import NetworkSource
from gradscope.sources.seeding import generator
from gradscope.sources.spec import parse_source

ROUNDING = 1e-9  # norms are exact to 1e-10 relative (numerics.propagate)


def claim_generator(seed: int, claim: str) -> np.random.Generator:
    """The stream of one claim: the same whatever runs beside it."""
    return generator(seed, "claims", claim)


def rnn(W: Any, *, activation: str = "tanh", weight_ih: Any = None, bias: Any = None, norm: Any = "none") -> Layer:
    """The article's recurrence around a given W, autonomous unless ``weight_ih`` is given; (..., n, n) for many."""
    W = np.asarray(W, dtype=np.float64)
    U = np.zeros((*W.shape[:-1], 0)) if weight_ih is None else np.asarray(weight_ih, dtype=np.float64)
    b = np.zeros(W.shape[:-1]) if bias is None else np.asarray(bias, dtype=np.float64)
    return Layer(Rnn(U, W, b, activation=ACTIVATIONS[activation], norm=norm))


def cell(
    name: str, blocks: Sequence[Any], *, weight_ih: Any = None, biases: Sequence[Any], activation: str = "tanh"
) -> Cell:
    """A gated cell from one recurrent matrix and one bias per gate, in gradscope's gate order."""
    weight_hh = np.concatenate([np.asarray(block, dtype=np.float64) for block in blocks])
    H = weight_hh.shape[-1]
    U = np.zeros((len(weight_hh), 0)) if weight_ih is None else np.asarray(weight_ih, dtype=np.float64)
    b = np.concatenate([np.broadcast_to(np.asarray(bias, dtype=np.float64), (H,)) for bias in biases])
    return CELLS[name](U, weight_hh, b, activation=ACTIVATIONS[activation])


def run(network: Network, x: Array | int, *, state: Any = None) -> Trajectory:
    """Run over x (T, ..., batch, I), or for T steps without input; the state starts at 0 unless given."""
    if isinstance(x, int):
        x = np.zeros((x, 1, network.input_size))
    start = np.zeros((*network.weight_axes, x.shape[-2], network.state_size))
    if state is not None:
        start[...] = state
    return run_network(network, GivenSteps(x), start)


def build(text: str, seed: int) -> Layer:
    """A one-layer network as the command line builds it."""
    source = build_source(parse_source(text), seed=seed)
    assert isinstance(source, NetworkSource)
    assert isinstance(source.network, Layer)
    return source.network


def log_norms(tape: Tape, *, anchor: Any = "start") -> Array:
    """ln ‖product‖₂ at lags 0 … T, shape (T + 1, *batch_shape); −inf where it is exactly zero."""
    norms = measure_norms(tape, anchor=anchor)
    return np.where(norms.zero, -np.inf, norms.log10_norm * LN10)


def leading_exponent(tape: Tape, rng: np.random.Generator) -> Array:
    """λ₁ of every entry of the batch axes, nats per step."""
    return measure_lyapunov(tape, k=1, log_det=False, rng=rng).max


def leading_exponents(
    network: Network, x: Array, rng: np.random.Generator, *, transient: int = 0, state: Any = None
) -> Array:
    """λ₁ of one network under several inputs side by side, x (T, draws, I), after ``transient`` steps of each."""
    start = np.zeros((x.shape[1], network.state_size))
    if state is not None:
        start[...] = state
    if transient:
        start = network.advance(start, x[:transient])[-1]
    return leading_exponent(run(network, x[transient:], state=start), rng)


def gaussian(rng: np.random.Generator, *shape: int, gain: float = 1.0) -> Array:
    """W_ij ~ N(0, g²/N), the last axis N; leading axes are independent draws."""
    return np.asarray(rng.standard_normal(shape) * (gain / np.sqrt(shape[-1])))


def jordan(eigenvalue: float, n: int) -> Array:
    """One Jordan block."""
    return eigenvalue * np.eye(n) + np.eye(n, k=1)


def jordan_power(eigenvalue: float, n: int, k: int) -> Array:
    """Its k-th power from the binomial formula, [J^k]_ij = C(k, j−i) λ^(k−j+i): without a product."""
    from math import comb

    entries = [comb(k, d) * eigenvalue ** (k - d) if d <= k else 0.0 for d in range(n)]
    return np.asarray(sum(entry * np.eye(n, k=d) for d, entry in enumerate(entries)))


def spectral_norm(A: Array) -> float:
    """‖A‖₂."""
    return float(np.linalg.norm(A, 2))
