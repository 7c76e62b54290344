"""Tapes of given matrices, and the law that products of Gaussian ones obey."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import digamma, polygamma

from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.tape import tape_of_matrices


def gaussians(seed, n_steps, batch, n, gain=1.0):
    return gain * np.random.default_rng(seed).standard_normal((n_steps, batch, n, n)) / math.sqrt(n)


def newman(n, gain=1.0):
    """Theory C06.2: exponents of products of independent Gaussian matrices, and the variance of one step."""
    half = (n - np.arange(1, n + 1) + 1) / 2.0
    return math.log(gain) + 0.5 * (math.log(2.0 / n) + digamma(half)), polygamma(1, half) / 4.0


def repeated(W, n_steps):
    return tape_of_matrices(np.broadcast_to(W, (n_steps, *W.shape)))


def qr_road(W, n_steps, **options):
    """The time averages themselves: factors 2 and 1/2 in turn keep the eigenvalue road for constant Jacobians shut."""
    factors = np.array([2.0, 0.5] * (n_steps // 2))
    spectrum = measure_lyapunov(tape_of_matrices(factors[:, None, None] * W), **options)
    assert spectrum.method == "qr"
    return spectrum
