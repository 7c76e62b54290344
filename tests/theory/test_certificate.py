"""One certificate: sharp where theory says it is, never below what a product of slopes attains, at any grading."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.theory.certificate import certify, irreducible_parts
from gradscope.theory.scaled_norm import scaled_norm
from gradscope.theory.scaling_starts import perron_vector, scaled_matrix


def grcar(n, k=3):
    """Ones on the diagonal and k diagonals above it, −1 below: eigenvalues that rounding moves across the plane."""
    return -np.eye(n, k=-1) + sum(np.eye(n, k=j) for j in range(k + 1))


def chain(n, stay=0.6, forward=1.0, back=0.02):
    return stay * np.eye(n) + forward * np.eye(n, k=1) + back * np.eye(n, k=-1)


def test_grcar_vanishes_for_every_input():
    """S = diag(1.5^i) alone gives 0.90779; ρ = 0.905170254264 (Arb)."""
    W = 0.4 * grcar(100)
    x = np.log(1.5) * np.arange(100)
    assert np.linalg.norm(scaled_matrix(W, x), 2) == pytest.approx(0.90779, abs=5e-6)
    found = certify(W)
    assert 0.905170254264 < found.value < 0.9078
    assert found.sigma > 1.29


@pytest.mark.parametrize("n", [2, 16, 17, 32, 33, 64, 200, 900])
def test_a_nonnegative_chain_reaches_its_radius_at_every_size(n):
    """ρ = .6 + 2√.02 cos(π/(n+1)): the Perron vector is graded by 0.14 per unit, 10^-760 at n = 900."""
    expected = 0.6 + 2 * np.sqrt(0.02) * np.cos(np.pi / (n + 1))
    found = certify(chain(n), max_steps=0)
    assert expected * (1 - 1e-13) <= found.value <= expected + 2e-9
    assert found.scaled.value <= expected + 1e-6


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_reducible_matrix_is_worth_its_parts(sign):
    assert certify(0.9 * np.eye(64) + sign * np.eye(64, k=1)).value == pytest.approx(0.9, rel=1e-12)
    blocks = np.zeros((9, 9))
    blocks[:4, :4], blocks[4:, 4:] = 0.3, 0.8 * np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    blocks[:4, 4:] = 1e6
    found = certify(blocks)
    assert found.value == pytest.approx(1.2, rel=1e-12)
    assert found.scaled.value == pytest.approx(1.2, rel=1e-9)  # one S for all, which the bound at each lag uses
    assert certify(0.5 * blocks).value == pytest.approx(0.6, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spread", [10, 100, 300])
def test_a_hidden_scaling_of_any_size_is_found(seed, spread):
    """.8·S⁻¹QS with Q orthogonal and κ(S) up to 10^300, which no limit on κ(S) would allow."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    x = rng.permutation(np.linspace(-0.5, 0.5, 12)) * spread * np.log(10.0)
    W = scaled_matrix(0.8 * Q, x)
    # The entries of W are rounded, as seen in the good S by eps.
    assert 0.8 * (1 - 1e-12) <= certify(W).value <= 0.8 * (1 + 1e-6)


def test_the_value_holds_for_the_scaling_that_proves_it():
    """Rounded up: the norm in long double, of the S that is returned, is never above."""
    for seed in range(20):
        W = np.random.default_rng(seed).normal(size=(6, 6)) * 10.0 ** np.random.default_rng(seed).uniform(-3, 3, (6, 6))
        found = scaled_norm(W, max_steps=30)
        S = np.exp(found.log_scales.astype(np.longdouble))
        B = S[:, None] * W.astype(np.longdouble) / S
        v = np.ones(6, dtype=np.longdouble)
        for _ in range(400):
            v = B.T @ (B @ v)
            v /= np.sqrt(v @ v)
        assert np.sqrt((B @ v) @ (B @ v)) <= found.value


def test_collatz_wielandt_is_rounded_up():
    """The planted error: a hair below the exact radius would be seen. [[a, b], [c, a]]: a + √(bc)."""
    from mpmath import mp, mpf, sqrt

    with mp.workdps(40):
        for seed in range(50):
            a, b, c = np.random.default_rng(seed).uniform(0.1, 1, 3)
            exact = mpf(float(a)) + sqrt(mpf(float(b)) * mpf(float(c)))
            found = certify(np.array([[a, b], [c, a]]), max_steps=0)
            assert mpf(found.absolute_radius) >= exact
            assert mpf(found.value) >= exact
            assert mpf(found.absolute_radius) <= exact * (1 + mpf(10) ** -13)


@given(n=st.integers(1, 7), seed=st.integers(0, 10**6), gain=st.sampled_from([0.5, 1.0, 3.0]), sparse=st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_product_of_slopes_grows_faster(n, seed, gain, sparse):
    """ρ(D_k W ⋯ D_1 W)^(1/k) for vertices D, and ρ(|W|): one is below, the other not below a nonnegative W's."""
    rng = np.random.default_rng(seed)
    W = gain * rng.normal(size=(n, n)) / np.sqrt(n) * ((rng.random((n, n)) < 0.5) if sparse else 1.0)
    found = certify(W)
    assert found.value <= found.sigma
    for k in (1, 2, 5):
        product = np.eye(n)
        for _ in range(k):
            product = rng.integers(-1, 2, n)[:, None] * W @ product
        radius = np.abs(np.linalg.eigvals(product)).max()
        # Eigenvalues of a product that rounding has made: a nilpotent one of size n comes out at eps^(1/n).
        rounding = np.linalg.norm(W, 2) ** k * (20 * n * k * 2.2e-16) ** (1 / n)
        assert radius <= found.value**k * (1 + 1e-9) + rounding
    assert found.absolute_radius >= np.abs(np.linalg.eigvals(np.abs(W))).max() * (1 - 1e-6) - 1e-2 * (sparse)


def test_the_value_scales_with_the_matrix():
    W = np.random.default_rng(5).normal(size=(8, 8)) / np.sqrt(8)
    for exponent in (-900, -3, 0, 900):
        assert certify(np.ldexp(W, exponent), slope=1e-300).value == pytest.approx(
            np.ldexp(certify(W, slope=1e-300).value, exponent), rel=1e-12
        )
    assert certify(np.zeros((3, 3))).value == 0.0
    assert certify(np.array([[-0.3]])).value == 0.3


def test_parts_and_their_heights():
    A = np.zeros((5, 5))
    A[0, 1] = A[1, 0] = A[1, 2] = A[2, 3] = A[4, 4] = 1.0
    label, height = irreducible_parts(A)
    assert label[0] == label[1]
    assert len(set(label)) == 4
    assert height[label].tolist() == [2, 2, 1, 0, 0]


def test_noda_encloses_the_radius():
    A = np.random.default_rng(2).random((40, 40))
    _, high, low = perron_vector(A)
    radius = np.abs(np.linalg.eigvals(A)).max()
    assert low <= radius * (1 + 1e-13)
    assert radius * (1 - 1e-13) <= high <= radius * (1 + 1e-12)
