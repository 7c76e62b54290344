"""Participation: what an eigenvalue gains when a unit hears itself a little more, measured by perturbation."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

import gradscope
from gradscope.cli import run
from gradscope.theory.eigen import eigendecompose
from gradscope.theory.participation import SLOW_MODES, slow_modes

Array = Any


def perturbed(W: Array, eigenvalue: complex, i: int) -> complex:
    """∂λ/∂W_ii by a finite step in 60 digits, of the eigenvalue nearest to ``eigenvalue``."""
    with mpmath.workdps(60):
        found = []
        for step in (mpmath.mpf(0), mpmath.mpf(10) ** -25):
            A = mpmath.matrix(W.tolist())
            A[i, i] += step
            values = mpmath.eig(A, left=False, right=False)
            found.append(min(values, key=lambda z: abs(z - mpmath.mpc(eigenvalue))))
        return complex((found[1] - found[0]) * mpmath.mpf(10) ** 25)


@pytest.mark.parametrize("seed", [0, 1])
def test_shares_are_those_of_the_eigenvalues_sensitivity(seed: int) -> None:
    W = np.random.default_rng(seed).normal(size=(5, 5))
    modes = slow_modes(eigendecompose(W))
    assert modes
    for mode in modes:
        exact = np.abs([perturbed(W, mode.eigenvalue, i) for i in range(5)])
        assert mode.participation == pytest.approx(exact / exact.sum(), abs=1e-10)
        assert W @ mode.eigenvector == pytest.approx(mode.eigenvalue * mode.eigenvector, abs=1e-12)
        assert mode.eigenvalue.imag >= 0


def test_all_units_alike_or_one_alone() -> None:
    alike = np.full((4, 4), 0.2)  # one mode of 0.8 in all units
    (first, *_) = slow_modes(eigendecompose(alike))
    assert first.units == pytest.approx(4.0)
    assert first.steps == pytest.approx(-1 / np.log(0.8))
    (alone, *_) = slow_modes(eigendecompose(np.diag([0.1, 1.2, 0.3])))
    assert (alone.units, alone.steps) == (1.0, None)


def test_there_are_none_of_a_defective_matrix() -> None:
    assert slow_modes(eigendecompose(np.array([[0.5, 1.0], [0.0, 0.5]]))) == []


def test_reports_hold_them_for_any_size(capsys: pytest.CaptureFixture[str]) -> None:
    (result,) = gradscope.spectrum("lstm:hidden=40").results
    assert {*result.details["slow_modes"]} == {f"weight_hh_l0:{gate}" for gate in "ifgo"}
    for modes in result.details["slow_modes"].values():
        assert len(modes) == SLOW_MODES
        for mode in modes:
            assert len(mode["participation"]) == len(mode["eigenvector"]) == 40
            assert sum(mode["participation"]) == pytest.approx(1.0)
    assert run(["spectrum", "rnn:hidden=12"]) == 0
    assert "Slow modes: who takes part" in capsys.readouterr().out
