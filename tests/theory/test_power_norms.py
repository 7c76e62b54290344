"""‖W^k‖₂ against closed forms, published constants and 50-digit arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradscope.errors import ShapeError
from gradscope.theory import binary_powers
from gradscope.theory import power_norms as power_norms_module
from gradscope.theory.power_norms import power_norms
from gradscope.theory.schur import power_of_two_scale


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


def gaussian(n, gain, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n)) * gain / np.sqrt(n)


LARGE = {
    "gaussian": gaussian(80, 0.9),
    "gaussian, growing": gaussian(100, 2.5, 1),
    "orthogonal": np.linalg.qr(gaussian(80, 1.0, 2))[0],
    "symmetric": gaussian(90, 1.0, 3) + gaussian(90, 1.0, 3).T,
    "rank three": gaussian(80, 1.0, 4)[:, :3] @ gaussian(80, 1.0, 5)[:3],
    "identity": np.eye(73),
    "Jordan": jordan(0.9, 80),
    "triangle": np.triu(gaussian(75, 1.0, 6), k=1),
    "not quite nilpotent": np.eye(80, k=1) + 1e-9 * gaussian(80, 1.0, 7),
    "one block": np.pad(gaussian(3, 1.0, 8), (0, 75)),
    "tiny": gaussian(76, 0.9, 9) * 2.0**-400,
    "huge": gaussian(76, 0.9, 10) * 2.0**400,
}


def one_by_one(W, n_powers):
    """log10 of the norms, each from a product with W and a full decomposition, in long double where it matters."""
    W, exponent = power_of_two_scale(W)
    P, total, norms = np.eye(len(W), dtype=np.longdouble), 0, [0.0]
    for k in range(1, n_powers + 1):
        P = P @ W.astype(np.longdouble)
        largest = np.abs(P).max()
        shift = 0 if largest == 0 else int(np.frexp(largest)[1])
        P, total = np.ldexp(P, -shift), total + shift
        sigma = np.linalg.norm(P.astype(np.float64), 2)
        norms.append(np.log10(sigma) + (total + k * exponent) * np.log10(2.0) if sigma > 0 else -np.inf)
    return np.array(norms)


@pytest.mark.parametrize("n_powers", [1, 5, 8, 150])
@pytest.mark.parametrize("name", LARGE)
def test_large_matrices(name, n_powers):
    measured, expected = power_norms(LARGE[name], n_powers), one_by_one(LARGE[name], n_powers)
    np.testing.assert_array_equal(measured.zero, np.isneginf(expected))
    # 1e-10 relative; logs of a thousand digits carry 1e-13 of rounding.
    known = ~measured.zero
    np.testing.assert_allclose(measured.log10_norm[known], expected[known], rtol=2e-15, atol=4.4e-11)


def test_squares_that_lose_digits_are_not_believed():
    """Without the comparison of the two roads a hidden triangle comes out a factor two off."""
    n = 80
    Q = np.linalg.qr(gaussian(n, 1.0, 12))[0]
    W = Q @ (np.eye(n, k=1) * 3 + np.diag(np.linspace(-0.5, 0.5, n))) @ Q.T
    long_road = one_by_one(W, 128)
    powers = binary_powers.BinaryPowers(W, 7)
    assert binary_powers.first_power_norms(powers, 128, np.random.default_rng(0)) is None
    wrong = np.linalg.norm(powers.pull(np.eye(n), np.full(n, 128)), 2)
    wrong = np.log10(wrong) + powers.exponent(np.array([128]))[0] * np.log10(2.0)
    assert abs(wrong - long_road[128]) > 0.3


def test_the_first_powers_are_not_formed(monkeypatch):
    """Otherwise the tests above would see the long road only."""
    taken = []
    first = power_norms_module.first_power_norms
    monkeypatch.setattr(power_norms_module, "first_power_norms", lambda *a: taken.append(first(*a)) or taken[-1])
    power_norms(LARGE["gaussian"], 150)
    assert len(taken[0]) == 128
    power_norms(LARGE["triangle"], 150)
    assert taken[1] is None


def hidden_part(n, growth, rate):
    """A part whose transient hides another part, of norm rate^k, far below rounding; and the norms of both."""
    m = n // 2
    A = 0.5 * np.eye(m) + growth * np.eye(m, k=1)
    W = np.zeros((n, n))
    W[:m, :m], W[m:, m:] = A, rate * np.linalg.qr(gaussian(n - m, 1.0, 13))[0]
    return W


@pytest.mark.parametrize(("n", "growth"), [(20, 200.0), (66, 3.0), (100, 2.0)])
def test_what_a_transient_hides_comes_back(n, growth):
    """Rows dropped as rounding at the peak are all that is left when the peak is over."""
    W = hidden_part(n, growth, 0.95)
    expected = one_by_one(W, 900)
    assert expected.max() > 18  # at the peak the hidden part is below rounding
    assert expected[-1] == pytest.approx(900 * np.log10(0.95), abs=1e-9)
    np.testing.assert_allclose(power_norms(W, 900).log10_norm, expected, rtol=0, atol=1e-9)


def test_dropped_rows_are_looked_after(monkeypatch):
    """The planted error: without the comparison with full rows the hidden part is lost."""
    W = hidden_part(66, 3.0, 0.95)
    monkeypatch.setattr(power_norms_module, "MOST_APART", np.inf)
    assert power_norms(W, 900).log10_norm[-1] < 900 * np.log10(0.95) - 10


def test_one_of_a_stack_is_taken_again_by_itself(monkeypatch):
    """The hidden part among Gaussian matrices, and each matrix as if it were alone."""
    rng = np.random.default_rng(2)
    W = rng.normal(size=(6, 24, 24)) / np.sqrt(24)
    W[5] = hidden_part(24, 100.0, 0.95)
    calls, honest = [], power_norms_module._running_norms

    def counted(W, X, count, *, drop):
        calls.append((len(W), drop))
        return honest(W, X, count, drop=drop)

    monkeypatch.setattr(power_norms_module, "_running_norms", counted)
    together = power_norms(W, 400)
    assert calls == [(6, True), (1, False)]
    for i in range(len(W)):
        np.testing.assert_allclose(together.log10_norm[:, i], power_norms(W[i], 400).log10_norm, atol=1e-10)
