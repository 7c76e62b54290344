"""What reads a row of status ``doubtful``: verdict, sentences, gates and diff do not take it for a number like others.

The product cancels: exact 10^-17.58 at lag 120, float64 gives 10^-18.06 from one side and 10^-16.40 from the other.
"""

from __future__ import annotations

from pathlib import Path

import mpmath
import numpy as np
import pytest

import gradscope
from gradscope.cli import run


def cancelling(angle: float = 0.7, *, second: float = 0.25, n: int = 60) -> np.ndarray:
    Q = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.array([Q @ np.diag([1.0, 0.5]) @ Q.T] * n + [Q @ np.diag([second, 1.0]) @ Q.T] * n)


@pytest.fixture
def jacobians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("J.npy", cancelling())
    np.save("other.npy", cancelling(second=0.26))
    return tmp_path


@pytest.mark.parametrize("J", [cancelling(), cancelling(0.3, second=0.125), cancelling(1.1, n=80)])
@pytest.mark.parametrize("anchor", ["end", "start"])
def test_no_rate_and_no_verdict_rest_on_it(J: np.ndarray, anchor: str) -> None:
    result = gradscope.gradients(J, anchor=anchor).results[0]
    assert result.columns["status"][-1] == "doubtful"
    assert result.summary["verdict"] == "undetermined"
    assert result.summary["log10_rate_low"] is None
    assert any("known to be small, not how small" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("option", "expression", "code"),
    [
        # The truth is −17.58 and what is known is that it lies below −13: these cannot be decided, and fail.
        ("--expect", "log10_norm@lag=120 > -17", 1),
        ("--expect", "log10_norm@lag=120 < -17", 1),
        ("--fail-on", "log10_norm@lag=120 < -17", 1),
        ("--fail-on", "rank@lag=120 > 1", 1),
        # That it is small is known.
        ("--expect", "log10_norm@lag=120 < -6", 0),
        ("--fail-on", "log10_norm@lag=120 > -12", 0),
        ("--expect", "log10_norm@lag=120 > -6", 1),
        # A row that nothing is wrong with decides as ever.
        ("--expect", "log10_norm@lag=40 > -1", 0),
    ],
)
def test_gates(option: str, expression: str, code: int, jacobians: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", "J.npy", option, expression]) == code
    if code and expression != "log10_norm@lag=120 > -6":
        assert "doubtful" in capsys.readouterr().err


def test_diff_finds_neither_worse_nor_better(jacobians: Path) -> None:
    base, new = (gradscope.gradients(name) for name in ("J.npy", "other.npy"))
    rows = [row for row in gradscope.diff(base, new).results[0].rows() if row["where"] == "lag=120"]
    assert {row["verdict"] for row in rows if row["field"] in ("log10_norm", "rank", "stable_rank")} <= {"changed"}


def test_a_person_is_told(jacobians: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", "J.npy", "--color", "never"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "lags are doubtful" in out
    assert "10^-18.1 of it is left" not in out


def exact_horizon(J: np.ndarray, epsilon: float) -> int:
    """The largest lag with a norm of at least epsilon, with 80 digits."""
    with mpmath.workdps(80):
        product, horizon = mpmath.eye(2), 0
        for k, step in enumerate(J[::-1], 1):
            product = product * mpmath.matrix(step.tolist())
            squares = sum(x * x for x in product)
            root = mpmath.sqrt(squares**2 - 4 * mpmath.det(product) ** 2)
            if mpmath.sqrt((squares + root) / 2) >= epsilon:
                horizon = k
    return horizon


@pytest.mark.parametrize("epsilon", [1e-3, 1e-12, 1e-13, 1e-15, 1e-16, 1e-17])
@pytest.mark.parametrize("J", [cancelling(), cancelling(0.3, second=0.125), cancelling(1.1, n=80), 2.0 * cancelling()])
@pytest.mark.parametrize("anchor", ["end", "start"])
def test_the_horizon_lies_between_its_ends(J: np.ndarray, anchor: str, epsilon: float) -> None:
    """At ε = 10^-17 the first of them seems censored from the start, where the exact horizon is 88."""
    summary = gradscope.gradients(J, epsilon=epsilon, anchor=anchor).results[0].summary
    # Forward products are the transposed ones of the reversed sequence.
    exact = exact_horizon(J if anchor == "end" else np.swapaxes(J, -1, -2)[::-1], epsilon)
    if "horizon_low" in summary:
        high = summary["horizon_high"]
        assert summary["horizon_low"] <= exact <= (len(J) if high is None else high)
    else:
        assert exact == (len(J) if summary["horizon_censored"] else summary["horizon"])


@pytest.mark.parametrize(
    ("scale", "epsilon", "option", "expression", "code", "said"),
    [
        # Lags 0 … 91 are sure, then rounding decides.
        (1.0, "1e-15", "--expect", "horizon >= 100", 1, "between 91 and more than the last lag"),
        (1.0, "1e-15", "--expect", "horizon < 110", 1, "which does not decide it"),
        (1.0, "1e-15", "--fail-on", "horizon > 150", 1, "doubtful"),
        (1.0, "1e-15", "--fail-on", "horizon < 95", 1, "doubtful"),
        (1.0, "1e-15", "--expect", "horizon_h >= 100", 1, "doubtful"),
        (1.0, "1e-12", "--expect", "horizon <= 97", 1, "between 91 and 100"),
        # What every number between the ends says is decided.
        (1.0, "1e-15", "--expect", "horizon >= 91", 0, ""),
        (1.0, "1e-12", "--expect", "horizon <= 100", 0, ""),
        (1.0, "1e-12", "--expect", "horizon >= 101", 1, "found 99"),
        # Far above all rounding, or far below, doubtful rows decide nothing.
        (1.0, "1e-3", "--expect", "horizon >= 65", 0, ""),
        (1.0, "1e-3", "--expect", "horizon >= 75", 1, "found 69"),
        (1.0, "1e-17", "--expect", "horizon > 110", 1, "doubtful"),
        # A run that seems never to fall below epsilon, and a peak that rounding made up.
        (2.0, "1e-3", "--expect", "horizon > 110", 1, "beyond the last lag (between 91"),
        (1.9, "1e-3", "--expect", "log10_peak > 17", 1, "doubtful"),
        (1.9, "1e-3", "--expect", "log10_peak < 17", 1, "doubtful"),
        (1.9, "1e-3", "--expect", "log10_peak < 21", 0, ""),
        (1.9, "1e-3", "--expect", "peak_lag > 100", 1, "doubtful"),
    ],
)
def test_gates_on_summaries(
    scale: float, epsilon: str, option: str, expression: str, code: int, said: str,
    jacobians: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    np.save("J.npy", scale * cancelling())
    assert run(["gradients", "J.npy", "--epsilon", epsilon, option, expression, "-o", "J.json"]) == code
    fresh = capsys.readouterr().err
    assert said in fresh
    # A stored result says the same, though its rows may have been thinned out.
    assert run(["show", "J.json", option, expression]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("need", "epsilon", "enough"), [(60, 1e-10, True), (80, 1e-3, False), (100, 1e-10, False), (100, 1e-16, None)]
)
def test_need_is_not_answered_by_rounding(need: int, epsilon: float, enough: bool | None, jacobians: Path) -> None:
    assert gradscope.gradients("J.npy", epsilon=epsilon, need=need).results[0].summary["enough"] is enough


def test_a_sweep_and_a_diff_keep_the_ends(jacobians: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "J.npy", "--vary", "seed=0:1", "--epsilon", "1e-15", "-j", "1"]
    assert run([*command, "--expect", "horizon >= 100"]) == 1
    assert "doubtful" in capsys.readouterr().err
    assert run([*command, "--expect", "horizon >= 90"]) == 0
    base, new = (gradscope.gradients("J.npy", epsilon=epsilon) for epsilon in (1e-15, 1e-10))
    assert base.results[0].summary["horizon"] > 1.15 * new.results[0].summary["horizon"]
    assert gradscope.diff(base, new).results[0].summary["verdict"] == "same"
