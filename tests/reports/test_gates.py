"""Gates trip where their expression is true, and whenever nobody can tell."""

from __future__ import annotations

import contextlib
import json

import hand_made_reports as hand
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradscope.errors import UsageError
from gradscope.records import Result
from gradscope.reports.gates import check_names, evaluate, parse_gate


def one(report, expression):
    (outcome,) = evaluate(report, [expression])
    return outcome


def passes(report, expression):
    return one(report, expression).passed


def test_the_contract_examples_on_a_vanishing_network():
    report = hand.vanishing()  # horizon 9, log10_norm = -31 at lag 100
    tripped = one(report, "horizon < 50")
    assert (tripped.passed, tripped.found, tripped.source, tripped.level) == (False, 9, "rnn", "fail")
    assert "expected horizon >= 50, found 9" in tripped.message
    assert "reproduce: gradscope gradients rnn --fail-on 'horizon < 50'" in tripped.message
    assert not passes(report, "log10_norm@lag=100 < -6")
    assert passes(report, "log10_norm@lag=100 < -31.5")
    assert passes(report, "horizon < 9")
    assert not passes(report, "horizon <= 9")
    assert passes(report, "bound_violations > 0")
    assert not passes(report, "verdict == vanishing")
    assert passes(report, "verdict == exploding")
    assert not passes(report, "horizon_censored == false")


@given(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(5, 13))
def test_operators_agree_with_python(operator, wanted):
    assert passes(hand.vanishing(), f"horizon {operator} {wanted}") is not eval(f"9 {operator} {wanted}")


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("horizon < 50", True),  # beyond 100, so not below 50
        ("horizon < 100", True),
        ("horizon <= 100", True),
        ("horizon > 50", False),  # true, so it trips
        ("horizon > 100", False),
        ("horizon == 50", True),
        ("horizon < 500", False),
        ("horizon > 500", False),
        ("horizon == 500", False),
        ("horizon != 500", False),
    ],
)
def test_a_censored_horizon_is_known_only_to_exceed_T(expression, passed):
    outcome = one(hand.censored(), expression)
    assert outcome.passed is passed
    assert outcome.found == "> 100"
    if "500" in expression:
        assert "raise --steps" in outcome.message


def test_an_exact_zero_is_below_everything():
    report = hand.zero_rows()
    assert not passes(report, "log10_norm@lag=20 < -6")
    assert not passes(report, "log10_norm@lag=20 < -1e300")
    assert passes(report, "log10_norm@lag=20 > -1e300")
    assert one(report, "log10_norm@lag=20 < -6").found == "zero"
    assert not passes(report, "log10_dloss_dstate@lag=20 < -6")


def test_underflow_is_decided_only_where_float64_decides_it():
    result = hand.gradients_result(zero_from=8)
    result.columns["status"][8:] = ["underflow"] * 93
    report = hand.report("gradients", result)
    assert not passes(report, "log10_norm@lag=20 < -6")
    assert passes(report, "log10_norm@lag=20 > -6")
    assert not passes(report, "log10_norm@lag=20 < -5000")  # undecidable
    assert not passes(report, "log10_norm@lag=20 > -5000")


def test_nonfinite_and_meaningless_numbers_fail_either_way():
    result = hand.gradients_result(zero_from=8)
    result.columns["status"][8:] = ["nonfinite"] * 93
    report = hand.report("gradients", result)
    for operator in "<>":
        assert not passes(report, f"log10_norm@lag=20 {operator} 0")
        assert not passes(report, f"log10_norm_h@lag=20 {operator} 0")  # an rnn has no corner
        assert not passes(report, f"log10_dloss_dweight@lag=100 {operator} 0")  # no copy of W at k = T


def test_a_row_gate_without_a_key_speaks_of_any_row():
    report = hand.vanishing()
    tripped = one(report, "log10_norm < -6")
    assert tripped.found == pytest.approx(-31.0)  # the worst row is the one shown
    assert "at lag 100 (81 of 101 rows trip)" in tripped.message  # -0.31 k < -6 from k = 20 on
    assert passes(report, "log10_norm > 0")


def test_a_gate_that_matches_nothing_fails():
    report = hand.vanishing()
    assert "matches nothing" in one(report, "log10_norm@lag=101 < -6").message
    assert "matches no source" in one(report, "horizon@source=lstm < 50").message


def test_every_gate_on_every_source_and_a_source_can_be_picked():
    report = hand.ladder()
    outcomes = evaluate(report, ["horizon < 50", "horizon@source=rnn < 5"], ["log10_rate > 0"])
    assert [(o.level, o.source, o.passed) for o in outcomes] == [
        ("fail", "rnn", False),
        ("fail", "skip", True),
        ("fail", "forget-gate", False),
        ("fail", "input-gate", False),
        ("fail", "lstm", True),
        ("fail", "rnn", True),
        ("warn", "rnn", True),
        ("warn", "skip", False),
        ("warn", "forget-gate", True),
        ("warn", "input-gate", True),
        ("warn", "lstm", True),
    ]
    assert json.dumps([o.to_dict() for o in outcomes], allow_nan=False)


def test_raw_numbers_decide_not_rendered_ones():
    report = hand.report("gradients", hand.gradients_result(rate=-0.30000000001))
    assert not passes(report, "log10_rate < -0.3")
    assert "found -0.30000000001" in one(report, "log10_rate < -0.3").message


def test_lyapunov_rank_deficient_directions():
    nan = float("nan")
    columns = {
        "index": [1, 2],
        "exponent": [-0.2, nan],
        "low": [-0.3, nan],
        "high": [-0.1, nan],
        "status": ["ok", "minus_infinity"],
    }
    summary = {"max": -0.2, "sum": None, "mean_log_det": None, "kaplan_yorke_dimension": 0.0, "converged": True}
    report = hand.report("lyapunov", Result({"name": "r"}, {}, columns, summary))
    assert not passes(report, "exponent@index=2 < -100")
    assert not passes(report, "sum < 0")
    assert passes(report, "sum > 0")
    assert passes(report, "max > 0")
    assert passes(report, "converged == false")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("horizn < 50", "no 'horizn'. Did you mean 'horizon'"),
        ("qqqq < 50", "Known: "),
        ("log10_norm@lagg=1 < 0", "no key 'lagg'. Did you mean 'lag'"),
        ("horizon", "wanted NAME"),
        ("horizon < fifty", "not a number"),
        ("horizon == fifty", "not a number"),
        ("verdict < vanishing", "use == or !="),
        ("horizon < nan", "finite"),
        ("horizon << 5", "not a number"),
        ("log10_norm@lag < 5", "wanted NAME"),
        ("log10_dloss_dweight_layers > 0", "is a list"),
    ],
)
def test_a_wrong_expression_is_refused_before_anything_is_computed(expression, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        check_names([expression], "gradients")


def test_additions_of_a_stored_result_are_known():
    result = hand.gradients_result()
    result.summary["half_life"] = 3.5
    assert not passes(hand.report("gradients", result), "half_life < 4")


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused_in_words(text):
    with contextlib.suppress(UsageError):
        parse_gate(text)
