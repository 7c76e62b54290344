"""C04: is an eigenvalue "either above 1 or below 1", so that gradients always vanish or explode?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.article_claims.claim import Claim, Experiment, Finding, Line, Picture
from gradscope.article_claims.runs import (
    ROUNDING,
    claim_generator,
    jordan,
    jordan_power,
    log_norms,
    rnn,
    run,
    spectral_norm,
)
from gradscope.jacobians.step_jacobian import Array
from gradscope.sources.ensembles import orthogonal

STEPS = 100
#: |λ₁|T below one decade over the whole run is neither vanishing nor exploding.
TOLERANCE = float(np.log(10.0))


@dataclass(frozen=True)
class Growth:
    """Which of two laws fits the later half of ln‖P_k‖ better, and with which slope."""

    kind: str
    rate: float
    power: float


def growth_of(log_norm: Array) -> Growth:
    """vanishing, exploding, neutral; or polynomial, when ln k fits better than k by AIC (two parameters each)."""
    k = np.arange(len(log_norm), dtype=np.float64)
    later = slice(len(k) // 2, None)
    y = log_norm[later]
    (rate, _), exponential = _fit(k[later], y)
    (power, _), polynomial = _fit(np.log(k[later]), y)
    moved = float(np.ptp(y)) > 1e-6
    # AIC differs by m·ln(RSS ratio); two units are "considerably less support" (Burnham and Anderson 2002).
    if moved and len(y) * np.log(max(exponential, 1e-300) / max(polynomial, 1e-300)) > 2:
        return Growth("polynomial", rate, power)
    if abs(rate) * (len(k) - 1) < TOLERANCE:
        return Growth("neutral", rate, power)
    return Growth("exploding" if rate > 0 else "vanishing", rate, power)


def _fit(x: Array, y: Array) -> tuple[Array, float]:
    coefficients = np.polyfit(x, y, 1)
    return coefficients, float(np.sum((np.polyval(coefficients, x) - y) ** 2))


def experiment(seed: int) -> Finding:
    """Three classes and a polynomial one, on matrices whose answer is known."""
    rng, found = claim_generator(seed, "C04"), Experiment()
    Q = orthogonal(rng, 24, 1.0)
    cases = {
        "orthogonal W, all |λ| = 1": (Q, "neutral"),
        "|λ| = 0.999, T|ln λ| = 0.1": (0.999 * Q, "neutral"),
        "|λ| = 1.001, T|ln λ| = 0.1": (1.001 * Q, "neutral"),
        "|λ| = 0.9, T|ln λ| = 10.5": (0.9 * Q, "vanishing"),
        "|λ| = 1.1, T|ln λ| = 9.5": (1.1 * Q, "exploding"),
        "Jordan(1, n=3), all λ = 1": (jordan(1.0, 3), "polynomial"),
    }
    courses = {name: log_norms(run(rnn(W, activation="identity"), STEPS))[:, 0] for name, (W, _) in cases.items()}
    kinds = {name: growth_of(course).kind for name, course in courses.items()}
    for name, (_, kind) in cases.items():
        found.equal(f"{name}: is {kind}", float(kinds[name] == kind), 1.0)
    flat = float(np.max(np.abs(courses["orthogonal W, all |λ| = 1"])))
    found.equal("orthogonal W: largest |ln norm| up to lag 100", flat, 0.0, allowance=ROUNDING)
    long = log_norms(run(rnn(jordan(1.0, 3), activation="identity"), 2000))[:, 0]
    found.equal("Jordan(1, n=3): norm at lag 2000 over k²/2", np.exp(long[2000]) / (2000**2 / 2), 1.0, allowance=0.01)
    closed = np.log(spectral_norm(jordan_power(1.0, 3, 2000)))
    found.equal("… its logarithm, binomial formula beside", long[2000], closed, allowance=ROUNDING)
    power = growth_of(long).power
    found.equal("… power of the lag", power, 2.0, allowance=0.01)
    found.draw(
        Picture(
            "middle",
            "Between vanishing and exploding: moduli at 1, near 1, and growth by a power",
            "Norm of the gradient of linear networks against the lag.",
            "lag k",
            "norm of the gradient",
            tuple(Line(name.partition(", T")[0], range(STEPS + 1), y / np.log(10)) for name, y in courses.items()),
            powers=True,
        )
    )
    return found.finding(
        f"orthogonal: |ln norm| ≤ {flat:.0e} to lag {STEPS}: neutral; |λ|=0.999 neutral; 0.9 vanishes, 1.1 explodes; "
        f"Jordan(1, n=3) grows as k^{power:.3f}",
        "norm 1 at every lag; neutral while T|ln|λ|| < ln 10; k²",
        f"An orthogonal W keeps the norm at 1 to {flat:.0g}; moduli of 0.999 and 1.001 take it to "
        f"{np.exp(courses['|λ| = 0.999, T|ln λ| = 0.1'][STEPS]):.2f} and "
        f"{np.exp(courses['|λ| = 1.001, T|ln λ| = 0.1'][STEPS]):.2f}, 0.9 and 1.1 to "
        f"{np.exp(courses['|λ| = 0.9, T|ln λ| = 10.5'][STEPS]):.0g} and "
        f"{np.exp(courses['|λ| = 1.1, T|ln λ| = 9.5'][STEPS]):.0g}. A Jordan block with eigenvalue 1 grows as "
        f"k^{power:.2f}.",
    )


CLAIM = Claim(
    "C04",
    "An eigenvalue is either above 1 or below 1, so the gradient always either vanishes or explodes.",
    "false",
    experiment,
    "The norm over 100 steps of linear networks with eigenvalues on the unit circle, near it and away from it.",
    "There is a middle: moduli of 1 (orthogonal W), moduli so near 1 that the length of the sequence does not tell "
    "them from it, and growth by a power of the lag.",
)
