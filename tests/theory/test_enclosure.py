"""Eigenvalues enclosed by Arb: the discs hold what mpmath finds, and nothing is claimed without python-flint."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest

import gradscope
from gradscope.cli import run
from gradscope.errors import MissingExtraError


def grcar(n: int) -> np.ndarray:
    return np.eye(n) - np.eye(n, k=-1) + np.eye(n, k=1) + np.eye(n, k=2) + np.eye(n, k=3)


def row_of(W: np.ndarray, **options: object) -> dict:
    return next(gradscope.spectrum(W, **options).results[0].rows())  # type: ignore[arg-type]


class TestWithFlint:
    @pytest.fixture(autouse=True)
    def flint(self) -> object:
        return pytest.importorskip("flint")

    def test_every_eigenvalue_of_mpmath_lies_in_a_disc(self) -> None:
        W = np.random.default_rng(0).standard_normal((7, 7))
        row = row_of(W, certify=True)
        with mpmath.workdps(60):
            eigenvalues = mpmath.eig(mpmath.matrix(W.tolist()), left=False, right=False)
            for z in eigenvalues:
                assert any(abs(z - mpmath.mpc(re, im)) <= radius for re, im, radius in row["eigenvalue_enclosures"])
            largest = max(abs(z) for z in eigenvalues)
            assert row["spectral_radius_low"] <= largest <= row["spectral_radius_high"]
        assert row["spectral_radius_high"] - row["spectral_radius_low"] < 1e-14
        assert row["enclosure_bits"] == 128
        assert "Arb encloses every eigenvalue" in row["conclusion"]

    def test_the_ill_conditioned_matrix_of_the_findings(self) -> None:
        """0.4·Grcar(100): float64's eigenvalues are off by 1e-2, Arb says ρ = 0.905170254264."""
        from gradscope.theory.enclosure import enclose_eigenvalues

        found = enclose_eigenvalues(0.4 * grcar(100))
        assert found is not None
        assert found.radius_low <= found.radius_high < found.radius_low + 2e-12
        assert found.radius_high == pytest.approx(0.905170254264, abs=1e-12)
        assert found.bits > 128 or found.radii.max() < 1e-11

    @pytest.mark.parametrize(
        ("W", "rho"),
        [
            (0.9 * np.eye(4) + np.eye(4, k=1), 0.9),
            (np.array([[2.0, -4.0], [1.0, -2.0]]), 0.0),
            (np.kron(np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]])), 1.0),
            (np.zeros((3, 3)), 0.0),
            (np.array([[0.0, -1.0], [1.0, 0.0]]), 1.0),
        ],
    )
    def test_defective_and_multiple_eigenvalues_are_exact(self, W: np.ndarray, rho: float) -> None:
        row = row_of(W, certify=True)
        assert len(row["eigenvalue_enclosures"]) == len(W)
        assert row["spectral_radius_low"] == row["spectral_radius_high"] == rho

    def test_a_planted_error_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An enclosure of another matrix contradicts what power traces prove of this one."""
        from gradscope.analysis import spectrum_results as module

        honest = module.enclose_eigenvalues
        monkeypatch.setattr(module, "enclose_eigenvalues", lambda W: honest(1.001 * W))
        with pytest.raises(gradscope.errors.UntrustedNumbersError, match="by one road"):
            row_of(np.diag([0.5, 0.25]) + np.eye(2, k=1), certify=True)

    def test_without_the_option_nothing_is_claimed(self) -> None:
        row = row_of(np.eye(3))
        assert row["eigenvalue_enclosures"] is None
        assert row["enclosure_bits"] is None
        assert "Arb" not in row["conclusion"]

    def test_what_is_too_large_is_null_with_a_reason(self) -> None:
        result = gradscope.spectrum(np.eye(129), certify=True).results[0]
        assert next(result.rows())["eigenvalue_enclosures"] is None
        assert any("at most 128" in warning for warning in result.warnings)

    def test_command_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["spectrum", "gru:hidden=4", "--certify", "--json"]) == 0
        result = json.loads(capsys.readouterr().out)["results"][0]
        assert [len(row["eigenvalue_enclosures"]) for row in result["rows"]] == [4, 4, 4]
        assert result["settings"]["certify"] is True


def test_without_flint_one_sentence_says_how_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(MissingExtraError, match=r"pip install python-flint"):
        gradscope.spectrum(np.eye(2), certify=True)
    assert run(["spectrum", "rnn:hidden=2", "--certify"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
