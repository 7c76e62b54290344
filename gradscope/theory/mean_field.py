"""Mean field of large random rnns, and exact spectra of products of independent Gaussian matrices.

W_ij ~ N(0, g²/N) throughout; exponents in nats per step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradscope.errors import UsageError
from gradscope.jacobians.step_jacobian import Array


@dataclass(frozen=True)
class MeanField:
    """The N → ∞ stationary state of h = tanh(W h₋₁ + drive) with gaussian W of gain g.

    Attributes
    ----------
    q : float
        Variance of a pre-activation: q = g² E tanh²(√q z) + σ², σ² the variance of the drive U x + b per unit.
    chi : float
        χ = g² E sech⁴(√q z), the mean squared singular value of a step Jacobian.
    exponent : float
        λ₁ = ½ ln χ in nats per step.
    """

    q: float
    chi: float
    exponent: float


def gaussian_mean(f: Callable[[Array], Array], *, strip: float = np.inf) -> float:
    """E f(z), z ~ N(0, 1), for |f| ≤ 1: the trapezoidal rule on [−9.5, 9.5], exponentially accurate for analytic f.

    Parameters
    ----------
    strip : float
        Half width a of the strip |Im z| < a in which f is analytic; the step h makes e^{−2πa/h} < 1e−17. The Gaussian
        itself limits h to 0.3 (Trefethen and Weideman, SIAM Rev. 56 (2014) 385, Theorem 5.1).
    """
    step = min(0.3, 2 * np.pi * strip / 45)
    z = np.arange(-int(9.5 / step), int(9.5 / step) + 1) * step
    return float(np.sum(f(z) * np.exp(-(z**2) / 2)) * step / np.sqrt(2 * np.pi))


def tanh_mean_field(gain: float, *, input_variance: float = 0.0) -> MeanField:
    """q*, χ and λ₁ = ½ ln χ for tanh at gain g, to about 1e-12.

    Without input q* = 0 and λ₁ = ln g up to g = 1; beyond, chaos, λ₁ ≈ (2/3)(g − 1)² at first. Input raises q* and
    lowers λ₁.

    Raises
    ------
    UsageError
        gain is not in [0, 10⁴] or input_variance not in [0, 10⁸] (the quadrature takes about 90·√q points).

    References
    ----------
    Molgedey, Schuchhardt and Schuster, Phys. Rev. Lett. 69 (1992) 3717; Poole et al., NeurIPS 2016, for depth.

    Examples
    --------
    >>> round(tanh_mean_field(2.0).exponent, 5)
    0.15472
    """
    if not (0 <= gain <= 1e4 and 0 <= input_variance <= 1e8):
        raise UsageError(
            f"mean field needs a gain in [0, 1e4] and input variance in [0, 1e8], but got {gain} and {input_variance}"
        )
    q = _fixed_point(lambda q: gain**2 * _tanh_squared(q) + input_variance, gain, input_variance)
    chi = gain**2 * _sech_fourth(q)
    return MeanField(q, chi, 0.5 * float(np.log(chi)) if chi > 0 else -np.inf)


def critical_gain(activation: str) -> float:
    """The gain where χ = 1 at the stationary state without input: where λ₁ changes sign.

    tanh: q* = 0 there, so 1/φ′(0) = 1. relu: χ = g² E relu′² = g²/2. sigmoid: q = g² E σ², χ = g² E σ′² = 1; its mean
    output inflates q, so 10.149 and not 1/φ′(0) = 4. identity: 1.

    Examples
    --------
    >>> round(critical_gain("sigmoid"), 3)
    10.149
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    if activation in ("tanh", "identity"):
        return 1.0
    if activation == "relu":
        return 1 / float(np.sqrt(0.5))  # P(z > 0) = ½
    if activation != "sigmoid":
        raise UsageError(f"no critical gain is known for {activation!r}: ask for tanh, sigmoid, relu or identity")

    def excess(gain: float) -> float:
        def variance(q: float) -> float:
            return gain**2 * gaussian_mean(lambda z: expit(np.sqrt(q) * z) ** 2, strip=np.pi / np.sqrt(max(q, 1e-9)))

        q = float(brentq(lambda q: variance(q) - q, 1e-12, gain**2 + 1, xtol=1e-14, rtol=1e-14))
        root = np.sqrt(q)
        slope = gaussian_mean(lambda z: (expit(root * z) * expit(-root * z)) ** 2, strip=np.pi / root)
        return gain**2 * slope - 1

    return float(brentq(excess, 4.0, 20.0, xtol=1e-12, rtol=1e-13))


def newman_exponents(gain: float, n: int) -> Array:
    """Exact Lyapunov exponents of W_t ⋯ W_1 with independent gaussian n × n factors of gain g, descending.

    λ_i = ln g + ½[ln(2/n) + ψ((n − i + 1)/2)], i = 1 … n, nats per step; for large n they follow ln g + ½ ln(1 − i/n).

    References
    ----------
    Newman, Commun. Math. Phys. 103 (1986) 121–126 (real case).

    Examples
    --------
    >>> newman_exponents(1.0, 1).round(4).tolist()
    [-0.6352]
    """
    from scipy.special import digamma

    i = np.arange(1, n + 1)
    return np.asarray(np.log(gain) + 0.5 * (np.log(2 / n) + digamma((n - i + 1) / 2)))


def newman_step_variances(n: int) -> Array:
    """Variance of ln|R_ii| of one step, ψ′((n − i + 1)/2)/4, i = 1 … n.

    Steps are independent, so the mean over T steps has this variance over T, exactly.
    """
    from scipy.special import polygamma

    i = np.arange(1, n + 1)
    return np.asarray(polygamma(1, (n - i + 1) / 2) / 4)


@dataclass(frozen=True)
class ResidualExponents:
    """Leading exponents of products of I + W_t (nats per step).

    Attributes
    ----------
    shared : float
        One W at every step, n → ∞: ln(1 + g), the edge of the spectrum of I + W.
    independent : float
        A new W at every step, n → ∞: ½ ln(1 + g²).
    independent_exact : float
        A new W at every step, at this n: ½[ln(2g²/n) + E_{j~Poisson(n/2g²)} ψ(n/2 + j)].
    """

    shared: float
    independent: float
    independent_exact: float


def residual_exponents(gain: float, n: int) -> ResidualExponents:
    """Leading exponents of ∏(I + W_t), same W against independent W: here sharing is clearly worse.

    ‖(I + W)e‖² = (g²/n)·χ′²_n with noncentrality n/g², whose mean logarithm is ln 2 + E_{j~Poisson(n/2g²)} ψ(n/2 + j).

    Examples
    --------
    >>> round(residual_exponents(0.5, 40).independent_exact, 4)
    0.107
    """
    from scipy.special import digamma, gammaln

    if gain <= 0 or n < 1:
        raise UsageError(f"residual exponents need gain > 0 and n ≥ 1, but got gain {gain} and n {n}")
    mean = n / (2 * gain**2)
    # Twelve standard deviations and a margin for small means leave out less than 1e-30.
    j = np.arange(max(0, int(mean - 12 * np.sqrt(mean) - 60)), int(mean + 12 * np.sqrt(mean) + 60) + 1)
    weight = np.exp(j * np.log(mean) - mean - gammaln(j + 1))
    exact = 0.5 * (np.log(2 * gain**2 / n) + float(np.sum(weight * digamma(n / 2 + j)) / np.sum(weight)))
    return ResidualExponents(float(np.log1p(gain)), float(np.log1p(gain**2)) / 2, float(exact))


def _tanh_squared(q: float) -> float:
    root = np.sqrt(q)
    return gaussian_mean(lambda z: np.tanh(root * z) ** 2, strip=_strip(root))


def _sech_fourth(q: float) -> float:
    root = np.sqrt(q)

    def sech_fourth(z: Array) -> Array:
        decay = np.exp(-np.abs(root * z))  # cosh itself overflows from 710 on
        return np.asarray((2 * decay / (1 + decay**2)) ** 4)

    return gaussian_mean(sech_fourth, strip=_strip(root))


def _strip(root: float) -> float:
    """Distance of the poles of tanh(√q z), ±iπ/(2√q), from the real axis."""
    return float(np.pi / 2 / root) if root > 0 else np.inf


def _fixed_point(variance: Callable[[float], float], gain: float, input_variance: float) -> float:
    """The stable q = F(q): F is concave and increasing, so the root lies where F leaves the diagonal downwards."""
    high = gain**2 + input_variance
    if input_variance == 0:
        if gain <= 1:
            return 0.0
        # F(q)/q = g²(1 − 2q + …) exceeds 1 below half of the small-q root (1 − g⁻²)/2.
        low = (1 - gain**-2) / 4
    else:
        low = input_variance
    if variance(low) <= low or high <= low:
        return low
    return _root(lambda q: variance(q) - q, low, high * (1 + 1e-12))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Halve an interval with a change of sign until no float lies inside; scipy.optimize takes 0.4 s to import."""
    below = function(low) > 0.0
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if (function(middle) > 0.0) == below else (low, middle)
    return low
