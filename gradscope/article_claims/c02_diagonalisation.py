"""C02: W = P⁻¹ΣP, so W^T is governed by λ^T?"""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding, Line, Picture, estimate
from gradscope.article_claims.runs import (
    ROUNDING,
    claim_generator,
    gaussian,
    jordan,
    jordan_power,
    log_norms,
    rnn,
    run,
    spectral_norm,
)
from gradscope.jacobians.step_jacobian import Array
from gradscope.theory.eigen import eigendecompose
from gradscope.theory.kreiss import kreiss_constant
from gradscope.theory.non_normality import normal_surrogate
from gradscope.theory.numerical_range import numerical_radius
from gradscope.theory.powers import peak_power

LAGS = 60


def experiment(seed: int) -> Finding:
    """The prefactor κ(P) is the story at finite lag, a defective W has none; the normal surrogate is the control."""
    rng, found = claim_generator(seed, "C02"), Experiment()
    W = jordan(0.9, 4)
    peak = peak_power(W)
    assert peak is not None
    closed = [spectral_norm(jordan_power(0.9, 4, k)) for k in range(120)]
    found.equal("Jordan(0.9, n=4): lag of the peak of ‖W^k‖", peak.k, int(np.argmax(closed)))
    found.equal("… its height, from C(k, j)λ^(k−j) beside", 10**peak.log10_norm, max(closed), allowance=1e-6)
    kreiss = kreiss_constant(W)
    assert kreiss is not None
    found.equal("… its Kreiss constant", kreiss.value, 107.3836, allowance=1e-3)
    found.equal(
        "… its numerical radius 0.9 + cos(π/5)", numerical_radius(W).value, 0.9 + np.cos(np.pi / 5), allowance=1e-8
    )
    found.equal("… is diagonalisable", float(eigendecompose(W).diagonalizable), 0.0)
    control = log_norms(run(rnn(np.real(normal_surrogate(W)), activation="identity"), LAGS))[:, 0]
    found.equal(
        "its normal surrogate (same eigenvalues): largest departure of ln norm from k ln 0.9",
        float(np.max(np.abs(control - np.arange(LAGS + 1) * np.log(0.9)))),
        0.0,
        allowance=LAGS * ROUNDING,
    )
    found.draw(_picture(W))
    above, below, prefactors, departures = [], [], [], []
    for _ in range(12):
        G = gaussian(rng, 50, 50)
        known = eigendecompose(G)
        assert known.log10_condition is not None
        powers = log_norms(run(rnn(G, activation="identity"), LAGS))[:, 0]
        excess = powers - np.arange(LAGS + 1) * np.log(known.spectral_radius)
        above.append(float(excess.max()))
        below.append(float(excess.min()))
        prefactors.append(known.log10_condition)
        departures.append(known.henrici)
    found.at_least("12 gaussian W: least ln(‖W^k‖/ρ^k)", min(below), 0.0, allowance=LAGS * ROUNDING)
    over = float(np.max(np.array(above) - np.log(10) * np.array(prefactors)))
    found.at_most("12 gaussian W: largest ln(‖W^k‖/ρ^k) over ln κ(P)", over, 0.0, allowance=LAGS * ROUNDING)
    # Finite size shifts the mean by O(1/N): 0.7070 at N = 50 against 0.7071, well inside the allowance.
    departure, prefactor = estimate(departures), estimate(np.exp(above))
    found.equal("gaussian W: mean Henrici departure, limit 1/√2", departure, np.sqrt(0.5), allowance=0.02)
    found.at_least("12 gaussian W: mean transient prefactor max ‖W^k‖/ρ^k", prefactor, 1.5)
    return found.finding(
        f"Jordan(0.9): ρ<1, yet ‖W^k‖ peaks at {10**peak.log10_norm:.2f} (k={peak.k}); normal surrogate: no transient; "
        f"12 gaussian W: prefactor {prefactor:.2f} ≤ κ(P) = 10^({estimate(prefactors):.1f}), "
        f"departure {departure:.4f}",
        "peak 238.45 at k=29; surrogate 0.9^k; ρ^k ≤ ‖W^k‖ ≤ κ(P)ρ^k; departure 0.7071",
        f"The Jordan block's powers climb to {10**peak.log10_norm:.0f} at k = {peak.k} before they decay; its twin "
        f"stays within {float(np.max(np.abs(control - np.arange(LAGS + 1) * np.log(0.9)))):.0g} nats of 0.9^k. "
        f"Random W rise {np.exp(np.mean(above)):.1f} times above their eigenvalues.",
    )


def _picture(W: Array) -> Picture:
    """‖W^k‖ beside that of the matrix with the same eigenvalues and orthogonal eigenvectors."""
    pair = {"W, a Jordan block": W, "the same eigenvalues, orthogonal eigenvectors": np.real(normal_surrogate(W))}
    courses = {name: log_norms(run(rnn(A, activation="identity"), 150))[:, 0] for name, A in pair.items()}
    return Picture(
        "transient",
        "Every eigenvalue is 0.9, and the powers of W grow first",
        "Norm of the powers of a Jordan block, and of a matrix with the same eigenvalues that is normal.",
        "power k",
        "norm of W^k",
        tuple(Line(name, range(151), course / np.log(10)) for name, course in courses.items()),
        powers=True,
    )


CLAIM = Claim(
    "C02",
    "W = P⁻¹ΣP, so W to the power T is governed by the eigenvalues to the power T.",
    "conditional",
    experiment,
    "The norm of W^k for a Jordan block with eigenvalue 0.9 and for a matrix with the same eigenvalues but "
    "orthogonal eigenvectors; then for twelve random W.",
    "Eigenvalues govern W^k in the long run. Before that the norm may grow, at most by the condition κ(P) of the "
    "eigenvectors, and without any such limit where W cannot be diagonalised. ‖W^k‖ = ρ^k holds for normal W, those "
    "with orthogonal eigenvectors.",
)
