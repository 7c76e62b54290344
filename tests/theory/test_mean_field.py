"""Mean field and Gaussian-product spectra: published values, another quadrature, mpmath, sampling."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad

from gradscope.errors import UsageError
from gradscope.theory.mean_field import (
    critical_gain,
    newman_exponents,
    newman_step_variances,
    residual_exponents,
    tanh_mean_field,
)


def mean(f):
    density = 1 / np.sqrt(2 * np.pi)
    return 2 * quad(lambda z: f(z) * np.exp(-z * z / 2) * density, 0, 12, epsabs=1e-14, epsrel=1e-13, limit=400)[0]


@pytest.mark.parametrize(
    ("gain", "published"), [(1.5, 0.06522), (2, 0.15472), (3, 0.31025), (5, 0.53243), (10, 0.85644)]
)
def test_published_exponents(gain, published):
    assert tanh_mean_field(gain).exponent == pytest.approx(published, abs=5e-6)


@pytest.mark.parametrize("gain", [0.3, 1.0, 1.001, 1.2, 2.0, 8.0, 60.0])
@pytest.mark.parametrize("input_variance", [0.0, 1e-6, 0.5, 30.0])
def test_the_fixed_point_holds_under_adaptive_quadrature(gain, input_variance):
    found = tanh_mean_field(gain, input_variance=input_variance)
    root = np.sqrt(found.q)
    again = gain**2 * mean(lambda z: np.tanh(root * z) ** 2) + input_variance
    assert found.q == pytest.approx(again, rel=1e-10, abs=1e-14)
    chi = gain**2 * mean(lambda z: 1 / np.cosh(min(root * z, 150)) ** 4)
    assert found.chi == pytest.approx(chi, rel=1e-10)
    assert found.exponent == pytest.approx(np.log(chi) / 2, abs=1e-10)


def test_quiet_below_one_and_two_thirds_above():
    for gain in (0.2, 0.9, 1.0):
        found = tanh_mean_field(gain)
        assert (found.q, found.exponent) == (0.0, pytest.approx(np.log(gain), abs=1e-14))
    # λ₁ = (2/3)(g − 1)²(1 − O(g − 1)); theory.md gives the ratio .645 at 1.01.
    assert tanh_mean_field(1.001).exponent / 1e-6 == pytest.approx(2 / 3, rel=5e-3)
    assert tanh_mean_field(1.01).exponent / 1e-4 == pytest.approx(0.645, abs=5e-4)


def test_input_lowers_the_exponent():
    exponents = [tanh_mean_field(2.0, input_variance=v).exponent for v in (0, 0.1, 1, 10)]
    assert np.all(np.diff(exponents) < 0)
    assert exponents[0] > 0 > exponents[-1]


def test_a_large_network_follows_mean_field():
    rng = np.random.default_rng(0)
    n, gain = 600, 2.0
    W = gain * rng.standard_normal((n, n)) / np.sqrt(n)
    h, q, chi = rng.standard_normal(n), [], []
    for t in range(150):
        a = W @ h
        h = np.tanh(a)
        if t >= 50:
            q.append(np.mean(a**2))
            chi.append(gain**2 * np.mean(1 / np.cosh(a) ** 4))
    found = tanh_mean_field(gain)
    # Finite-size corrections are O(1/√N) for one network: 4 % at N = 600.
    assert np.mean(q) == pytest.approx(found.q, rel=0.08)
    assert np.mean(chi) == pytest.approx(found.chi, rel=0.08)


def test_critical_gains():
    assert critical_gain("tanh") == critical_gain("identity") == 1.0
    assert critical_gain("relu") == pytest.approx(np.sqrt(2), rel=1e-15)
    gain = critical_gain("sigmoid")
    assert gain == pytest.approx(10.149, abs=5e-4)

    # Independent: solve q at that gain by iteration, check χ = 1 with adaptive quadrature.
    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    def variance(root):
        return gain**2 * mean(lambda z: (sigmoid(root * z) ** 2 + sigmoid(-root * z) ** 2) / 2)

    q = 20.0
    for _ in range(200):
        q = variance(np.sqrt(q))
    assert gain**2 * mean(lambda z: (sigmoid(np.sqrt(q) * z) * sigmoid(-np.sqrt(q) * z)) ** 2) == pytest.approx(
        1, abs=1e-9
    )
    with pytest.raises(UsageError, match="softplus"):
        critical_gain("softplus")


@pytest.mark.parametrize("n", [1, 2, 10, 50])
def test_newman_against_mpmath_and_published(n):
    found, variances = newman_exponents(1.3, n), newman_step_variances(n)
    for i in range(1, n + 1):
        argument = mpmath.mpf(n - i + 1) / 2
        truth = mpmath.log(1.3) + (mpmath.log(mpmath.mpf(2) / n) + mpmath.digamma(argument)) / 2
        assert found[i - 1] == pytest.approx(float(truth), abs=1e-14)
        assert variances[i - 1] == pytest.approx(float(mpmath.psi(1, argument)) / 4, rel=1e-14)
    published = {1: -0.6352, 10: -0.052, 50: -0.010}
    if n in published:
        assert newman_exponents(1.0, n)[0] == pytest.approx(published[n], abs=6e-4)


def test_newman_by_sampling():
    # ln‖G e‖ of a Gaussian column: λ₁; |R_ii| of a QR step: the rest. Exact variance, 4.5 standard errors.
    rng = np.random.default_rng(1)
    n, steps = 5, 20_000
    R = np.linalg.qr(rng.standard_normal((steps, n, n)) / np.sqrt(n))[1]
    gains = np.log(np.abs(np.diagonal(R, axis1=1, axis2=2)))
    error = np.sqrt(newman_step_variances(n) / steps)
    assert np.all(np.abs(gains.mean(axis=0) - newman_exponents(1.0, n)) < 4.5 * error)
    np.testing.assert_allclose(gains.var(axis=0), newman_step_variances(n), rtol=0.1)


def test_residual_exponents():
    found = residual_exponents(0.5, 40)
    assert found.shared == pytest.approx(np.log(1.5), rel=1e-15)
    assert found.independent == pytest.approx(np.log(1.25) / 2, rel=1e-15)
    assert found.independent_exact == pytest.approx(0.1070, abs=5e-5)
    with mpmath.workdps(30):
        rate = mpmath.mpf(40) / (2 * mpmath.mpf(0.25))
        series = mpmath.nsum(
            lambda j: mpmath.e ** (j * mpmath.log(rate) - rate - mpmath.loggamma(j + 1)) * mpmath.digamma(20 + j),
            [0, 400],
        )
        truth = (mpmath.log(2 * mpmath.mpf(0.25) / 40) + series) / 2
    assert found.independent_exact == pytest.approx(float(truth), abs=1e-12)
    # By sampling ‖(I + W)e‖ with e = e₁.
    rng = np.random.default_rng(2)
    for gain, n in ((0.5, 40), (3.0, 1), (1.0, 2)):
        columns = gain * rng.standard_normal((200_000, n)) / np.sqrt(n)
        columns[:, 0] += 1
        logs = np.log(np.linalg.norm(columns, axis=1))
        error = logs.std() / np.sqrt(len(logs))
        assert abs(logs.mean() - residual_exponents(gain, n).independent_exact) < 4.5 * error


@pytest.mark.parametrize("gain", [-1.0, np.nan, np.inf])
def test_impossible_gains_are_refused(gain):
    with pytest.raises(UsageError, match="gain"):
        tanh_mean_field(gain)
    with pytest.raises(UsageError, match="gain"):
        residual_exponents(-1.0, 4)
