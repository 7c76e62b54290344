"""Largest eigenvalues of tridiagonal matrices side by side, against LAPACK one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eigvalsh_tridiagonal

from gradscope.linalg import operator_norm
from gradscope.linalg.tridiagonal import largest_tridiagonal_eigenvalues

RNG = np.random.default_rng(0)


def of_a_matrix(values, m, rng):
    """m Lanczos steps without reorthogonalisation: copies of what has converged come too."""
    G = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    G = (G * values) @ G.T
    v, previous, alpha, beta = rng.normal(size=len(values)), 0.0, [], []
    v /= np.linalg.norm(v)
    for _ in range(m):
        w = G @ v - (beta[-1] * previous if beta else 0.0)
        alpha.append(v @ w)
        w -= alpha[-1] * v
        beta.append(np.linalg.norm(w))
        previous, v = v, w / beta[-1]
    return np.array(alpha), np.array(beta[:-1])


CASES = {
    "random": (RNG.normal(size=(20, 300)), RNG.normal(size=(19, 300))),
    "one row": (RNG.normal(size=(1, 50)), np.empty((0, 50))),
    "tiny": (1e-150 * RNG.random((9, 40)), 1e-150 * RNG.random((8, 40))),
    "huge, negative couplings": (1e150 * RNG.random((9, 40)), -1e150 * RNG.random((8, 40))),
    "split": (RNG.random((12, 60)), RNG.random((11, 60)) * (RNG.random((11, 60)) > 0.4)),
    "Wilkinson": (np.abs(np.arange(-10.0, 11))[:, None] * np.ones(3), np.ones((20, 3))),
    "graded": (10.0 ** -np.arange(30.0)[:, None] * np.ones(4), 10.0 ** -np.arange(29.0)[:, None] * np.ones(4)),
    "Lanczos": tuple(
        np.stack(side, axis=1)
        for side in zip(*(of_a_matrix(np.linspace(0, 1, 60) ** 2, 45, RNG) for _ in range(40)), strict=True)
    ),
    "Lanczos, a separated top": tuple(
        np.stack(side, axis=1)
        for side in zip(*(of_a_matrix(np.r_[np.linspace(0, 1, 59), 3.0], 40, RNG) for _ in range(40)), strict=True)
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_against_lapack(name):
    alpha, beta = CASES[name]
    found = largest_tridiagonal_eigenvalues(alpha, beta)
    for b, value in enumerate(found):
        spectrum = eigvalsh_tridiagonal(alpha[:, b], beta[:, b]) if len(alpha) > 1 else alpha[:, b]
        assert abs(value - spectrum[-1]) <= 1e-14 * np.abs(spectrum).max(), name


def test_zeros_and_what_is_not_finite():
    alpha, beta = np.zeros((3, 4)), np.zeros((2, 4))
    alpha[1, 1], beta[0, 2], alpha[2, 3] = np.nan, np.inf, 5.0
    np.testing.assert_array_equal(largest_tridiagonal_eigenvalues(alpha, beta), [0.0, np.nan, np.nan, 5.0])


def test_both_roads_give_the_same_ritz_pairs(monkeypatch):
    alpha, beta = CASES["Lanczos"]
    beta = np.concatenate([beta, np.full((1, alpha.shape[1]), 1e-3)])
    theta, residual = operator_norm._largest_ritz_pair(alpha, beta)
    monkeypatch.setattr(operator_norm, "LAGUERRE_FROM", 1)
    again, residual_again = operator_norm._largest_ritz_pair(alpha, beta)
    np.testing.assert_allclose(again, theta, rtol=1e-14)
    np.testing.assert_allclose(residual_again, residual, rtol=1e-6, atol=1e-15)
