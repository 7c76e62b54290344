"""The store: one writer, torn lines repaired, another plan refused, nothing else's file touched."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

import gradscope
from gradscope.errors import InputError
from gradscope.sweeps.store import Store

_spec = importlib.util.spec_from_file_location("sweep_rows", Path(__file__).with_name("sweep_rows.py"))
rows_of = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows_of)

SMALL = {"vary": ["gain=0.5:1:0.25", "seed=1:2"], "steps": 6, "jobs": 1}


def small(store, **options):
    return gradscope.sweep("rnn:hidden=3,inputs=1", store=store, **{**SMALL, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "map.jsonl"
    small(path)
    return path.read_bytes()


def test_every_cut_is_repaired(whole, tmp_path):
    """Cut at every byte of the last two rows, and at some in the header: the rows come back the same."""
    path = tmp_path / "map.jsonl"
    reference = tmp_path / "whole.jsonl"
    reference.write_bytes(whole)
    lines = whole.splitlines(keepends=True)
    assert [json.loads(line)["kind"] for line in lines] == ["run", *["row"] * 6, "end"]
    starts = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
    cuts = {0, 1, 40, starts[1] - 1, starts[1], *range(starts[6], starts[7] + 1, 37), starts[7] - 1, starts[8] - 3}
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        finished = sum(start <= cut for start in starts[2:8])
        with Store.open(path) as store:
            assert len(store.rows) == finished
            left = path.read_bytes()
            assert whole[:cut].startswith(left)
            assert left == b"" or left.endswith(b"\n"), "the torn line is still there"
        small(path)
        assert rows_of.row_lines(path) == rows_of.row_lines(reference), cut
        assert path.read_bytes().count(b'"kind":"run"') == 1
        assert path.read_bytes() == whole


def test_a_second_sweep_on_the_same_file_is_refused(whole, tmp_path):
    path = tmp_path / "map.jsonl"
    path.write_bytes(whole)
    with Store.open(path):
        with pytest.raises(InputError, match="another sweep is writing this file"):
            small(path)
        with pytest.raises(InputError, match="another sweep is writing this file"):
            small(path, fresh=True)
    assert path.read_bytes() == whole


def test_a_changed_line_in_the_middle_is_refused(whole, tmp_path):
    path = tmp_path / "map.jsonl"
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3][:50] + b"\n", *lines[4:]]))
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 4 is no line of a sweep"):
        small(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"kind":"run","schema":"gradscope/gradients/1"}\n'])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_file_of_something_else_is_left_alone(tmp_path, content, fresh):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no sweep's store"):
        small(path, fresh=fresh)
    assert path.read_bytes() == content


def test_another_plan_needs_extend(whole, tmp_path):
    path = tmp_path / "map.jsonl"
    path.write_bytes(whole)
    wider = {"vary": ["gain=0.5:1.5:0.25", "seed=1:2"]}
    with pytest.raises(InputError, match="--extend"):
        small(path, **wider)
    assert path.read_bytes() == whole
    report = small(path, extend=True, **wider)
    assert report.results[0].n_rows == 10
    reference = tmp_path / "wide.jsonl"
    small(reference, **wider)
    assert rows_of.row_lines(path) == rows_of.row_lines(reference)
    assert [json.loads(line)["kind"] for line in path.read_bytes().splitlines()] == ["run", *["row"] * 10, "end"]
    assert small(path).results[0].n_rows == 6  # the first plan is still known
    assert sorted(os.listdir(tmp_path)) == ["map.jsonl", "wide.jsonl"]


@pytest.mark.parametrize(
    "other", [{"steps": 7}, {"vary": ["bias=0,1"]}, {"measure": "spectrum"}, {"vary": ["gain=1", "T=3", "seed=1"]}]
)
def test_another_question_is_refused_even_with_extend(whole, tmp_path, other):
    path = tmp_path / "map.jsonl"
    path.write_bytes(whole)
    with pytest.raises(InputError, match="holds another sweep"):
        small(path, extend=True, **other)
    assert path.read_bytes() == whole


def test_fresh_starts_over(whole, tmp_path):
    path = tmp_path / "map.jsonl"
    path.write_bytes(whole)
    small(path, fresh=True, steps=7)
    assert {json.loads(line)["T" if False else "key"] for line in rows_of.row_lines(path)}.isdisjoint(
        json.loads(line)["key"] for line in whole.splitlines()[1:-1]
    )


def test_points_of_several_rows_are_kept_whole(tmp_path):
    path = tmp_path / "both.jsonl"
    options = {"vary": ["seed=1:2"], "steps": 4, "jobs": 1, "store": path}
    report = gradscope.sweep("rnn:hidden=3,inputs=1,bidirectional=true", **options)
    assert list(report.results[0].columns)[:3] == ["seed", "layer", "direction"]
    assert report.results[0].rows["direction"] == ["forward", "backward"] * 2
    raw = path.read_bytes()
    lines = raw.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]))  # one row of the second point
    with Store.open(path) as store:
        assert len(store.rows) == 1
    gradscope.sweep("rnn:hidden=3,inputs=1,bidirectional=true", **options)
    assert path.read_bytes() == raw


def test_a_store_is_a_report(whole, tmp_path):
    from gradscope.reports.json_report import read_report

    path = tmp_path / "map.jsonl"
    path.write_bytes(whole)
    stored, made = read_report(path), small(path)
    assert stored.to_dict()["results"] == made.to_dict()["results"]
    assert stored.schema == "gradscope/sweep/1"


@pytest.mark.parametrize(("finished", "said"), [(3, True), (6, False)])
def test_another_machine_is_noticed_where_rows_are_still_to_come(whole, tmp_path, finished, said):
    """Trajectories are multiplied by BLAS, whose sums depend on the processor; weights are not."""
    header, *rows = [json.loads(line) for line in whole.splitlines()[: finished + 1]]
    header["environment"]["blas_architecture"] = "Z80"
    path = tmp_path / "map.jsonl"
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in [header, *rows]))
    warnings = small(path).results[0].warnings
    assert any("blas_architecture Z80 then" in sentence for sentence in warnings) == said


def test_a_store_from_before_it_was_recorded_goes_on(whole, tmp_path):
    header, *rows = [json.loads(line) for line in whole.splitlines()[:4]]
    del header["environment"]["blas_architecture"]
    path = tmp_path / "map.jsonl"
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in [header, *rows]))
    assert not small(path).results[0].warnings
