"""What reads a row of status ``doubtful``: verdict, sentences, gates and diff do not take it for a number like others.

The product cancels: exact 10^-17.58 at lag 120, float64 gives 10^-18.06 from one side and 10^-16.40 from the other.
"""

from __future__ import annotations

from pathlib import Path

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
