"""Progress: something is said within a second of the start, nothing of short runs."""

from __future__ import annotations

import time

import pytest

from gradscope.cli import progress
from gradscope.cli.progress import Progress


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    monkeypatch.setenv("CI", "1")


def test_a_part_that_reports_nothing_is_spoken_of_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("on"):
        time.sleep(0.3)
    assert capsys.readouterr().err == "reading and building\n"


def test_the_part_last_heard_of_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("on") as tell:
        tell("lstm: norms", 1, 4)
        time.sleep(0.3)
    assert capsys.readouterr().err.startswith("lstm: norms: 25 %")


def test_short_runs_and_quiet_ones_stay_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("on"):
        pass
    for silent in (Progress("off"), Progress("on", quiet=True)):
        with silent:
            time.sleep(0.1)
    time.sleep(0.1)
    assert capsys.readouterr().err == ""
