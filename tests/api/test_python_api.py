"""The Python API: the verbs as functions, records with the ways out that scripts and notebooks use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gradscope
from gradscope.cli import run


def test_every_public_name_is_there() -> None:
    for name in gradscope.__all__:
        assert getattr(gradscope, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'gradient'"):
        gradscope.gradient  # noqa: B018


def test_to_json_is_what_the_command_writes(capsys: pytest.CaptureFixture[str]) -> None:
    report = gradscope.gradients("lstm:hidden=3", steps=6)
    assert run(["gradients", "lstm:hidden=3", "-T", "6", "--json"]) == 0
    written, held = json.loads(capsys.readouterr().out), json.loads(report.to_json())
    assert held["results"] == written["results"]
    assert held["schema"] == written["schema"]


def test_a_report_comes_back_from_its_json(tmp_path: Path) -> None:
    report = gradscope.spectrum("rnn:hidden=4", "lstm:hidden=2")
    (tmp_path / "s.json").write_text(report.to_json())
    again = gradscope.load(tmp_path / "s.json")
    assert again.to_dict() == report.to_dict()


def test_records_are_rows_with_their_source() -> None:
    report = gradscope.gradients("rnn:hidden=3", "skip:hidden=3", steps=4)
    records = report.to_records()
    assert [(r["source"], r["lag"]) for r in records] == [
        (s, k) for s in ("rnn:hidden=3", "skip:hidden=3") for k in range(5)
    ]
    assert report.results[1].to_records() == [{k: v for k, v in r.items() if k != "source"} for r in records[5:]]


def test_check_judges_like_the_command() -> None:
    report = gradscope.check(gradscope.gradients("rnn:gain=0.5", steps=40), "horizon < 30", "bound_violations > 0")
    assert [gate.passed for gate in report.gates] == [False, True]
