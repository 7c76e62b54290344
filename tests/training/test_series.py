"""``series``: checkpoints in training order, each measured as ``gradients`` measures it, the broken ones named."""

import json
import os
import signal
import subprocess
import sys
import time

import jsonschema
import numpy as np
import pytest

import gradscope
from gradscope.errors import InputError, UsageError
from gradscope.reports.formats import write
from gradscope.reports.schemas import load_schema
from gradscope.training.steps import compiled, step_of
from gradscope.training.summary import summarise

GRADSCOPE = [sys.executable, "-m", "gradscope"]


def save(path, forget_bias, *, hidden=8, kind=4, suffixes=("",), seed=0):
    """An lstm (kind 4) or gru (3) whose forget gate opens with training."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for suffix in suffixes:
        arrays[f"rnn.weight_ih_l0{suffix}"] = rng.standard_normal((kind * hidden, 3)) / 2
        arrays[f"rnn.weight_hh_l0{suffix}"] = rng.standard_normal((kind * hidden, hidden)) / np.sqrt(hidden)
        arrays[f"rnn.bias_ih_l0{suffix}"] = np.zeros(kind * hidden)
        bias = np.zeros(kind * hidden)
        bias[hidden : 2 * hidden] = forget_bias
        arrays[f"rnn.bias_hh_l0{suffix}"] = bias
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def run(tmp_path):
    """Five checkpoints, named so that their alphabetical order is not that of training."""
    return [save(tmp_path / f"step-{100 * i}.npz", float(i)) for i in (10, 2, 0, 8, 4)]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step-100.pt", 100),
        ("run/epoch=3-step=1200.ckpt", 1200),
        ("checkpoint-500/model.safetensors", 500),
        ("weights.0042", 42),
        ("w7.h5", 7),
        ("2024/best.h5", 2024),
        ("best.h5", None),
        (r"C:\runs\step_9.npz", 9),
    ],
)
def test_the_step_in_a_name(name, step):
    assert step_of(name) == step


def test_a_pattern_of_ones_own():
    assert step_of("epoch=3-step=1200.ckpt", compiled(r"epoch=(\d+)")) == 3
    assert step_of("lr0.5-e2.5.pt", compiled(r"e(\d+\.\d+)")) == 2.5
    for pattern, said in ((r"(\d+", "no regular expression"), (r"\d+", "one group"), (r"(a)(b)", "one group")):
        with pytest.raises(UsageError, match=said):
            compiled(pattern)
    with pytest.raises(UsageError, match="is not in"):
        step_of("a.pt", compiled(r"x(\d)"))
    with pytest.raises(UsageError, match="no number"):
        step_of("a-b.pt", compiled("(b)"))


def test_rows_are_what_gradients_says(run):
    report = gradscope.series(*run, steps=60, jobs=1)
    jsonschema.validate(report.to_dict(), load_schema("series"))
    (result,) = report.results
    rows = list(result.rows())
    assert [row["step"] for row in rows] == [0, 200, 400, 800, 1000]
    by_step = {int(os.path.basename(name)[5:-4]): name for name in run}
    for row in rows:
        alone = gradscope.gradients(by_step[row["step"]], steps=60).results[0]
        assert {name: row[name] for name in alone.summary} == dict(alone.to_dict()["summary"])
        np.testing.assert_array_equal(
            row["map_log10_norm"], [alone.columns["log10_norm"][lag] for lag in row["map_lags"]]
        )
        blocks = gradscope.spectrum(by_step[row["step"]]).results[0]
        assert row["spectral_radius"] == pytest.approx(max(blocks.columns["spectral_radius"]), rel=1e-12)
    assert rows[0]["gates"]["f"] < rows[-1]["gates"]["f"]
    summary = result.summary
    assert summary["horizon_first"] == rows[0]["horizon"]
    assert summary["rate_min"] == min(row["log10_rate"] for row in rows)
    assert summary["rate_trend_low"] < summary["rate_trend"] < summary["rate_trend_high"]
    assert summary["rate_trend"] > 0
    assert (summary["checkpoints"], summary["failed"]) == (5, 0)


def test_the_trend_is_a_line_and_its_interval():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        steps = np.arange(0, 5000, 500)
        rows = [
            {"step": int(t), "horizon": None, "log10_rate": 1e-4 * t + 0.01 * rng.standard_normal(), "error": None}
            for t in steps
        ]
        found = summarise(rows)
        slope, _ = np.polyfit(steps, [row["log10_rate"] for row in rows], 1)
        assert found["rate_trend"] == pytest.approx(slope, rel=1e-9)
        covered += found["rate_trend_low"] <= 1e-4 <= found["rate_trend_high"]
    assert 180 <= covered <= 199  # 95 % of 200, three standard errors


def test_what_a_censored_horizon_leaves_open():
    row = {"step": 0, "horizon": 5, "horizon_censored": False, "log10_rate": None, "error": None}
    rows = [row, {**row, "step": 1, "horizon": None, "horizon_censored": True}, {**row, "step": 2, "horizon": 9}]
    found = summarise(rows)
    assert (found["horizon_first"], found["horizon_min"], found["horizon_last"]) == (5, 5, 9)
    assert found["horizon_max"] is None
    assert found["horizon_trend"] is None
    assert found["rate_first"] is None


def test_both_directions_are_apart(tmp_path):
    files = [save(tmp_path / f"{i}.npz", float(i), suffixes=("", "_reverse")) for i in (1, 2)]
    bad = tmp_path / "3.npz"
    bad.write_bytes(b"PK\x03\x04 torn")
    report = gradscope.series(*files, str(bad), steps=30, jobs=1)
    assert [result.source["direction"] for result in report.results] == ["forward", "backward"]
    for result in report.results:
        assert [row["error"] is None for row in result.rows()] == [True, True, False]
        assert {row["direction"] for row in result.rows()} == {result.source["direction"]}
    assert report.results[0].columns["log10_rate"][0] != report.results[1].columns["log10_rate"][0]


def test_questions_that_are_wrong(tmp_path, run):
    for arguments, error, said in (
        ((), UsageError, "needs checkpoints"),
        (("lstm",), UsageError, "built here"),
        ((str(tmp_path / "none-*.pt"),), InputError, "matches no file"),
    ):
        with pytest.raises(error, match=said):
            gradscope.series(*arguments)
    with pytest.raises(UsageError, match="save the array"):
        gradscope.series(*run, inputs=np.zeros((3, 3)))
    with pytest.raises(UsageError, match="store="):
        gradscope.series(*run, fresh=True)
    with pytest.raises(UsageError, match="'stp'"):
        gradscope.series(*run, stp="x")


def gradscope_series(*arguments, **keys):
    words = [*GRADSCOPE, "series", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, **keys)


def test_a_broken_checkpoint_is_named_and_the_rest_is_measured(tmp_path, run):
    (tmp_path / "step-300.npz").write_bytes(b"\x80\x02 no network")
    pattern = str(tmp_path / "step-*.npz") + ":param=rnn"
    page = tmp_path / "page.html"
    done = gradscope_series(pattern, "-T", 40, "-j", 1, "--json", "-o", page, "-o", tmp_path / "r.csv")
    assert done.returncode == 3
    assert "1 of 6 checkpoints could not be measured" in done.stderr
    assert "step-300.npz" in done.stderr
    rows = json.loads(done.stdout)["results"][0]["rows"]
    assert [row["step"] for row in rows] == [0, 200, 300, 400, 800, 1000]
    assert [row["error"] is None for row in rows] == [True, True, False, True, True, True]
    assert rows[2]["horizon"] is None
    for title in ("Norm of the Jacobian product", "Horizon", "Spectral radius", "Gates"):
        assert f"{title} over training" in page.read_text()
    missing = gradscope_series(*run, tmp_path / "step-5.npz", "-T", 10, "-j", 1, "-q")
    assert missing.returncode == 3


def test_a_script_needs_no_main_guard(tmp_path, run):
    """The processes do not run it again."""
    script = tmp_path / "measure.py"
    script.write_text(
        "import gradscope\nprint('once')\n"
        f"report = gradscope.series(*{[str(file) for file in run]!r}, steps=20, jobs=2)\n"
        "print([row['error'] for row in report.results[0].rows()], __file__[-10:], __spec__)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "once"
    assert second == f"{[None] * len(run)} measure.py None"


def test_gates_and_the_table(tmp_path, run):
    good = gradscope_series(*run, "-T", 100, "-j", 1, "--expect", "rate_trend > 0")
    assert good.returncode == 0, good.stderr
    assert "at step 0" in good.stdout
    bad = gradscope_series(*run, "-T", 100, "-j", 1, "--fail-on", "horizon_first < 1000", "-q")
    assert bad.returncode == 1


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    files = [save(tmp_path / f"step-{i}.npz", 1.0, hidden=48, seed=i) for i in range(16)]
    files[3] = str(tmp_path / "step-3.npz")
    (tmp_path / "step-3.npz").write_bytes(b"torn")
    store, out = tmp_path / "store.jsonl", tmp_path / "out.json"
    words = [*GRADSCOPE, "series", *files, "-T", "400", "-j", "1", "--store", str(store), "-o", str(out), "-q"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not store.exists() or store.read_text().count('"kind":"row"') < 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = [line for line in store.read_text().splitlines() if '"kind":"row"' in line and line.endswith("}")]
    assert 3 <= len(before) < 16
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3
    after = store.read_text().splitlines()
    assert all(line in after for line in before)  # nothing was measured twice
    assert sum('"kind":"row"' in line for line in after) == 16
    rows = json.loads(out.read_text())["results"][0]["rows"]
    assert [row["step"] for row in rows] == list(range(16))
    assert [row["step"] for row in rows if row["error"] is not None] == [3]
    # One checkpoint more is one measurement more.
    more = save(tmp_path / "step-16.npz", 1.0, hidden=48, seed=16)
    words.insert(words.index("-T"), more)
    subprocess.run(words, capture_output=True, timeout=300, check=False)
    again = store.read_text().splitlines()
    assert sum('"kind":"row"' in line for line in again) == 17
    assert all(line in again for line in before)


def test_another_store_is_refused(tmp_path, run):
    store = tmp_path / "sweep.jsonl"
    gradscope.sweep("rnn:hidden=4", vary=["gain=1,2"], steps=5, store=store, jobs=1)
    with pytest.raises(InputError, match="not a series"):
        gradscope.series(*run, steps=5, store=store, jobs=1)


def test_every_format(tmp_path, run):
    report = gradscope.series(*run, steps=30, jobs=1)
    for name in ("table", "json", "jsonl", "csv", "md", "html", "junit", "github"):
        with open(tmp_path / name, "w") as stream:
            write(report, name, stream)
    from gradscope.reports.terminal_plot import render

    drawn = render(report)
    assert "Norm of the Jacobian product over training" in drawn
    assert "Horizon over training" in drawn
