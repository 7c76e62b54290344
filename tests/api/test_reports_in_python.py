"""A report in a script or a notebook: short, drawable, savable, and the same whether measured or read back."""

from __future__ import annotations

import html.parser
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError, MissingExtraError, UsageError
from gradscope.rows import Rows, column_of


@pytest.fixture(scope="module")
def reports() -> dict[str, gradscope.Report]:
    long = "lstm:hidden=4,layers=2,bidirectional=true"
    return {
        "gradients": gradscope.gradients("rnn:hidden=6", long, steps=40, batch=2),
        "one": gradscope.gradients("rnn:hidden=6,gain=0.5", steps=400),
        "reaching": gradscope.gradients("rnn:hidden=6,init=orthogonal,activation=identity", steps=30, inputs="zeros"),
        "spectrum": gradscope.spectrum("rnn:hidden=6", "gru:hidden=3"),
        "lyapunov": gradscope.lyapunov("rnn:hidden=6,gain=2", steps=80, covariant=True),
        "inspect": gradscope.inspect("lstm:hidden=4", "rnn"),
        "claims": gradscope.claims("C20"),
        "advise": gradscope.advise("lstm:hidden=4", steps=30),
        "sweep": gradscope.sweep("rnn:hidden=4", vary=["gain=0.5:1:0.5", "seed=1:2"], jobs=1, steps=20),
    }


VERBS = ("gradients", "one", "reaching", "spectrum", "lyapunov", "inspect", "claims", "advise", "sweep")


@pytest.mark.parametrize("verb", VERBS)
def test_the_repr_is_three_short_lines(verb: str, reports: dict[str, gradscope.Report]) -> None:
    shown = repr(reports[verb])
    lines = shown.split("\n")
    assert len(lines) <= 3
    assert max(map(len, lines)) <= 120
    assert reports[verb].verb in lines[0]
    assert "\n" not in repr(reports[verb].results[0])
    assert len(repr(reports[verb].results[0])) <= 150


def test_the_repr_of_a_stranger_is_printable_and_short() -> None:
    result = gradscope.Result({"name": "a\nb\x1b[31m" + "x" * 500}, {}, {}, {"verdict": "v\n" * 99})
    assert "\n" not in repr(result)
    assert "\x1b" not in repr(result)
    assert len(repr(result)) < 150


@pytest.mark.parametrize("verb", VERBS)
def test_loaded_and_fresh_hold_the_same_types(verb: str, reports: dict[str, gradscope.Report], tmp_path: Path) -> None:
    fresh = reports[verb]
    for name in ("r.json", "r.jsonl"):
        loaded = gradscope.load(fresh.save(tmp_path / name))
        assert isinstance(loaded, gradscope.Report)
        assert loaded.to_dict() == fresh.to_dict()
        assert (loaded.environment, loaded.command, loaded.gates) == (fresh.environment, fresh.command, fresh.gates)
        for old, new in zip(fresh.results, loaded.results, strict=True):
            for part in ("source", "settings", "summary", "warnings", "details"):
                assert getattr(old, part) == getattr(new, part)
                assert deep_types(getattr(old, part)) == deep_types(getattr(new, part)), part
            assert list(old.columns) == list(new.columns)
            for column in old.columns:
                a, b = old.columns[column], new.columns[column]
                assert isinstance(a, np.ndarray)
                assert isinstance(b, np.ndarray)
                assert a.dtype == b.dtype, column
                assert deep_types(a.tolist()) == deep_types(b.tolist()), column
            assert old.rows == new.rows


def deep_types(value: Any) -> Any:
    """The types inside a value."""
    if isinstance(value, dict):
        return {key: deep_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [deep_types(item) for item in value]
    return type(value)


@pytest.mark.parametrize(
    ("values", "kind", "back"),
    [
        ([1, 2], "i", [1, 2]),
        ([1.0, None], "f", [1.0, None]),
        ((0.5, float("inf")), "f", [0.5, None]),
        ([None, None], "f", [None, None]),
        ([1, None], "O", [1, None]),
        ([1, 2.5], "O", [1, 2.5]),
        ([True, False], "b", [True, False]),
        ([True, 1], "O", [True, 1]),
        (["a", None], "O", ["a", None]),
        ([[1, 2], [3, 4]], "O", [[1, 2], [3, 4]]),
        ([{"a": np.float64(1)}, None], "O", [{"a": 1.0}, None]),
        ([10**30], "O", [10**30]),
        (np.array([1, 2], dtype=np.uint8), "i", [1, 2]),
        (np.array([0.5], dtype=np.float32), "f", [0.5]),
        (np.array(["a", "b"]), "O", ["a", "b"]),
        (np.array([0.5, None], dtype=object), "f", [0.5, None]),
        (np.zeros((2, 2)), "O", [[0.0, 0.0], [0.0, 0.0]]),
        ([], "f", []),
    ],
    ids=str,
)
def test_a_columns_type_is_what_it_holds(values: Any, kind: str, back: list[Any]) -> None:
    column = column_of(values)
    assert column.dtype.kind == kind
    assert column.ndim == 1
    found = Rows({"x": column})["x"]
    assert found == back
    assert deep_types(found) == deep_types(back)
    assert column_of(column) is column or column_of(column).dtype == column.dtype


def test_rows_are_a_sequence_and_a_table(reports: dict[str, gradscope.Report]) -> None:
    result = reports["one"].results[0]
    rows = result.rows
    assert len(rows) == result.n_rows == 401
    assert rows[3]["lag"] == 3
    assert rows[-1] == list(rows)[-1] == list(result.rows())[-1]
    assert [row["lag"] for row in rows[2:5]] == [2, 3, 4] == rows["lag"][2:5]
    assert type(rows[0]["lag"]) is int
    with pytest.raises(IndexError):
        rows[401]
    assert len(repr(rows)) < 2000


def test_a_horizon_beyond_the_run_is_still_a_number(reports: dict[str, gradscope.Report], tmp_path: Path) -> None:
    row = reports["reaching"].summary()[0]
    assert (row["horizon"], row["horizon_censored"], row["horizon_at_least"]) == (None, True, 30)
    inside = reports["one"].summary()[0]
    assert inside["horizon_at_least"] == inside["horizon"] < 400
    seeds = [gradscope.gradients("rnn:hidden=6,gain=1.05", steps=12, seed=seed, loss="none") for seed in range(4)]
    found = [seed.summary()[0] for seed in seeds]
    assert any(row["horizon"] is None for row in found)
    assert statistics.mean(row["horizon_at_least"] for row in found) <= 12
    loaded = gradscope.load(reports["reaching"].save(tmp_path / "r.json"))
    assert isinstance(loaded, gradscope.Report)
    assert loaded.summary() == reports["reaching"].summary()


def test_the_summary_is_one_row_a_result(reports: dict[str, gradscope.Report]) -> None:
    found = reports["gradients"].summary()
    assert len(found) == len(reports["gradients"].results) == 5
    assert [(row["layer"], row["direction"]) for row in found][1:3] == [(0, "forward"), (0, "backward")]
    assert found["verdict"] == [result.summary["verdict"] for result in reports["gradients"].results]
    json.dumps(list(found), allow_nan=False)


class Page(html.parser.HTMLParser):
    """Tags that are open when the page ends, and what a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text, self.tags = "", list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in ("path", "rect", "circle", "br", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f" {data}"


@pytest.mark.parametrize("verb", VERBS)
def test_a_notebooks_cell_has_verdict_table_and_figure(verb: str, reports: dict[str, gradscope.Report]) -> None:
    cell = reports[verb]._repr_html_()
    page = Page(cell)
    assert page.open == []
    assert len(cell) < 60_000
    assert page.tags.count("tr") <= 40
    assert "script" not in page.tags
    assert not re.search(r"(?:src|href)=|https?://(?!www\.w3\.org)", cell)
    if verb in ("one", "reaching", "gradients"):
        assert str(reports[verb].results[0].summary["verdict"]) in page.text
        assert "svg" in page.tags
        assert page.tags.count("tr") <= 14
        assert not re.search(r"\d\.\d{7}", page.text)  # rounded


def test_a_cell_escapes_what_strangers_wrote() -> None:
    evil = gradscope.Result({"name": "<script>alert(1)</script>"}, {}, {"lag": [0, 1]}, {"verdict": "<b>"})
    report = gradscope.Report("gradscope/gradients/1", "0", ("gradients",), 0, {}, (evil, evil))
    assert "<script" not in report._repr_html_()
    assert "<b>" not in report._repr_html_()


def test_the_figure_is_drawn_on_the_callers_axes(reports: dict[str, gradscope.Report]) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert reports["one"].plot(ax) is ax
    assert reports["one"].plot(ax=ax) is ax
    assert "rnn:hidden=6,gain=0.5" in ax.get_title(loc="left")
    drawn = ax.lines[0].get_ydata()
    assert float(drawn[-1]) == pytest.approx(reports["one"].results[0].columns["log10_norm"][-1])
    made = reports["spectrum"].plot()
    pyplot.close(made.figure)
    with pytest.raises(UsageError, match="nothing in this inspect report"):
        reports["inspect"].plot()


@pytest.mark.parametrize("suffix", ["txt", "json", "jsonl", "csv", "md", "html", "xml", "svg", "png", "pdf"])
def test_the_suffix_picks_the_format(suffix: str, reports: dict[str, gradscope.Report], tmp_path: Path) -> None:
    if suffix in ("png", "pdf"):
        pytest.importorskip("matplotlib")
    path = reports["one"].save(tmp_path / f"r.{suffix}")
    assert path == tmp_path / f"r.{suffix}"
    assert path.stat().st_size > 100
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_saved_is_a_sentence(reports: dict[str, gradscope.Report], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"wanted one of \.txt"):
        reports["one"].save(tmp_path / "r.docx")
    with pytest.raises(InputError, match="cannot write there"):
        reports["one"].save(str(tmp_path / "absent" / "r.json"))


def test_data_frames(reports: dict[str, gradscope.Report], tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = reports["gradients"].to_pandas()
    assert len(frame) == 5 * 41
    assert list(frame.columns[:4]) == ["source", "layer", "direction", "lag"]
    rows = reports["gradients"].to_records()
    assert frame["log10_norm"].tolist() == [row["log10_norm"] for row in rows]
    assert frame["lag"].dtype == np.int64
    assert frame["log10_norm_h"].isna().sum() == 41  # of the rnn, whose state is h alone
    loaded = gradscope.load(reports["gradients"].save(tmp_path / "r.json"))
    assert isinstance(loaded, gradscope.Report)
    pd.testing.assert_frame_equal(loaded.to_pandas(), frame)
    assert len(pd.DataFrame(reports["gradients"].summary())) == 5
    for verb in VERBS:
        assert len(reports[verb].to_pandas()) == sum(result.n_rows for result in reports[verb].results)


def test_without_pandas_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, reports: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        reports["one"].to_pandas()


def test_means_over_the_seeds_of_a_sweep_are_not_biased_by_what_was_left_out() -> None:
    pytest.importorskip("pandas")
    report = gradscope.sweep("rnn:hidden=6", vary=["gain=1.05", "seed=0:5"], steps=12, jobs=1)
    frame = report.to_pandas()
    assert frame["horizon"].isna().any()
    assert frame["horizon_at_least"].tolist() == [
        12 if row["horizon"] is None else row["horizon"] for row in report.results[0].rows
    ]
    longer = gradscope.sweep("rnn:hidden=6,init=orthogonal,activation=identity", vary="T=5,9", inputs="zeros", jobs=1)
    assert longer.to_pandas()["horizon_at_least"].tolist() == [5, 9]
    unsaid = gradscope.sweep("rnn:hidden=6,init=orthogonal,activation=identity", vary="seed=1", inputs="zeros", jobs=1)
    assert unsaid.to_pandas()["horizon_at_least"].tolist() == [100]
    assert gradscope.check(unsaid, "horizon < 90").gates[0].passed
