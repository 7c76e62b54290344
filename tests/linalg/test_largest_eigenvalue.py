"""Largest eigenvalues: ties, crossings, and starts orthogonal to the answer (theory N03)."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.linalg import lanczos, squaring
from gradscope.linalg.certificates import TOLERANCE, everything_else, nothing_above
from gradscope.linalg.gram import FULL_UP_TO, frobenius_squares, gram, gram_squares
from gradscope.linalg.largest_eigenvalue import Guess, largest_eigenvalues


def with_spectrum(values, rng):
    Q = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    G = (Q * values) @ Q.T
    return (G + G.T) / 2, Q


SPECTRA = {
    "separated": lambda r: 2.0 ** -np.arange(r),
    "flat": lambda r: np.ones(r),
    "pair": lambda r: np.r_[1.0, 1.0, np.linspace(0.9, 0, r - 2)],
    "gap 1e-9": lambda r: np.r_[1.0, 1 - 1e-9, np.linspace(0.9, 0, r - 2)],
    "gap 1e-4": lambda r: np.r_[1.0, 1 - 1e-4, np.linspace(0.9, 0, r - 2)],
    "crowded edge": lambda r: 1 - np.linspace(0, 1, r) ** 2,
    "rank one": lambda r: np.r_[1.0, np.zeros(r - 1)],
    "zero": lambda r: np.zeros(r),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(
    ("r", "stack"), [(1, 7), (2, 3), (7, 12), (20, 12), (33, 20), (60, 2), (60, 9), (100, 2), (260, 1)]
)
@pytest.mark.parametrize("start", ["random", "second vector", "zero"])
def test_every_road_finds_the_largest(name, r, stack, start):
    rng = np.random.default_rng(r)
    G, vectors = zip(*(with_spectrum(SPECTRA[name](max(r, 3))[:r], rng) for _ in range(stack)), strict=True)
    guess = {
        "random": rng.normal(size=(stack, r)),
        # Warm from a neighbouring problem in which another eigenvalue was the largest: a residual of zero.
        "second vector": np.stack([v[:, min(1, r - 1)] for v in vectors]),
        "zero": np.zeros((stack, r)),
    }[start]
    expected = np.maximum(np.linalg.eigvalsh(np.stack(G))[:, -1], 0)
    if r > FULL_UP_TO:
        G = [np.triu(matrix) for matrix in G]
    # Side by side, and one after the other.
    theta, following = largest_eigenvalues(np.stack(G)[None], Guess(guess))
    np.testing.assert_allclose(theta[0], expected, rtol=TOLERANCE, atol=1e-14)
    assert following.vectors.shape == (stack, r)
    np.testing.assert_allclose(largest_eigenvalues(np.stack(G)[None])[0][0], expected, rtol=TOLERANCE, atol=1e-14)
    theta, following = largest_eigenvalues(np.stack(G)[:, None], Guess(guess[:1], steps=6))
    np.testing.assert_allclose(theta[:, 0], expected, rtol=TOLERANCE, atol=1e-14)
    assert following.vectors.shape == (1, r)


def test_without_the_certificate_the_second_vector_wins(monkeypatch):
    """The planted error: accept any small residual, and a start at the second eigenvector is believed."""
    G = np.diag(np.linspace(1, 2, 80))[None, None]
    start = Guess(np.eye(80)[None, 40])
    assert largest_eigenvalues(G, start)[0][0, 0] == pytest.approx(2.0, rel=TOLERANCE)
    monkeypatch.setattr(lanczos, "nothing_above", lambda *_: True)
    monkeypatch.setattr(lanczos, "_little_of_everything", np.zeros)
    assert largest_eigenvalues(G, start)[0][0, 0] < 1.9


@pytest.mark.parametrize("r", [90, 260])
def test_a_start_in_an_invariant_subspace_is_not_believed(r, monkeypatch):
    """However special the start: what is left of ‖G‖_F owns up to the rest, and the decomposition decides."""
    monkeypatch.setattr(lanczos, "_little_of_everything", np.zeros)
    values = np.r_[1.0, 0.5, np.full(r - 2, 1e-3)]
    G = np.triu(np.diag(values))[None, None]
    theta, _, _ = lanczos.largest_by_lanczos(G[0], np.eye(r)[None, 1])
    assert np.isnan(theta).all()
    assert largest_eigenvalues(G, Guess(np.eye(r)[None, 1]))[0][0, 0] == pytest.approx(1.0, rel=TOLERANCE)


def test_in_step_with_others_that_end_sooner():
    """Zero, rank one, crowded and spread matrices in one stack: each gets its own answer."""
    r, rng = 100, np.random.default_rng(4)
    spectra = [
        SPECTRA[name](r) for name in ("zero", "rank one", "crowded edge", "separated", "pair", "gap 1e-9", "flat")
    ]
    G = np.stack([with_spectrum(values, rng)[0] for values in spectra])
    theta, vectors, steps = lanczos.largest_by_lanczos(G, rng.normal(size=(len(G), r)))
    known = ~np.isnan(theta)
    np.testing.assert_allclose(theta[known], [values.max() for values in np.array(spectra)[known]], rtol=TOLERANCE)
    # The edge is too crowded for 72 steps, a gap of 1e-9 for any certificate.
    assert known[[0, 1, 3]].all()
    assert np.isfinite(vectors).all()
    assert 0 < steps <= lanczos.MOST_STEPS


def test_neighbours_learn_how_many_steps_they_need():
    rng = np.random.default_rng(5)
    G = np.stack([with_spectrum(0.9 ** np.arange(100), rng)[0] for _ in range(3)])
    _, vectors, steps = lanczos.largest_by_lanczos(G, rng.normal(size=(3, 100)))
    _, _, again = lanczos.largest_by_lanczos(G, vectors, steps)
    assert again < steps


def test_the_certificate_refuses_what_is_not_largest():
    G = np.diag([2.0, *np.ones(99)])
    assert nothing_above(G, 2.0 * (1 + TOLERANCE))
    assert not nothing_above(G, 2.0 * (1 - 1e-10))
    assert not nothing_above(G, 1.0)


def test_the_bound_on_everything_else_holds():
    """Lanczos vectors in which the largest eigenvalue cannot be seen: their complement must own up to it."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        G, V = with_spectrum(2.0 ** -np.arange(40), rng)
        q = V[:, 1:] @ rng.normal(size=39)
        Q, T = [q / np.linalg.norm(q)], np.zeros((7, 7))
        for _ in range(6):
            w = G @ Q[-1]
            w -= np.array(Q).T @ (np.array(Q) @ w)
            w -= np.array(Q).T @ (np.array(Q) @ w)
            Q.append(w / np.linalg.norm(w))
        T = np.array(Q) @ G @ np.array(Q).T
        # The seventh vector only measures β_6.
        (above,) = everything_else(np.array([np.vdot(G, G)]), np.diag(T)[None, :6], np.diag(T, 1)[None, :6])
        rest = np.eye(40) - np.array(Q[:6]).T @ np.array(Q[:6])
        assert above >= np.linalg.norm(rest @ G @ rest, 2) >= 0.999
        assert above == pytest.approx(np.linalg.norm(rest @ G @ rest), rel=1e-6)


@pytest.mark.parametrize("r", [1, 3, 64, 65, 90, FULL_UP_TO, FULL_UP_TO + 1])
def test_gram_matrices_are_full_or_upper_triangles(r):
    X = np.random.default_rng(r).normal(size=(2, 3, r, 100))
    G = gram(X[..., 5:80])
    full = X[..., 5:80] @ np.swapaxes(X[..., 5:80], -1, -2)
    np.testing.assert_allclose(G, full if r <= FULL_UP_TO else np.triu(full), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gram_squares(G[1]), np.linalg.norm(full[1], axis=(-2, -1)) ** 2, rtol=1e-13)
    np.testing.assert_allclose(frobenius_squares(X[..., 5:80]), np.einsum("sbii->sb", full), rtol=1e-13)
    room = np.full((2, 6, r, r), np.nan)
    assert np.array_equal(gram(X[..., 5:80], out=room[:, 3:]), G)
    assert np.array_equal(room[:, 3:], G)


@pytest.mark.parametrize("scale", [1e-60, 1.0, 1e60])
def test_a_stack_of_all_sorts_from_useless_guesses(scale):
    """Zeros beside others; guesses that G maps to zero exactly, whose residual is zero; every power of the ladder."""
    r = 20
    spectra = [
        np.zeros(r),
        np.r_[1.0, np.zeros(r - 1)],
        *(np.r_[1.0, 1 - g, np.zeros(r - 2)] for g in np.logspace(-9, -1)),
    ]
    G = scale * np.stack([np.diag(values) for values in spectra])
    theta, guess = largest_eigenvalues(G[None], Guess(np.tile(np.eye(r)[5], (len(G), 1))))
    np.testing.assert_allclose(theta[0], [0.0, *np.full(len(G) - 1, scale)], rtol=TOLERANCE)
    assert np.isfinite(guess.vectors).all()
    theta, _ = largest_eigenvalues(G[None])
    np.testing.assert_allclose(theta[0], [0.0, *np.full(len(G) - 1, scale)], rtol=TOLERANCE)


def test_the_bound_on_the_others_holds_at_every_power():
    """(μ/θ)^2h ≤ share, for the second eigenvalue and any θ ≤ λ₁; just above it no share would certify a gap."""
    values = np.r_[1.0, 0.97, np.linspace(0.9, 0, 10)]
    for held, _ in squaring.POWERS:
        for scale in (0.5, 1.0, 3.0):
            squares = np.array([np.sum((values / scale) ** (2 * held))])
            others = squaring._Others(held, np.array([scale]), squares)
            for theta in (1.0, 0.98, 0.5):
                assert others.share(np.array([theta]))[0] >= (0.97 / theta) ** (2 * held) * (1 - 1e-9)
            assert others.share(np.array([0.97]))[0] >= 1.0
