"""``diff`` and ``--baseline`` as a CI engineer meets them: measured files, gates, exit codes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from gradscope.cli import run

#: Every way a change can be asked about; none may trip on a file against itself.
RELATIVE = (
    "--expect", "verdict == same", "--fail-on", "verdict == worse", "--fail-on", "worse > 0", "--fail-on", "change < 0",
    "--fail-on", "change > 0", "--fail-on", "change_percent@field=horizon < -5",
    "--fail-on", "change@field=horizon < -5",
)  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    for gain in (0.9, 0.5):
        assert run(["gradients", f"rnn:gain={gain}", "-q", "-o", str(folder / f"gain-{gain}.json")]) == 0
    for seed in range(3):
        line = ["gradients", "lstm:forget_bias=1", "--seed", str(seed), "-q", "-o", str(folder / f"seed-{seed}.json")]
        assert run(line) == 0
    return folder


def test_a_file_against_itself_trips_nothing(stored: Path, capsys):
    for name in ("gain-0.9", "seed-0"):
        file = str(stored / f"{name}.json")
        assert run(["diff", file, file, *RELATIVE]) == 0
    assert "FAIL" not in capsys.readouterr().out


def test_retrains_of_one_setup_are_the_same_both_ways(stored: Path):
    for base, new in itertools.permutations(range(3), 2):
        files = [str(stored / f"seed-{seed}.json") for seed in (base, new)]
        assert run(["diff", *files, "--expect", "verdict == same", "--fail-on", "worse > 0", "-q"]) == 0


def test_less_gain_is_worse_one_way_and_better_the_other(stored: Path, capsys):
    high, low = (str(stored / f"gain-{gain}.json") for gain in (0.9, 0.5))
    for base, new, verdict in ((high, low, "worse"), (low, high, "better")):
        capsys.readouterr()
        assert run(["diff", base, new, "--json"]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        assert result["summary"]["verdict"] == verdict
        assert run(["diff", base, new, "--fail-on", "verdict == worse", "-q"]) == (verdict == "worse")


def test_a_baseline_measures_and_compares_in_one_command(stored: Path, capsys):
    """In per cent: 17 steps to 8 are −52.9 %; the same network is 0 %."""
    gates = ["--fail-on", "change_percent@field=horizon < -20", "--expect", "verdict != worse", "-f", "github"]
    baseline = ["--baseline", str(stored / "gain-0.9.json")]
    assert run(["gradients", "rnn:gain=0.9", *baseline, *gates]) == 0
    assert capsys.readouterr().out == "gradscope: Both gates passed.\n"
    assert run(["gradients", "rnn:gain=0.5", *baseline, *gates]) == 1
    out = capsys.readouterr().out
    assert out.count("::error") == 2
    assert "found -52.94" in out
    assert run(["lyapunov", "rnn:hidden=4", *baseline]) == 2
    assert "wanted a result of lyapunov, found one of gradients" in capsys.readouterr().err
