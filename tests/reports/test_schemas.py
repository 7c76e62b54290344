"""What is written fits the shipped schemas, and the schemas refuse what does not fit."""

from __future__ import annotations

import json

import hand_made_reports as hand
import jsonschema
import pytest

from gradscope import fields
from gradscope.errors import UsageError
from gradscope.reports import formats
from gradscope.reports.compare import diff
from gradscope.reports.schemas import VERBS, load_schema


def raw(report):
    return json.loads(formats.render(report, "json"))


def compared():
    return diff(hand.vanishing(), hand.lstm(), command=("diff", "a", "b"))


@pytest.mark.parametrize("verb", VERBS)
def test_a_schema_is_itself_valid(verb):
    jsonschema.Draft202012Validator.check_schema(load_schema(verb))


@pytest.mark.parametrize("make", [*hand.EVERY, compared])
def test_every_hand_made_report_fits_its_schema(make):
    report = make()
    jsonschema.Draft202012Validator(load_schema(report.verb)).validate(raw(report))


@pytest.mark.parametrize("make", [hand.vanishing, hand.spectrum, hand.lyapunov, hand.inspect, hand.claims, compared])
def test_a_missing_key_is_refused_and_an_addition_allowed(make):
    report = make()
    validator = jsonschema.Draft202012Validator(load_schema(report.verb))
    row_schema = load_schema(report.verb)["properties"]["results"]["items"]["properties"]["rows"]["items"]
    required = row_schema["required"]
    if report.verb == "gradients":  # sensitivities to inputs carry fewer columns, everything else all of them
        required = load_schema("gradients")["properties"]["results"]["items"]["else"]["properties"]["rows"]["items"][
            "required"
        ]
        assert len(required) == 13
    for key in required:
        made = raw(report)
        del made["results"][0]["rows"][0][key]
        assert not validator.is_valid(made), key
    for key in ("schema", "gradscope", "command", "seed", "environment", "results", "gates"):
        made = raw(report)
        del made[key]
        assert not validator.is_valid(made), key
    made = raw(report)
    made["results"][0]["rows"][0]["addition"] = made["results"][0]["summary"]["addition"] = made["addition"] = 1
    validator.validate(made)


def test_a_status_and_its_number_belong_together():
    validator = jsonschema.Draft202012Validator(load_schema("gradients"))
    for status, norm in (("ok", None), ("zero", -3.0), ("nonfinite", 1.0), ("fine", 0.0)):
        made = raw(hand.vanishing())
        made["results"][0]["rows"][5] |= {"status": status, "log10_norm": norm}
        assert not validator.is_valid(made)
    made = raw(hand.censored())
    made["results"][0]["summary"]["horizon"] = 100
    assert not validator.is_valid(made)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "sweep"])
def test_gates_know_every_name_of_the_schema(verb):
    parts = load_schema(verb)["properties"]["results"]["items"]["properties"]
    assert set(parts["rows"]["items"]["properties"]) == set(fields.names(verb, "rows"))
    assert set(parts["summary"]["properties"]) == set(fields.names(verb, "summary"))


def test_an_unknown_schema_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean 'gradients'"):
        load_schema("gradient")
