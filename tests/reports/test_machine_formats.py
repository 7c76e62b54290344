"""JSON, JSONL and CSV: strict, complete, and read back to the same record."""

from __future__ import annotations

import csv
import io
import json
import math

import hand_made_reports as hand
import numpy as np
import pytest

from gradscope.errors import InputError, UsageError
from gradscope.records import Report, Result
from gradscope.reports import formats
from gradscope.reports.json_report import read_report, write_json, write_jsonl
from gradscope.reports.reading import plain_rows

MADE = [hand.vanishing, hand.exploding, hand.neutral, hand.zero_rows, hand.lstm, hand.censored, hand.ladder]


def refuse(word):
    raise AssertionError(f"{word} is not strict JSON")


def written(report, name):
    return formats.render(report, name)


@pytest.mark.parametrize("make", MADE)
def test_json_is_one_strict_object_equal_to_the_record(make):
    report = make()
    assert json.loads(written(report, "json"), parse_constant=refuse) == report.to_dict()


@pytest.mark.parametrize("make", [*MADE, hand.gated_failure])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_read_back_and_written_again_is_the_same_bytes(make, suffix, tmp_path):
    report = make()
    path = tmp_path / f"result.{suffix}"
    path.write_text(written(report, suffix))
    again = read_report(path)
    assert again.to_dict() == report.to_dict()
    for name in ("json", "jsonl", "csv", "table"):
        assert written(again, name) == written(report, name)


def test_numpy_columns_and_infinities_leave_as_numbers_and_nulls():
    columns = {
        "lag": np.arange(3),
        "log10_norm": np.array([0.1 + 0.2, np.nan, -np.inf]),
        "flag": np.array([True, False, True]),
    }
    report = hand.report("gradients", Result({"name": "x"}, {"steps": np.int64(2)}, columns, {"r": np.float64(1 / 3)}))
    raw = json.loads(written(report, "json"), parse_constant=refuse)["results"][0]
    assert raw["rows"][0] == {"lag": 0, "log10_norm": 0.30000000000000004, "flag": True}
    assert [row["log10_norm"] for row in raw["rows"][1:]] == [None, None]
    assert raw["summary"]["r"] == 1 / 3
    assert raw["settings"]["steps"] == 2


def test_rows_in_chunks_are_the_rows_of_the_record():
    for make in MADE:
        for result in make().results:
            for chunk in (1, 7, 101, 4096):
                assert list(plain_rows(result, chunk=chunk)) == list(result.rows())
    mixed = {"a": [None, math.inf, 2, True], "b": [[1.0, math.nan], "x", {"k": -math.inf}, np.float32(0.1)]}
    result = Result({"name": "x"}, {}, mixed, {})
    assert list(plain_rows(result)) == list(result.rows())


def test_jsonl_has_a_run_a_line_per_row_and_an_end():
    report = hand.ladder()
    lines = [json.loads(line, parse_constant=refuse) for line in written(report, "jsonl").splitlines()]
    assert [line["kind"] for line in lines] == ["run", *["row"] * (5 * 101), "end"]
    assert lines[0]["schema"] == "gradscope/gradients/1"
    assert [line["source"] for line in lines[1:-1:101]] == ["rnn", "skip", "forget-gate", "input-gate", "lstm"]


def test_interrupted_jsonl_is_refused(tmp_path):
    path = tmp_path / "r.jsonl"
    text = written(hand.vanishing(), "jsonl")
    torn = text[: text.index('{"kind": "end"') - 20]
    path.write_text(torn)
    with pytest.raises(
        InputError, match=r"interrupted run: 100 rows and no end line\. Run it again: gradscope gradients rnn"
    ):
        read_report(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("{", "not valid JSON"),
        ("[1, 2]", "not a gradscope result"),
        ('{"schema": "gradscope/gradients/1"}', "structure does not fit"),
        (
            '{"schema": "gradscope/gradients/1", "results": [{}], "gradscope": "1", "command": [], "seed": 0}',
            "does not fit",
        ),
        ('{"kind": "row", "lag": 1}', "does not belong here"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply|not valid"),
    ],
)
def test_foreign_files_are_refused_in_words(text, message, tmp_path):
    path = tmp_path / "foreign.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_report(path)


def test_missing_binary_and_newer_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_report(tmp_path / "nowhere.json")
    (tmp_path / "b.json").write_bytes(b"\x80\x02\xff\x00junk")
    with pytest.raises(InputError, match="not text"):
        read_report(tmp_path / "b.json")
    newer = hand.vanishing().to_dict() | {"schema": "gradscope/gradients/9"}
    (tmp_path / "n.json").write_text(json.dumps(newer))
    with pytest.raises(InputError, match="newer gradscope"):
        read_report(tmp_path / "n.json")


def test_a_powershell_redirect_is_read(tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(written(hand.vanishing(), "json").encode("utf-16"))
    assert read_report(path).verb == "gradients"


def test_csv_is_the_rows_with_a_leading_source():
    report = hand.ladder()
    rows = list(csv.DictReader(io.StringIO(written(report, "csv"))))
    expected = [(r.source["name"], row) for r in report.results for row in r.rows()]
    assert next(iter(rows[0])) == "source"
    assert len(rows) == len(expected)
    for got, (name, row) in zip(rows, expected, strict=True):
        assert got["source"] == name
        assert got["lag"] == str(row["lag"])
        assert got["status"] == row["status"]
        # full precision: the text reads back to the very same float; a null is an empty field
        assert (float(got["log10_norm"]) if got["log10_norm"] else None) == row["log10_norm"]


def test_csv_tells_directions_apart_and_keeps_lists_as_json():
    made = [
        Result({"name": "b", "layer": 0, "direction": d}, {}, {"eigenvalues": [[[1.0, -0.5]]]}, {})
        for d in ("forward", "backward")
    ]
    rows = list(csv.DictReader(io.StringIO(written(hand.report("spectrum", *made), "csv"))))
    assert [(r["source"], r["layer"], r["direction"]) for r in rows] == [("b", "0", "forward"), ("b", "0", "backward")]
    assert json.loads(rows[0]["eigenvalues"]) == [[1.0, -0.5]]


def test_writers_stream_without_building_the_text(monkeypatch):
    class Counting(io.StringIO):
        longest = 0

        def write(self, text):
            Counting.longest = max(Counting.longest, len(text))
            return super().write(text)

    for write in (write_json, write_jsonl):
        Counting.longest = 0
        write(hand.report("gradients", hand.gradients_result(steps=3000)), Counting())
        assert Counting.longest < 4000


def test_suffixes_and_unknown_formats():
    assert formats.format_of_path("a/b.C/fig.SVG") == "svg"
    assert formats.format_of_path("r.xml") == "junit"
    with pytest.raises(UsageError, match=r"wanted one of \.txt \.json"):
        formats.format_of_path("out.yaml")
    with pytest.raises(UsageError, match="no suffix"):
        formats.format_of_path("out")
    with pytest.raises(UsageError, match="Did you mean 'json'"):
        formats.render(hand.vanishing(), "jsn")


def test_an_empty_result_is_still_a_report(tmp_path):
    report = Report("gradscope/inspect/1", "0.1.0", ("inspect",), 0, {}, (Result({"name": "e"}, {}, {}, {}),))
    for name in ("json", "jsonl"):
        path = tmp_path / f"e.{name}"
        path.write_text(written(report, name))
        assert read_report(path).to_dict() == report.to_dict()
    assert written(report, "csv") == "source\n"


def test_hand_made_numbers_have_no_nan_left():
    for make in MADE:
        for result in make().results:
            for row in result.rows():
                assert not any(isinstance(v, float) and math.isnan(v) for v in row.values())
