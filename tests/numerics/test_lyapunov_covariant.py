"""Covariant vectors: eigenvectors where there are any, covariance along random products, exponents both ways."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradscope.errors import UntrustedNumbersError, UsageError
from gradscope.numerics.covariant import covariant_vectors
from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.tape import tape_of_matrices


def random_steps(seed, n_steps, batch, n):
    """Products with well separated exponents, far from normal."""
    rng = np.random.default_rng(seed)
    return np.diag(np.geomspace(2.0, 0.1, n)) @ (np.eye(n) + 0.3 * rng.standard_normal((n_steps, batch, n, n)))


@pytest.mark.parametrize("n", [2, 5])
def test_covariant_vectors_of_one_matrix_are_its_eigenvectors(n):
    """Alignment leaves (λ_{i+1}/λ_i)^100 < 1e-13 of each other vector; eigenvectors have condition κ(P) < 1e2."""
    rng = np.random.default_rng(n)
    values = np.geomspace(1.5, 0.2, n)
    P = rng.standard_normal((n, n)) + np.eye(n)
    P /= np.linalg.norm(P, axis=0)
    W = P @ np.diag(values) @ np.linalg.inv(P)
    found = covariant_vectors(tape_of_matrices(np.broadcast_to(W, (400, n, n))))
    cosines = np.abs(np.einsum("tbij,ij->tbj", found.vectors, P))
    assert np.abs(1.0 - cosines).max() < 1e-12
    np.testing.assert_allclose(found.exponents[0], np.log(values), rtol=0, atol=1e-10)
    # arccos near 1 would lose half the digits; these angles are far from 0.
    np.testing.assert_allclose(np.cos(found.angles[0]), np.abs(P.T @ P), rtol=0, atol=1e-10)


def test_splitting_angle_of_a_known_matrix():
    """Eigenvectors (1, 0) and (1, 1)/√2: 45 degrees between growth and decay."""
    W = np.array([[2.0, -1.5], [0.0, 0.5]])
    found = covariant_vectors(tape_of_matrices(np.broadcast_to(W, (200, 2, 2))))
    assert found.splitting_angle[0] == pytest.approx(math.pi / 4, abs=1e-12)
    assert found.smallest_angles[0, 0, 1] == pytest.approx(math.pi / 4, abs=1e-12)


def test_a_normal_matrix_has_orthogonal_ones():
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    W = Q @ np.diag([2.0, 1.1, 0.6, 0.2]) @ Q.T
    found = covariant_vectors(tape_of_matrices(np.broadcast_to(W, (300, 4, 4))))
    np.testing.assert_allclose(found.angles[0] + math.pi / 2 * np.eye(4), math.pi / 2, atol=1e-7)


def test_jacobians_carry_the_vectors_into_each_other():
    """J_t v_i(t−1) ∥ v_i(t) at every step, and ln |γ_i| averages to the exponent."""
    matrices = random_steps(1, 200, 2, 4)
    found = covariant_vectors(tape_of_matrices(matrices))
    assert found.steps.tolist() == list(range(50, 151))
    grown = matrices[50:150] @ found.vectors[:-1]
    gains = np.linalg.norm(grown, axis=-2)
    cosines = np.abs(np.sum(grown / gains[..., None, :] * found.vectors[1:], axis=-2))
    assert np.abs(1.0 - cosines).max() < 1e-12
    np.testing.assert_allclose(found.exponents, np.log(gains).mean(axis=0), rtol=0, atol=1e-12)


def test_exponents_agree_with_qr():
    """Over the same window both averages differ by what angles at its two ends contribute, O(1/T)."""
    matrices = random_steps(2, 4000, 1, 3)
    found = covariant_vectors(tape_of_matrices(matrices), align=100)
    measured = measure_lyapunov(tape_of_matrices(matrices[100:-100]))
    np.testing.assert_allclose(found.exponents, measured.exponents, rtol=0, atol=5.0 / 3800)


def test_leading_vectors_are_those_of_the_full_set():
    tape = tape_of_matrices(random_steps(3, 300, 1, 5))
    full, some = covariant_vectors(tape, keep=7), covariant_vectors(tape, k=2, keep=7)
    assert full.vectors.shape == (7, 1, 5, 5)
    cosines = np.abs(np.sum(full.vectors[..., :2] * some.vectors, axis=-2))
    assert np.abs(1.0 - cosines).max() < 1e-12


def test_annihilated_directions_have_no_vectors():
    matrices = random_steps(4, 200, 1, 4)
    matrices[:, :, 3] = 0.0
    found = covariant_vectors(tape_of_matrices(matrices))
    assert found.vectors.shape[-1] == 3
    assert np.isfinite(found.vectors).all()
    with pytest.raises(UntrustedNumbersError, match="annihilated"):
        covariant_vectors(tape_of_matrices(np.zeros((40, 2, 2))))


def test_steps_of_very_different_size():
    """Powers of two on every step change neither vectors nor angles."""
    matrices = random_steps(5, 120, 1, 3)
    powers = np.random.default_rng(0).integers(-900, 900, 120)
    plain = covariant_vectors(tape_of_matrices(matrices))
    scaled = covariant_vectors(tape_of_matrices(np.ldexp(matrices, powers[:, None, None, None])))
    np.testing.assert_allclose(scaled.vectors, plain.vectors, rtol=0, atol=1e-11)


def test_questions_that_cannot_be_answered():
    tape = tape_of_matrices(random_steps(6, 20, 1, 3))
    with pytest.raises(UsageError, match=r"1 … 3"):
        covariant_vectors(tape, k=4)
    with pytest.raises(UsageError, match="window"):
        covariant_vectors(tape, align=10)
