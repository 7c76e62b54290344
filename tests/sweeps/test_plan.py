"""Plans: ranges without drift, grids and pairs, keys that say what was measured."""

import json
import math

import numpy as np
import pytest

from gradscope.errors import InputError, UsageError
from gradscope.ranges import log_range
from gradscope.sweeps.plan import make_plan
from gradscope.sweeps.point import measure_point
from gradscope.sweeps.values import expand


def values_of(plan):
    return [tuple(point.values.values()) for point in plan.points()]


def keys_of(plan):
    return [point.key for point in plan.points()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5:1.5:0.1", ["0.5", "0.6", "0.7", "0.8", "0.9", "1", "1.1", "1.2", "1.3", "1.4", "1.5"]),
        ("1:20", [str(n) for n in range(1, 21)]),
        ("3:1:-1", ["3", "2", "1"]),
        ("gaussian,orthogonal", ["gaussian", "orthogonal"]),
        ("-0.2:0.2:0.2,7", ["-0.2", "0", "0.2", "7"]),
        ("8.0:16.0:4", ["8", "12", "16"]),
        ("1e-3,1e3", ["1e-3", "1e3"]),
        ("log:1:1000:4", ["1", "10", "100", "1000"]),
        ("a/b:c", ["a/b:c"]),
    ],
)
def test_lists_and_ranges(text, expected):
    assert expand(text) == expected


def test_a_long_range_does_not_drift():
    """Sums of 0.05 in binary are off in the last digits from the third on; each value is the nearest float."""
    values = [float(v) for v in expand("0.5:2:0.05")]
    assert values == [float(f"{0.5 + 0.05 * i:.2f}") for i in range(31)]
    assert values[-1] == 2.0
    summed = [0.5]
    while len(summed) < 31:
        summed.append(summed[-1] + 0.05)
    assert summed != values, "the comparison cannot see drift"


def test_logarithmic_ranges_have_equal_ratios_and_exact_ends():
    values = [float(v) for v in log_range("log:0.3:70:8")]
    assert (values[0], values[-1], len(values)) == (0.3, 70.0, 8)
    steps = np.diff(np.log(values))
    # Twelve significant digits: each log is off by at most 5e-12, a difference by 1e-11.
    assert np.max(np.abs(steps - math.log(70 / 0.3) / 7)) < 1e-11


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("log:0:1:5", "above 0"),
        ("log:1:2", "log:FIRST:LAST:COUNT"),
        ("log:1:2:1", "count of 2"),
        ("1:2:0", "never leads"),
        ("1:2:-1", "never leads"),
        ("1:x", "wanted a number"),
    ],
)
def test_bad_ranges(text, match):
    with pytest.raises(UsageError, match=match):
        expand(text)


def test_a_grid_runs_its_last_key_fastest():
    plan = make_plan(["rnn"], ["gain=1,2", "seed=1:3"])
    assert values_of(plan) == [(1.0, 1), (1.0, 2), (1.0, 3), (2.0, 1), (2.0, 2), (2.0, 3)]
    assert plan.n_points == 6
    assert plan.columns(0)[:3] == ["gain", "seed", "verdict"]
    assert plan.columns(0)[-2:] == ["status", "error"]


def test_pairs():
    plan = make_plan(["rnn"], ["gain=1,2", "init=orthogonal,gaussian"], zipped=True)
    assert values_of(plan) == [(1.0, "orthogonal"), (2.0, "gaussian")]
    with pytest.raises(UsageError, match="gain has 2, seed has 3"):
        make_plan(["rnn"], ["gain=1,2", "seed=1:3"], zipped=True)


def test_every_kind_of_key_varies():
    plan = make_plan(["lstm"], ["hidden=log:4:16:3", "T=5,9", "epsilon=0.1,0.2", "seed=3"], steps=77)
    tasks = [point.task for point in plan.points()]
    assert [t.source for t in tasks[::4]] == ["lstm:hidden=4", "lstm:hidden=8", "lstm:hidden=16"]
    assert {(t.options["steps"], t.options["epsilon"], t.options["seed"]) for t in tasks} == {
        (5, 0.1, 3), (5, 0.2, 3), (9, 0.1, 3), (9, 0.2, 3)
    }  # fmt: skip


def test_inputs_is_a_width_when_it_is_a_number_and_a_kind_otherwise():
    width = make_plan(["rnn"], ["inputs=2,4"])
    assert [p.task.source for p in width.points()] == ["rnn:inputs=2", "rnn:inputs=4"]
    kind = make_plan(["rnn"], ["inputs=normal,zeros"])
    assert [p.task.options["inputs"] for p in kind.points()] == ["normal", "zeros"]


@pytest.mark.parametrize(
    ("vary", "match"),
    [
        (["gian=1"], "Did you mean 'gain'"),
        (["gain"], "KEY=VALUES"),
        (["gain="], "KEY=VALUES"),
        (["hidden=4.5"], "whole number"),
        (["gain=1,nan"], "finite"),
        (["seed=x"], "whole numbers"),
        (["gain=1", "gain=2"], "stands twice"),
        (["T=1", "steps=2"], "stands twice"),
        ([], "sweep needs --vary"),
        (["forget_bias=1"], "no key 'forget_bias'"),
        (["init=chrono"], "no gates"),
        (["seed=1:100000", "gain=0:1:0.001"], "at most"),
    ],
)
def test_wrong_questions(vary, match):
    with pytest.raises(UsageError, match=match):
        make_plan(["rnn"], vary)


def test_a_key_is_what_was_measured_however_it_was_written():
    keys = keys_of(make_plan(["rnn"], ["gain=0.5,1", "seed=0"]))
    assert keys == keys_of(make_plan(["rnn:hidden=64"], ["gain=0.5:1:0.5"], seed=0, memory=2**22)), "defaults count"
    others = [
        make_plan(["rnn:hidden=8"], ["gain=0.5,1"]),
        make_plan(["gru"], ["gain=0.5,1"]),
        make_plan(["rnn"], ["gain=0.5,1"], measure="spectrum"),
        make_plan(["rnn"], ["gain=0.5,1"], steps=99),
        make_plan(["rnn"], ["gain=0.5,1"], seed=1),
    ]
    every = [*keys, *(key for plan in others for key in keys_of(plan))]
    assert len(set(every)) == len(every)


def test_a_file_counts_by_its_contents(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("w.npy", 0.5 * np.eye(3))
    plan = make_plan(["w.npy:activation=identity"], ["T=3,5"])
    first = keys_of(plan)
    row = measure_point(next(plan.points()).task)[0]
    # ‖(I/2)^k‖ = 2^−k exactly: its slope is −log10 2 per step.
    assert row["log10_rate"] == pytest.approx(-math.log10(2), abs=1e-12)
    np.save("copy.npy", 0.5 * np.eye(3))
    assert keys_of(make_plan(["copy.npy:activation=identity"], ["T=3,5"])) == first
    np.save("w.npy", 0.25 * np.eye(3))
    assert set(keys_of(make_plan(["w.npy:activation=identity"], ["T=3,5"]))).isdisjoint(first)
    with pytest.raises(InputError, match=r"gone\.npy: cannot be read"):
        make_plan(["gone.npy"], ["T=3"])


def test_input_files_vary_and_errors_name_them_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((6, 2)))
    np.save("y.npy", np.ones((6, 5)))
    plan = make_plan(["rnn:hidden=3,inputs=2"], ["inputs=x.npy,y.npy"])
    rows = [measure_point(point.task)[0] for point in plan.points()]
    assert [row["status"] for row in rows] == ["ok", "error"]
    assert str(tmp_path) not in rows[1]["error"]
    assert "y.npy" in rows[1]["error"]
    assert str(tmp_path) not in json.dumps(plan.identity())


@pytest.mark.parametrize("measure", ["gradients", "spectrum", "lyapunov"])
def test_a_point_is_what_the_verb_says(measure):
    """The same network, the same numbers, whichever door they come through."""
    import gradscope

    plan = make_plan(["lstm:hidden=3,inputs=2"], ["forget_bias=2", "seed=4"], measure=measure, steps=15)
    row = measure_point(next(plan.points()).task)[0]
    alone = getattr(gradscope, measure)("lstm:hidden=3,inputs=2,forget_bias=2", seed=4, steps=15).results[0]
    shared = set(alone.summary) & set(row)
    assert len(shared) >= 3
    assert {name: row[name] for name in shared} == {name: alone.summary[name] for name in shared}
    if measure == "spectrum":
        assert row["spectral_radius"] == max(alone.columns["spectral_radius"])
        assert row["param"] == "weight_hh_l0"
