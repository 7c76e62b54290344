"""Theory's Lanczos: largest singular values of many operators at once, and the tridiagonal eigenvalues below it."""

import numpy as np
import pytest

from gradscope.theory import lanczos
from gradscope.theory.lanczos import largest_singular_values, top_ritz_pair


@pytest.mark.parametrize("m", [1, 2, 5, 20, 60])
def test_top_ritz_pair_against_lapack(m):
    rng = np.random.default_rng(m)
    alpha, beta = rng.normal(size=(m, 200)), np.abs(rng.normal(size=(m, 200)))
    i = np.arange(m)
    T = np.zeros((200, m, m))
    T[:, i, i] = alpha.T
    T[:, i[:-1], i[1:]] = T[:, i[1:], i[:-1]] = beta[:-1].T
    values, vectors = np.linalg.eigh(T)
    theta, residual = top_ritz_pair(alpha, beta)
    np.testing.assert_allclose(theta, values[:, -1], rtol=0, atol=1e-13 * m)
    np.testing.assert_allclose(residual, beta[-1] * np.abs(vectors[:, -1, -1]), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("spectrum", ["gaussian", "two at the top", "crowded", "identity", "one"])
def test_largest_singular_values(spectrum):
    rng = np.random.default_rng(3)
    n = 40
    sigma = {
        "gaussian": np.linalg.svd(rng.normal(size=(n, n)), compute_uv=False),
        "two at the top": np.r_[1.0, 1.0 - 1e-8, np.linspace(0.5, 0, n - 2)],
        "crowded": 1.0 - np.linspace(0, 1, n) ** 2 * 1e-2,
        "identity": np.ones(n),
        "one": np.eye(n)[0],
    }[spectrum]
    A = np.stack([np.linalg.qr(rng.normal(size=(n, n)))[0] * s * sigma for s in (1.0, 1e-60, 1e60)])
    found = largest_singular_values(
        lambda rows: lambda V: np.einsum("bi,bij,bkj->bk", V, A[rows], A[rows]), rng.normal(size=(3, n))
    )
    # Half of the residual allowed, and what is left of it is added.
    np.testing.assert_allclose(found, sigma[0] * np.array([1.0, 1e-60, 1e60]), rtol=lanczos.TOLERANCE)


def test_what_cannot_be_squared_is_left_to_the_caller():
    A = np.stack([np.zeros((12, 12)), np.eye(12) * 1e-150, np.eye(12) * 1e150, np.eye(12)])
    found = largest_singular_values(
        lambda rows: lambda V: np.einsum("bi,bij,bkj->bk", V, A[rows], A[rows]),
        np.random.default_rng(0).normal(size=(4, 12)),
    )
    assert np.isnan(found[:3]).all()
    assert found[3] == pytest.approx(1.0, rel=1e-14)
