"""The field table is complete: what any verb writes has a row there, and fits the schema that is made from it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import gradscope
from gradscope import fields
from gradscope.fields.field import Field
from gradscope.reports import formats
from gradscope.reports.compare import diff
from gradscope.reports.schemas import generate, load_schema

ROOT = Path(__file__).parents[2]


def measured(tmp_path):
    """A real report of every verb, in its different shapes."""
    rng = np.random.default_rng(0)
    weights, jacobians = tmp_path / "w.npz", tmp_path / "j.npy"
    arrays = {"r.weight_ih_l0": rng.normal(size=(16, 3)), "r.weight_hh_l0": rng.normal(size=(16, 4))}
    np.savez(weights, **arrays)
    np.save(jacobians, rng.normal(size=(9, 3, 3)))
    sources = ("rnn:hidden=6", "lstm:hidden=5,layers=2", "gru:hidden=4,bidirectional=true", "seq2seq:hidden=5")
    for source in (*sources, str(weights), str(jacobians)):
        yield gradscope.gradients(source, steps=9)
    yield gradscope.gradients("rnn:hidden=6", steps=9, wrt="inputs")
    yield gradscope.gradients("lstm:hidden=6", steps=9, batch=3, loss="none")
    yield gradscope.gradients("rnn:hidden=6", steps=1)
    for source in ("rnn:hidden=6", "lstm:hidden=5", str(weights)):
        yield gradscope.spectrum(source)
        yield gradscope.lyapunov(source, steps=60)
    yield gradscope.lyapunov("rnn:hidden=6", steps=60, covariant=True)
    yield gradscope.inspect(str(weights))
    yield gradscope.inspect(str(jacobians))
    yield gradscope.claims("C01")
    for measure in ("gradients", "spectrum", "lyapunov"):
        yield gradscope.sweep("rnn:hidden=4", vary=["gain=0.5:1:0.5"], measure=measure, steps=8, jobs=1)
    base = gradscope.gradients("rnn:hidden=6,gain=0.9", steps=9)
    yield diff(base, gradscope.gradients("rnn:hidden=6,gain=0.5", steps=9))


def test_what_verbs_write_has_a_row_in_the_table_and_fits_its_schema(tmp_path):
    verbs = set()
    for report in measured(tmp_path):
        verbs.add(report.verb)
        for result in report.results:
            varied = {"gain"} if report.verb == "sweep" else set()
            assert {*result.columns} - {*fields.names(report.verb, "rows")} <= varied, report.command
            assert {*result.summary} <= {*fields.names(report.verb, "summary")}, report.command
        jsonschema.Draft202012Validator(load_schema(report.verb)).validate(json.loads(formats.render(report, "json")))
    assert verbs == {"gradients", "spectrum", "lyapunov", "inspect", "claims", "sweep", "diff"}


def test_generated_pages_and_schemas_are_up_to_date():
    for path, text in runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python docs/make_reference.py"


@pytest.mark.parametrize("verb", fields.VERBS)
def test_every_row_says_what_it_is(verb):
    for part in ("rows", "summary"):
        named = fields.names(verb, part)
        assert len(set(named)) == len(fields.ROWS[verb] if part == "rows" else fields.SUMMARY[verb])
        for name in named:
            one = fields.field(verb, name, part)
            assert isinstance(one, Field)
            assert one.title
            assert one.meaning
            assert not one.meaning.endswith(".")
            good = one.better.removeprefix("nearer to ")
            assert good in ("", "higher", "lower", "true", *one.words) or good.lstrip("-").isdigit(), name
            assert not (one.name.startswith("log10_") and one.unit not in ("log10", "decades/step")), name


def test_a_null_is_allowed_exactly_where_the_table_says_what_it_means():
    for verb in fields.VERBS:
        for one in (*fields.ROWS[verb], *fields.SUMMARY[verb]):
            schema = generate.of_field(one)
            validator = jsonschema.Draft202012Validator(schema)
            assert validator.is_valid(None) is bool(one.null or one.type == "anything"), (verb, one.name)
