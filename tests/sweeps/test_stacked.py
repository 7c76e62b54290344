"""Points measured side by side: the numbers of each alone, and the same bytes whoever is missing or measures."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gradscope
from gradscope.analysis.gradient_results import measure_case
from gradscope.analysis.request import GradientsRequest
from gradscope.jacobians.ready import ReadyJacobian
from gradscope.numerics.reference import measure_norms_densely
from gradscope.numerics.tape import StoredTape, tape_of_matrices
from gradscope.numerics.thin_product import ThinProduct
from gradscope.sweeps.plan import make_plan
from gradscope.sweeps.point import measure_group, measure_point
from gradscope.sweeps.stacked import case_of, measure_stacked, norms_of_each

_spec = importlib.util.spec_from_file_location("sweep_rows", Path(__file__).with_name("sweep_rows.py"))
rows_of = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows_of)


SOURCES = ["rnn", "skip", "forget-gate", "lstm", "gru", "rnn:norm=layer", "rnn:activation=relu"]


@pytest.mark.parametrize("source", SOURCES)
def test_in_company_as_alone(source):
    """Gains on both sides of the critical one, gaussian and orthogonal, in one stack.

    Norms are exact to 1e-10 relative on either road, so logs agree to 1e-10/ln 10; the rate is a mean of their
    differences and its ends come from the spread of those, hence 1e-9.
    """
    separator = "," if ":" in source else ":"
    plan = make_plan(
        [f"{source}{separator}hidden=7,inputs=3"], ["gain=0.6,1,1.8", "init=gaussian,orthogonal", "seed=1:2"], steps=40
    )
    groups = list(plan.groups())
    assert [len(group) for group in groups] == [12]
    together = measure_group([point.task for point in groups[0]])
    for point, (row,) in zip(groups[0], together, strict=True):
        (alone,) = measure_point(point.task)
        assert row.keys() == alone.keys()
        for name, value in alone.items():
            if isinstance(value, float):
                assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), (point.values, name)
            else:
                assert row[name] == value, (point.values, name)
        assert row["status"] == "ok"


@pytest.mark.parametrize(
    "options",
    [{}, {"loss": "linear"}, {"loss_at": "all"}, {"anchor": "start"}, {"batch": 3}, {"loss": "none"}],
    ids=lambda options: " ".join(map(str, options.values())) or "default",
)
@pytest.mark.parametrize("source", ["rnn:hidden=6,gain={gain}", "lstm:hidden=4,inputs=2", "rnn:hidden=24,gain={gain}"])
def test_every_column_in_company_as_alone(source, options):
    """All columns at all lags, those that no row of a sweep shows included."""
    requests = [GradientsRequest(steps=60, seed=seed, **options) for seed in range(5)]
    texts = [source.format(gain=gain) for gain in (0.3, 0.9, 1.0, 1.1, 2.5)]
    cases = [case_of(text, request)[0] for text, request in zip(texts, requests, strict=True)]
    for case, request, together in zip(cases, requests, measure_stacked(cases, requests), strict=True):
        alone = measure_case(case, request)
        assert together.settings == alone.settings
        assert together.columns.keys() == alone.columns.keys()
        for name, values in alone.columns.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(together.columns[name], values, rtol=1e-9, atol=1e-9, err_msg=name)
            elif name == "rank":
                # Interpolated between decompositions on one road, counted at every lag on the other.
                assert np.abs(together.columns[name] - values).max() <= 2
            else:
                np.testing.assert_array_equal(together.columns[name], values, err_msg=name)


def test_a_wrong_share_would_be_seen():
    """The comparison above can tell neighbours apart."""
    plan = make_plan(["rnn:hidden=7,inputs=3"], ["gain=0.6,1", "seed=1:2"], steps=40)
    rates = [rows[0]["log10_rate"] for rows in measure_group([point.task for point in plan.points()])]
    assert min(abs(a - b) for i, a in enumerate(rates) for b in rates[:i]) > 1e-4


def test_groups_hold_one_shape_each_and_every_point_once():
    plan = make_plan(["rnn"], ["hidden=8,16,64", "seed=1:40", "T=10,20"])
    groups = list(plan.groups())
    for group in groups:
        assert len({(p.values["hidden"], p.values["T"]) for p in group}) == 1
        assert len(group) <= (32 if group[0].values["hidden"] < 64 else 1)
    assert sorted(p.index for group in groups for p in group) == list(range(plan.n_points))


def test_a_failure_in_a_group_is_its_own():
    plan = make_plan(["rnn:hidden=4,activation=identity"], ["gain=0.5,1e140,0.9", "bias=0,1"], steps=30)
    (group,) = plan.groups()
    rows = [rows[0] for rows in measure_group([point.task for point in group])]
    assert [row["status"] for row in rows] == ["ok", "ok", "error", "error", "ok", "ok"]
    assert "range of float64" in rows[2]["error"]
    assert rows[0]["log10_rate"] == pytest.approx(measure_point(group[0].task)[0]["log10_rate"], rel=1e-9)


def test_whoever_is_missing_the_bytes_are_the_same(tmp_path, monkeypatch):
    """Rows depend on the plan's groups and on nothing else: drop any of them and continue."""
    # The road that compresses a whole stack together, whose last digits depend on the company.
    monkeypatch.setattr("gradscope.numerics.propagate.DECOMPOSE_BELOW", 0.0)
    options = {"vary": ["gain=0.5,1.5", "seed=1:5"], "steps": 60, "jobs": 1}
    (group,) = make_plan(["rnn:hidden=12"], options["vary"], steps=60).groups()
    tasks = [point.task for point in group]
    assert measure_group(tasks)[3:] != measure_group(tasks[3:]), "company makes no difference: nothing is tested"
    whole, path = tmp_path / "whole.jsonl", tmp_path / "map.jsonl"
    gradscope.sweep("rnn:hidden=12", store=whole, **options)
    lines = whole.read_bytes().splitlines(keepends=True)
    for kept in ([], lines[1:2], lines[3:4] + lines[7:9], lines[2:11]):
        path.write_bytes(b"".join([lines[0], *kept]))
        report = gradscope.sweep("rnn:hidden=12", store=path, **options)
        assert rows_of.row_lines(path) == rows_of.row_lines(whole)
        assert report.results[0].rows["seed"] == [1, 2, 3, 4, 5] * 2
    keys = [json.loads(line)["key"] for line in rows_of.row_lines(path)]
    assert len(set(keys)) == 10


def test_one_network_of_many_is_doubted(monkeypatch):
    """Directions dropped beside large ones that a later step kills, in one network of five: it alone is taken anew."""
    monkeypatch.setattr("gradscope.numerics.propagate.DECOMPOSE_BELOW", 0.0)
    again, follow = [], ThinProduct.follow

    def followed(self, history, n_lags, *, compress, progress):
        if not compress:
            again.append(self.B)
        return follow(self, history, n_lags, compress=compress, progress=progress)

    monkeypatch.setattr(ThinProduct, "follow", followed)
    J = np.random.default_rng(1).normal(size=(60, 5, 20, 20)) / np.sqrt(20)
    J[:50, 3] = np.diag(np.r_[np.ones(10), np.full(10, 0.1)])
    J[50:, 3] = np.diag(np.r_[np.zeros(10), np.ones(10)])
    tapes = [tape_of_matrices(J[:, i]) for i in range(5)]
    together = StoredTape(np.zeros((61, 5, 1, 20)), ReadyJacobian(J[:, :, None]))
    found = norms_of_each(together, [SimpleNamespace(tape=tape) for tape in tapes], "start")
    assert again == [1]
    for tape, norms in zip(tapes, found, strict=True):
        exact = measure_norms_densely(tape, anchor="start")
        for name in ("log10_norm", "zero", "stable_rank"):
            np.testing.assert_allclose(getattr(norms, name), getattr(exact, name), rtol=1e-9, atol=1e-10)


def test_a_stack_too_large_for_the_cache_is_cut(monkeypatch):
    """Two networks at a time, the last alone: results in order, none missing."""
    monkeypatch.setattr("gradscope.sweeps.stacked.NUMBERS_AT_ONCE", 2 * 5**2)
    requests = [GradientsRequest(steps=20, seed=seed) for seed in range(5)]
    cases = [case_of("rnn:hidden=5", request)[0] for request in requests]
    for case, request, found in zip(cases, requests, measure_stacked(cases, requests), strict=True):
        alone = measure_case(case, request)
        np.testing.assert_allclose(found.columns["log10_norm"], alone.columns["log10_norm"], rtol=1e-9, atol=1e-9)
