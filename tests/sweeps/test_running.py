"""Running a plan: failures are rows, dead workers are replaced, any executor will do, means over seeds."""

import math
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest
from scipy import stats

import gradscope
from gradscope.errors import InputError, UntrustedNumbersError, UsageError
from gradscope.reports.seed_means import group_means
from gradscope.sweeps import run_plan as run
from gradscope.sweeps.estimate import estimate
from gradscope.sweeps.plan import make_plan


def test_a_failing_point_is_a_row():
    report = gradscope.sweep("rnn:hidden=3", vary=["init=gaussian,chrono,orthogonal"], steps=5, jobs=1)
    result = report.results[0]
    assert result.rows["init"] == ["gaussian", "chrono", "orthogonal"]
    assert result.rows["status"] == ["ok", "error", "ok"]
    assert "no gates" in result.rows["error"][1]
    assert result.rows["log10_rate"][1] is None
    assert result.summary == {"points": 3, "failed": 1}


def test_fail_fast_keeps_what_was_before(tmp_path):
    options = {"vary": ["init=gaussian,chrono,orthogonal"], "steps": 5, "jobs": 1, "store": tmp_path / "s.jsonl"}
    with pytest.raises(UntrustedNumbersError, match="init=chrono failed"):
        gradscope.sweep("rnn:hidden=3", fail_fast=True, **options)
    assert (tmp_path / "s.jsonl").read_bytes().count(b'"kind":"row"') == 1
    assert gradscope.sweep("rnn:hidden=3", **options).results[0].n_rows == 3


def test_a_bug_is_not_swallowed(monkeypatch):
    monkeypatch.setattr("gradscope.sweeps.point.measure_source", lambda task: {}["no such key"])
    with pytest.raises(KeyError, match="no such key"):
        gradscope.sweep("rnn:hidden=3", vary=["seed=1"], steps=3, jobs=1)


def test_any_executor_will_do():
    here = gradscope.sweep("rnn:hidden=3", vary=["seed=1:6"], steps=5, jobs=1)
    with ThreadPoolExecutor(1) as executor:
        there = gradscope.sweep("rnn:hidden=3", vary=["seed=1:6"], steps=5, executor=executor)
        assert executor.submit(int).result() == 0, "the caller's executor was shut down"
    assert there.results[0].to_dict() == here.results[0].to_dict()


class Mortal:
    """An engine whose workers die at chosen points, as a process pool reports it: everything in flight is lost."""

    def __init__(self, window, dies_at):
        self.window, self.dies_at, self.flying, self.renewed, self.stopped = window, dies_at, [], 0, None

    def submit(self, function, tasks):
        (task,) = tasks
        future = Future()
        self.flying.append((future, task))
        if len(self.flying) == self.window or task.options["seed"] >= 8:
            self._land()
        return future

    def _land(self):
        flying, self.flying = self.flying, []
        dead = any(self.dies_at(task, len(flying)) for _, task in flying)
        for future, task in flying:
            if dead:
                future.set_exception(BrokenProcessPool("a worker died"))
            else:
                future.set_result([[{"status": "ok", "error": None, "seed": task.options["seed"]}]])

    def renew(self):
        self.renewed += 1

    def stop(self, *, kill):
        self.stopped = kill


def run_mortal(engine):
    kept = {}
    plan = make_plan(["rnn"], ["seed=1:8"])
    original, window = engine.submit, engine.window

    def submit(function, task):
        # Once a pool broke, points come one by one: each lands alone.
        if engine.renewed:
            engine.window = 1
        future = original(function, task)
        engine.window = window
        return future

    engine.submit = submit
    run.run_points(
        ((point,) for point in plan.points()), engine, lambda point, rows: kept.setdefault(point.values["seed"], rows)
    )
    return kept


def test_points_in_flight_with_a_dead_worker_are_measured_again():
    dead = []

    def once(task, flying):
        if task.options["seed"] == 2 and not dead:
            dead.append(task)
            return True
        return False

    engine = Mortal(4, once)
    kept = run_mortal(engine)
    assert sorted(kept) == list(range(1, 9))
    assert all(rows[0]["status"] == "ok" for rows in kept.values())
    assert (engine.renewed, engine.stopped) == (1, False)


def test_a_point_that_kills_every_worker_is_given_up_and_no_other():
    engine = Mortal(4, lambda task, flying: task.options["seed"] == 2)
    kept = run_mortal(engine)
    assert sorted(kept) == list(range(1, 9))
    assert [seed for seed, rows in kept.items() if rows[0]["status"] != "ok"] == [2]
    assert "worker died" in kept[2][0]["error"]


def test_a_lost_cluster_says_so():
    class Gone(Executor):
        def submit(self, function, /, *arguments):
            future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    with pytest.raises(InputError, match="workers went away"):
        gradscope.sweep("rnn:hidden=3", vary=["seed=1:6"], steps=5, executor=Gone())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"jobs": 0}, "--jobs 0"),
        ({"jobs": 2, "dask": "tcp://127.0.0.1:1"}, "drop -j"),
        ({"value": "horizn"}, "Did you mean 'horizon'"),
        ({"stepps": 3}, "unknown option"),
        ({"measure": "wind"}, "--measure wind"),
    ],
)
def test_wrong_options(options, match):
    with pytest.raises(UsageError, match=match):
        gradscope.sweep("rnn:hidden=3", vary=["seed=1:2"], **options)


def test_means_over_seeds():
    report = gradscope.sweep("rnn:hidden=4", vary=["gain=0.5,1", "seed=1:7"], steps=10, jobs=1)
    means = group_means(report.results[0].rows(), ["gain"], "log10_rate")
    assert [mean["gain"] for mean in means] == [0.5, 1.0]
    for found in means:
        rates = [row["log10_rate"] for row in report.results[0].rows() if row["gain"] == found["gain"]]
        mean = math.fsum(rates) / 7
        interval = stats.t.interval(0.95, 6, loc=mean, scale=stats.sem(rates))
        assert found["mean"] == pytest.approx(mean, rel=1e-14)
        assert (found["low"], found["high"]) == pytest.approx(interval, rel=1e-7)  # t to seven digits in the table
        assert found["n"] == 7


def test_rows_without_a_number_do_not_count():
    report = gradscope.sweep("rnn:hidden=3", vary=["init=gaussian,chrono", "seed=1:2"], steps=5, jobs=1)
    means = group_means(report.results[0].rows(), ["init"], "log10_rate")
    assert [(mean["init"], mean["n"]) for mean in means] == [("gaussian", 2), ("chrono", 0)]
    assert means[1]["mean"] is None


def test_a_dry_run_counts_and_times():
    plan = make_plan(["rnn:hidden=4"], ["gain=1:3", "seed=1:4"], steps=5)
    found = estimate(plan, 2)
    assert found.points == 12
    assert found.seconds == pytest.approx(found.seconds_per_point * 6)
    assert found.bytes_per_worker > 2**20
    text = found.lines()
    assert text[0] == "12 points"
    assert text[-5:] == [f"  gain=1.0, seed={n}" for n in range(1, 5)] + ["  gain=2.0, seed=1"]
