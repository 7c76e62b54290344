"""C01: do the eigenvalues of W decide?"""

from __future__ import annotations

import numpy as np
from scipy.linalg import circulant
from scipy.optimize import brentq

from gradscope.article_claims.claim import Claim, Experiment, Finding, Line, Picture
from gradscope.article_claims.runs import (
    ROUNDING,
    claim_generator,
    gaussian,
    jordan,
    jordan_power,
    leading_exponent,
    log_norms,
    rnn,
    run,
    spectral_norm,
)
from gradscope.numerics.tape import tape_of_matrices
from gradscope.sources.ensembles import orthogonal
from gradscope.theory.eigen import eigendecompose


def experiment(seed: int) -> Finding:
    """Where D_k = I they decide in the long run; elsewhere they are wrong both ways."""
    rng, found = claim_generator(seed, "C01"), Experiment()
    _where_they_decide(rng, found)
    W = jordan(0.9, 4)
    courses = {"W with all eigenvalues 0.9": log_norms(run(rnn(W, activation="identity"), 60))[:, 0]}
    at_60 = np.exp(courses["W with all eigenvalues 0.9"][60] / 60)
    found.equal(
        "Jordan(0.9, n=4): ‖W^60‖^(1/60), closed form beside (ρ = 0.9)",
        at_60,
        spectral_norm(jordan_power(0.9, 4, 60)) ** (1 / 60),
        allowance=ROUNDING,
    )
    found.at_least("… above 1 although ρ = 0.9", at_60, 1.05)
    h = brentq(lambda h: np.tanh(2 * h) - h, 0.5, 1.0, xtol=1e-15)
    settled = leading_exponent(run(rnn([[2.0]]), 500, state=h), rng)[0]
    courses["tanh unit, w = 2"] = log_norms(run(rnn([[2.0]]), 60, state=h))[:, 0]
    found.equal(
        "one tanh unit, w = 2: exponent at rest, h = tanh 2h", settled, np.log(2 * (1 - h**2)), allowance=ROUNDING
    )
    nilpotent = np.array([[[0.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 0.0]]])
    courses["two W in turn, all eigenvalues 0"] = log_norms(tape_of_matrices(np.tile(nilpotent, (50, 1, 1))))[:, 0]
    up = courses["two W in turn, all eigenvalues 0"][100] / 100
    found.equal("two alternating factors, each ρ = 0: ln norm per step", up, np.log(2), allowance=ROUNDING)
    expanding = np.array([np.diag([2.0, 0.125]), np.diag([0.125, 2.0])])
    courses["two W in turn, largest eigenvalue 2"] = log_norms(tape_of_matrices(np.tile(expanding, (50, 1, 1))))[:, 0]
    down = courses["two W in turn, largest eigenvalue 2"][100] / 100
    found.equal("two alternating factors, each ρ = 2: ln norm per step", down, -np.log(2), allowance=ROUNDING)
    # Unit 2 is saturated at 1 and unit 1 rests at 0, so D = diag(1, ~0) and D W = [[2, 1], [0, 0]].
    W = np.array([[2.0, 1.0], [-4.0, -2.0]])
    found.equal("nilpotent W: ‖W²‖", spectral_norm(W @ W), 0.0)
    saturated = log_norms(run(rnn(W, bias=[-1.0, 40.0]), 50, state=np.array([0.0, 1.0])))[50, 0]
    found.equal(
        "… with one saturated unit: ln norm at lag 50 is ln(√5·2^49)",
        saturated,
        np.log(np.sqrt(5)) + 49 * np.log(2),
        allowance=ROUNDING,
    )
    found.draw(
        Picture(
            "eigenvalues",
            "Eigenvalues of 0.9 and of 0 that grow, eigenvalues of 2 that shrink",
            "Norm of the gradient of four networks whose eigenvalues say the opposite.",
            "lag k",
            "norm of the gradient",
            tuple(Line(name, range(61), course[:61] / np.log(10)) for name, course in courses.items()),
            powers=True,
        )
    )
    return found.finding(
        f"ρ=0.9 grows ×{at_60:.4f} a step to lag 60; w=2 has exponent {settled:.4f}; "
        f"factors with ρ=0 give {up:+.4f}, with ρ=2 {down:+.4f}; linear, orthogonal and circulant W follow ρ",
        f"1.0768; {np.log(2 * (1 - h**2)):.4f}; +ln 2 and −ln 2; ρ decides only for D=I and lag → ∞",
        f"A W with all its eigenvalues at 0.9 made the gradient grow by {at_60:.3f} a step for 60 steps; a tanh unit "
        f"with w = 2 multiplied it by {np.exp(settled):.3f} a step; two alternating matrices with no eigenvalue but "
        f"0 multiplied it by {np.exp(up):.3f}, two with an eigenvalue of 2 by {np.exp(down):.3f}.",
    )


def _where_they_decide(rng: np.random.Generator, found: Experiment) -> None:
    """Linear networks: ρ^k ≤ ‖W^k‖ ≤ κ(P)ρ^k, so (ln‖W^T‖)/T lies within ln κ(P)/T of ln ρ."""
    for gain in (0.8, 1.3):
        W = gaussian(rng, 24, 24, gain=gain)
        known = eigendecompose(W)
        assert known.log10_condition is not None
        slope = log_norms(run(rnn(W, activation="identity"), 1000))[1000, 0] / 1000
        slack = known.log10_condition * np.log(10) / 1000
        found.equal(
            f"linear, gain {gain}: ln norm per step at lag 1000 is ln ρ, to ln κ(P)/1000",
            slope,
            np.log(known.spectral_radius),
            allowance=slack + ROUNDING,
        )
    Q = orthogonal(rng, 24, 1.0)
    found.equal(
        "orthogonal W: ln norm at lag 200",
        log_norms(run(rnn(Q, activation="identity"), 200))[200, 0],
        0.0,
        allowance=ROUNDING,
    )
    C = circulant(rng.standard_normal(12) / 4)
    radius = float(np.abs(np.fft.fft(C[:, 0])).max())
    found.equal(
        "circulant W: ln norm per step is ln ρ at every lag",
        float(np.max(np.abs(log_norms(run(rnn(C, activation="identity"), 50))[:, 0] - np.arange(51) * np.log(radius)))),
        0.0,
        allowance=50 * ROUNDING,
    )


CLAIM = Claim(
    "C01",
    "Eigenvalues of W above 1 make the gradient explode, below 1 make it vanish.",
    "conditional",
    experiment,
    "The norm of ∂h_t/∂h_(t−k) at every lag k of small networks whose eigenvalues are known exactly.",
    "Eigenvalues decide for one W without tanh, at long lags: the norm of W^k lies between ρ^k and κ(P)·ρ^k (ρ the "
    "largest modulus, κ(P) the condition of the eigenvectors). Eigenvectors that are not orthogonal, and the slopes "
    "tanh′, can turn either verdict round.",
)
