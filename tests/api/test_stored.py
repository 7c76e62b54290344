"""Stored results in Python: show and diff take reports and files alike."""

from __future__ import annotations

from pathlib import Path

import pytest

import gradscope
from gradscope.errors import InputError, UsageError


@pytest.fixture(scope="module")
def calm() -> gradscope.Report:
    return gradscope.gradients("rnn:hidden=4,gain=0.9", steps=30)


@pytest.fixture(scope="module")
def faded() -> gradscope.Report:
    return gradscope.gradients("rnn:hidden=4,gain=0.5", steps=30)


def test_diff_of_reports_and_of_files(calm: gradscope.Report, faded: gradscope.Report, tmp_path: Path) -> None:
    files = [report.save(tmp_path / f"{i}.json") for i, report in enumerate((calm, faded))]
    held, read = gradscope.diff(calm, faded), gradscope.diff(*files)
    assert held.to_dict()["results"] == read.to_dict()["results"]
    assert held.command == ("gradscope.diff(base, new)",)
    assert read.command == ("diff", *map(str, files))
    assert held.verb == "diff"


def test_show_puts_results_side_by_side_and_picks(
    calm: gradscope.Report, faded: gradscope.Report, tmp_path: Path
) -> None:
    both = gradscope.show(calm, faded.save(tmp_path / "f.jsonl"))
    assert [result.source["name"] for result in both.results] == ["rnn:hidden=4,gain=0.9", "rnn:hidden=4,gain=0.5"]
    late = gradscope.show(calm, where="lag >= 28", columns="lag,log10_norm", sort="-lag")
    assert list(late.results[0].columns) == ["lag", "log10_norm"]
    assert late.results[0].rows["lag"] == [30, 29, 28]
    assert gradscope.show(calm).to_dict() == calm.to_dict()
    grid = gradscope.sweep("rnn:hidden=2", vary=["gain=0.5,1", "seed=1:2"], steps=5, jobs=1)
    assert gradscope.show(grid, pivot="gain,seed", value="horizon").results[0].settings["pivot"] == ["gain", "seed"]


def test_what_is_no_result_is_a_sentence(calm: gradscope.Report, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one stored result"):
        gradscope.show()
    with pytest.raises(UsageError, match="one verb at a time"):
        gradscope.show(calm, gradscope.spectrum("rnn:hidden=2"))
    with pytest.raises(UsageError, match="got int"):
        gradscope.diff(calm, 3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Did you mean 'lag'"):
        gradscope.show(calm, columns=["lagg"])
    with pytest.raises(UsageError, match="wanted two keys"):
        gradscope.show(calm, pivot="lag")
    with pytest.raises(InputError, match="cannot be read"):
        gradscope.diff(calm, tmp_path / "absent.json")
