"""Random weights: the ensembles a built network is drawn from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.jacobians.base import Array

Ensemble = Callable[[np.random.Generator, int, float], Array]


def gaussian(rng: np.random.Generator, n: int, gain: float) -> Array:
    """N(0, gain²/n) entries: the Ginibre ensemble, spectral radius → gain."""
    return np.asarray(rng.standard_normal((n, n)) * (gain / np.sqrt(n)))


def orthogonal(rng: np.random.Generator, n: int, gain: float) -> Array:
    """gain times a Haar-distributed orthogonal matrix (QR with the signs of R's diagonal; Mezzadri 2007)."""
    Q, R = np.linalg.qr(rng.standard_normal((n, n)))
    return np.asarray(gain * (Q * np.where(np.diagonal(R) < 0, -1.0, 1.0)))


def identity(rng: np.random.Generator, n: int, gain: float) -> Array:
    """gain·I (the IRNN of Le, Jaitly and Hinton 2015)."""
    return gain * np.eye(n)


def uniform(rng: np.random.Generator, n: int, gain: float) -> Array:
    """gain·U(−1/√n, 1/√n): PyTorch's default, whose spectral radius is about gain/√3."""
    return np.asarray(rng.uniform(-1.0, 1.0, (n, n)) * (gain / np.sqrt(n)))


def nonnormal(rng: np.random.Generator, n: int, gain: float) -> Array:
    """gain on the first subdiagonal: a feed-forward chain, nilpotent, as far from normal as a matrix can be."""
    return gain * np.eye(n, k=-1)


#: ``chrono`` draws gaussian matrices; what makes it chrono are the gate biases.
ENSEMBLES: dict[str, Ensemble] = {
    "gaussian": gaussian,
    "orthogonal": orthogonal,
    "identity": identity,
    "uniform": uniform,
    "nonnormal": nonnormal,
    "chrono": gaussian,
}


def chrono_bias(rng: np.random.Generator, n: int, longest: int) -> Array:
    """b_f ~ ln U(1, T_max − 1), so that time scales spread over (1, T_max) (Tallec and Ollivier 2018)."""
    return np.log(rng.uniform(1.0, longest - 1.0, n))
