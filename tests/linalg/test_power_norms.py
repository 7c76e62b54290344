"""‖W^k‖₂ against closed forms, published constants and 50-digit arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradscope.errors import ShapeError
from gradscope.linalg import power_norms


def jordan(value, n):
    return value * np.eye(n) + np.eye(n, k=1)


def test_jordan_block_peaks_where_theory_says():
    """theory.md C02: Jordan(0.9, n=4) has its peak 238.45 at k = 29, and ‖A^60‖^(1/60) = 1.0768 (C01)."""
    log10_norm = power_norms(jordan(0.9, 4), 1000).log10_norm
    assert np.argmax(log10_norm) == 29
    assert 10 ** log10_norm[29] == pytest.approx(238.45, abs=0.005)
    assert 10 ** (log10_norm[60] / 60) == pytest.approx(1.0768, abs=5e-5)
    assert 10 ** (log10_norm[1000] / 1000) == pytest.approx(0.9175, abs=5e-5)


def test_fifty_digits():
    W = np.random.default_rng(0).normal(size=(5, 5))
    measured = power_norms(W, 40).log10_norm
    with mpmath.workdps(50):
        A, P = mpmath.matrix(W.tolist()), mpmath.eye(5)
        for k in range(41):
            expected = float(mpmath.log10(mpmath.svd_r(P, compute_uv=False)[0]))
            # k products of 5x5 factors: k·5·eps/ln 10, with the eigenvalue condition (< 10 here) on top.
            assert measured[k] == pytest.approx(expected, abs=1e-12)
            P = P * A


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-500, 2.0**500, 2.0**1000])
def test_powers_far_beyond_float64(scale):
    W = np.array([[0.6, -0.8], [0.8, 0.6]])
    expected = np.arange(13) * np.log10(scale)
    np.testing.assert_allclose(power_norms(W * scale, 12).log10_norm, expected, rtol=0, atol=1e-10)


def test_zero_from_the_nilpotency_index_on():
    measured = power_norms(np.stack([np.eye(5, k=1), np.eye(5, k=2), np.eye(5)]), 7)
    np.testing.assert_array_equal(np.argmax(measured.zero, axis=0), [5, 3, 0])
    assert not measured.zero[:, 2].any()
    np.testing.assert_array_equal(np.isnan(measured.log10_norm), measured.zero)


def test_leading_axes_are_independent_matrices():
    W = np.random.default_rng(1).normal(size=(2, 3, 4, 4))
    together = power_norms(W, 9).log10_norm
    assert together.shape == (10, 2, 3)
    np.testing.assert_allclose(together[:, 1, 2], power_norms(W[1, 2], 9).log10_norm, atol=1e-14)


def test_only_square_matrices_have_powers():
    with pytest.raises(ShapeError, match=r"square.*\(2, 3\)"):
        power_norms(np.ones((2, 3)), 2)
