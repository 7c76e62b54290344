"""Random weights: what a built network is drawn from, one recurrent block or one whole layer at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.haar import haar

Ensemble = Callable[[np.random.Generator, int, float], Array]


def gaussian(rng: np.random.Generator, n: int, gain: float) -> Array:
    """N(0, gain²/n) entries: the Ginibre ensemble, spectral radius → gain."""
    return np.asarray(rng.standard_normal((n, n)) * (gain / np.sqrt(n)))


def orthogonal(rng: np.random.Generator, n: int, gain: float) -> Array:
    """gain times a Haar-distributed orthogonal matrix."""
    return gain * haar(rng, n)


def identity(rng: np.random.Generator, n: int, gain: float) -> Array:
    """gain·I (the IRNN of Le, Jaitly and Hinton 2015)."""
    return gain * np.eye(n)


def uniform(rng: np.random.Generator, n: int, gain: float) -> Array:
    """gain·U(−1/√n, 1/√n), whose spectral radius is about gain/√3: the W_hh of a fresh PyTorch layer."""
    return np.asarray(rng.uniform(-1.0, 1.0, (n, n)) * (gain / np.sqrt(n)))


def nonnormal(rng: np.random.Generator, n: int, gain: float) -> Array:
    """gain on the first subdiagonal: a feed-forward chain, nilpotent, as far from normal as a matrix can be."""
    return gain * np.eye(n, k=-1)


#: The ensemble of one recurrent block, by the word of ``init=``. What makes ``chrono`` chrono are the gate biases.
ENSEMBLES: dict[str, Ensemble] = {
    "gaussian": gaussian,
    "orthogonal": orthogonal,
    "identity": identity,
    "uniform": uniform,
    "nonnormal": nonnormal,
    "chrono": gaussian,
    "pytorch": uniform,
    "keras": orthogonal,
}


@dataclass(frozen=True)
class LayerDraw:
    """One layer as it is drawn, gates in the cell's order.

    Attributes
    ----------
    weight_ih : ndarray, shape (G·H, I)
    weight_hh : ndarray, shape (G·H, H)
    bias_ih : ndarray, shape (G·H,)
    bias_hh : ndarray, shape (G·H,), or None
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array | None


def draw_layer(
    init: str,
    rng: np.random.Generator,
    *,
    gates: int,
    hidden: int,
    width: int,
    gain: float,
    input_gain: float,
    recurrent: tuple[int, int],
) -> LayerDraw:
    """Draw a layer's weights.

    W_hh gate by gate from the ensemble and W_xh ~ N(0, input_gain²/inputs), without biases; ``pytorch`` and ``keras``
    draw all of it as those frameworks do. Draws come in a fixed order, and gains scale what was drawn, so that a
    network keeps its W_hh when only its input gain or bias changes.

    ``recurrent`` is the shape of W_hh. Units that read themselves alone, (rows, 1), are so many recurrences of one unit
    each: a draw of the ensemble at n = 1, N(0, gain²) or ±gain.
    """
    rows = gates * hidden
    if init == "pytorch":
        # Every weight and both biases U(−1/√H, 1/√H): ``reset_parameters`` of PyTorch's RNNBase.
        bound = 1.0 / np.sqrt(hidden)
        weight_ih = rng.uniform(-bound, bound, (rows, width)) * input_gain
        weight_hh = rng.uniform(-bound, bound, recurrent) * gain
        return LayerDraw(weight_ih, weight_hh, rng.uniform(-bound, bound, rows), rng.uniform(-bound, bound, rows))
    if init == "keras":
        # Kernel (I, G·H) Glorot-uniform, U(−b, b) with b = √(6/(fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16);
        # recurrent kernel (H, G·H) with orthonormal rows over all gates; no biases. W_hh here is that kernel's
        # transpose, so its columns are orthonormal: W_hhᵀ W_hh = gain² I, each gate's own block is not orthogonal.
        bound = np.sqrt(6.0 / (width + rows))
        weight_ih = rng.uniform(-bound, bound, (rows, width)) * input_gain
        full = recurrent == (rows, hidden)
        weight_hh = gain * haar(rng, rows, hidden) if full else _blocks(orthogonal, rng, *recurrent, gain)
        return LayerDraw(weight_ih, weight_hh, np.zeros(rows), None)
    weight_hh = _blocks(ENSEMBLES[init], rng, *recurrent, gain)
    weight_ih = rng.standard_normal((rows, width)) * (input_gain / np.sqrt(width))
    return LayerDraw(weight_ih, weight_hh, np.zeros(rows), None)


def _blocks(ensemble: Ensemble, rng: np.random.Generator, rows: int, n: int, gain: float) -> Array:
    """Blocks of n × n below one another."""
    return np.concatenate([np.zeros((0, n)), *(ensemble(rng, n, gain) for _ in range(rows // n))])


#: Cells whose forget gate Keras starts at a bias of 1 (``unit_forget_bias`` of its LSTM).
UNIT_FORGET_BIAS = ("lstm",)


def chrono_bias(rng: np.random.Generator, n: int, longest: int) -> Array:
    """b_f ~ ln U(1, T_max − 1), so that time scales spread over (1, T_max) (Tallec and Ollivier 2018)."""
    return np.log(rng.uniform(1.0, longest - 1.0, n))
