"""C25: is a network easy to train once its gradients neither vanish nor explode? Memory against sensitivity."""

from __future__ import annotations

import numpy as np

from gradscope.article_claims.claim import Claim, Estimate, Experiment, Finding, Line, Picture
from gradscope.article_claims.runs import claim_generator, log_norms, rnn, run
from gradscope.cells.lru import Lru
from gradscope.jacobians.step_jacobian import Array
from gradscope.networks.layer import Layer
from gradscope.networks.trajectory import Trajectory
from gradscope.networks.weight_sensitivity import measure_weight_sensitivity, plan_sensitivity

#: The decays measured, the steps after which E(∂h/∂λ)² is its limit to 1e-5, and how many sequences are averaged.
DECAYS, STEPS = (0.5, 0.9, 0.98), {0.5: 30, 0.9: 120, 0.98: 700}
SEQUENCES = {0.5: 20_000, 0.9: 8000, 0.98: 2500}


def squared_sensitivity(tape: Trajectory) -> Array:
    """(∂h_T/∂w)² of the one recurrent weight of a unit, sequence by sequence."""
    plan = plan_sensitivity(tape, [tape.n_steps], 2**28)
    found = measure_weight_sensitivity(tape, [tape.n_steps], plan)
    return np.asarray(10.0 ** (2.0 * found.log10_norms["weight_hh"][0]))


def law(decay: float) -> float:
    """E(∂h/∂λ)² = (1+λ²)/(1−λ²)³ of h = λh + x, x white of variance 1 (Zucchet and Orvieto 2024)."""
    return (1 + decay**2) / (1 - decay**2) ** 3


def linear_unit(decay: float, input_weight: float = 1.0) -> Layer:
    """h_t = λ h_{t−1} + u x_t, λ itself the weight."""
    return rnn([[decay]], activation="identity", weight_ih=[[input_weight]])


def reparametrised_unit(decay: float) -> Layer:
    """The same with λ = exp(−e^ν), ν the weight, and u = √(1−λ²): an lru of one real unit."""
    nu = np.array([[np.log(-np.log(decay))]])
    return Layer(Lru(np.array([[np.sqrt(1 - decay**2)]]), nu, np.zeros(1)))


def experiment(seed: int) -> Finding:
    """Gradients by states never exceed 1 while those by λ grow with memory; two changes of variables undo it."""
    rng, found = claim_generator(seed, "C25"), Experiment()
    _against_complex_steps(rng, found)
    plain, normalised, cured = [], [], []
    for decay in DECAYS:
        x = rng.standard_normal((STEPS[decay], SEQUENCES[decay], 1))
        tape = run(linear_unit(decay), x)
        if decay == DECAYS[-1]:
            lags = log_norms(run(linear_unit(decay), x[:, :1]), anchor="end")[:, 0]
            off = float(np.abs(lags - np.arange(len(lags)) * np.log(decay)).max())
            found.at_most(f"λ = {decay:g}: ln ‖∂h_t/∂h_i‖ against k ln λ at every lag", off, 1e-9)
        # ∂h/∂λ is a sum of inputs, Gaussian: its square has variance 2 E².
        plain.append(_mean(found, "λ itself", decay, squared_sensitivity(tape), law(decay)))
        scaled = run(linear_unit(decay, float(np.sqrt(1 - decay**2))), x)
        expected = law(decay) * (1 - decay**2)
        normalised.append(_mean(found, "λ itself, input √(1−λ²)", decay, squared_sensitivity(scaled), expected))
        reparametrised = run(reparametrised_unit(decay), x)
        expected *= (decay * np.log(decay)) ** 2
        squares = squared_sensitivity(reparametrised)
        cured.append(_mean(found, "ν of λ = exp(−e^ν), input √(1−λ²)", decay, squares, expected))
    memory = 1 / (1 - np.array(DECAYS))
    found.at_least("growth of E(∂h/∂λ)² from λ = .5 to .98", plain[-1].mean / plain[0].mean, 1000)
    found.at_most("… of E(∂h/∂ν)² with normalised input", cured[-1].mean / cured[0].mean, 2.5)
    found.draw(
        Picture(
            "sensitivity",
            "Sensitivity grows with memory, unless λ is reparametrised",
            "Mean square of the derivative of h by its recurrent weight, white inputs.",
            "memory 1/(1−λ) (steps)",
            "mean square of dh/dθ",
            tuple(
                Line(name, memory, [float(np.log10(value.mean)) for value in values])
                for name, values in (
                    ("λ itself", plain),
                    ("input times √(1−λ²)", normalised),
                    ("and λ = exp(−e^ν)", cured),
                )
            ),
            powers=True,
        )
    )
    values, laws = (", ".join(f"{value:.4g}" for value in row) for row in ([v.mean for v in plain], map(law, DECAYS)))
    return found.finding(
        f"E(∂h/∂λ)² = {values} at λ = .5, .9, .98 (law: {laws}), while ‖∂h_t/∂h_i‖ = λ^k; "
        f"reparametrised, with normalised input {', '.join(f'{value.mean:.3g}' for value in cured)}",
        "(1+λ²)/(1−λ²)³ = 2.963, 263.9, 3.16e4; reparametrised at most about 1/2",
        f"The mean square of ∂h/∂λ is {values} at λ = .5, .9 and .98, although no gradient by a state ever exceeds 1. "
        "With λ = exp(−e^ν) and inputs scaled by √(1−λ²) it stays below 0.6.",
    )


def _mean(found: Experiment, what: str, decay: float, squares: Array, expected: float) -> Estimate:
    """Held against the law to 4.5 standard errors; the mean and its interval."""
    return found.mean(f"{what}, λ = {decay:g}: mean square", squares, expected, variance=2 * expected**2)


def _against_complex_steps(rng: np.random.Generator, found: Experiment) -> None:
    """∂h_T/∂λ and ∂h_T/∂ν of one sequence, by moving λ or ν in the imaginary direction."""
    decay, x = 0.9, rng.standard_normal(60)

    def last(eigenvalue: complex, scale: complex) -> complex:
        h = 0j
        for value in x:
            h = eigenvalue * h + scale * value
        return h

    nu, scale = np.log(-np.log(decay)), np.sqrt(1 - decay**2)
    exact = last(decay + 1e-30j, 1.0).imag / 1e-30
    moved = np.exp(-np.exp(nu + 1e-30j))
    exact_nu = last(complex(moved), scale).imag / 1e-30
    drive = x[:, None, None]
    for what, network, truth in (
        ("λ", linear_unit(decay), exact),
        ("ν", reparametrised_unit(decay), exact_nu),
    ):
        measured = float(np.sqrt(squared_sensitivity(run(network, drive))[0]))
        found.at_most(f"|∂h_60/∂{what}| against a complex step, relative", abs(measured / abs(truth) - 1), 1e-10)


CLAIM = Claim(
    "C25",
    "(Implicit) With gradients that neither vanish nor explode, a long memory is easy to learn.",
    "conditional",
    experiment,
    "Mean square of ∂h/∂λ in h = λh + x with white inputs, for λ = .5, .9 and .98, beside ‖∂h_t/∂h_i‖; the same with "
    "inputs scaled by √(1−λ²), and with λ = exp(−e^ν).",
    "A gradient by states that is bounded leaves the one by weights free to grow with memory, like (1−λ)^−3 in mean "
    "square: the loss becomes too sharp for one learning rate. Scaled inputs and a suitable parametrisation undo it.",
)
