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
from gradscope.reports import formats, markdown
from gradscope.reports.gates import check_names, evaluate, parse_gate
from gradscope.reports.json_report import read_report


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


@given(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(5, 13))
def test_an_expectation_fails_where_python_says_no(operator, wanted):
    (outcome,) = evaluate(hand.vanishing(), expect=[f"horizon {operator} {wanted}"])
    assert outcome.passed is eval(f"9 {operator} {wanted}")
    assert (outcome.wanted, outcome.level) == (f"horizon {operator} {wanted}", "fail")


@pytest.mark.parametrize(
    ("expression", "passed"),
    [("horizon >= 50", True), ("horizon > 100", True), ("horizon >= 500", False), ("horizon < 500", False)],
)
def test_what_a_censored_horizon_does_not_decide_is_no_expectation_met(expression, passed):
    (outcome,) = evaluate(hand.censored(), expect=[expression])
    assert outcome.passed is passed
    assert ("raise --steps" in outcome.message) is ("500" in expression)


def test_an_expectation_holds_at_every_row_or_fails():
    met, missed, nothing = evaluate(
        hand.vanishing(), expect=["log10_norm <= 0", "log10_norm > -6", "log10_norm@lag=999 > -6"]
    )
    assert (met.passed, missed.passed, nothing.passed) == (True, False, False)
    assert "expected log10_norm > -6, found -31" in missed.message
    assert "matches nothing" in nothing.message


@pytest.mark.parametrize("name", ["bound_violations", "theory_violations", "tbptt_length", "horizon_h", "log10_rate"])
@pytest.mark.parametrize("operator", ["<", ">", "==", "!="])
def test_a_number_nobody_computed_passes_no_gate_either_way(name, operator):
    result = hand.gradients_result()
    result.summary[name] = None
    report = hand.report("gradients", result)
    for outcome in evaluate(report, [f"{name} {operator} 0"], expect=[f"{name} {operator} 0"]):
        assert not outcome.passed
        assert outcome.found.startswith("no value")
        assert "does not decide it" in outcome.message


def test_a_null_behind_an_underflow_is_not_taken_for_a_zero():
    result = hand.gradients_result(zero_from=8)
    report = hand.report("gradients", result)
    assert passes(report, "log10_dloss_dstate@lag=20 > -6")  # exactly zero with the norm
    result.columns["status"][8:] = ["underflow"] * 93
    assert not passes(report, "log10_dloss_dstate@lag=20 > -6")
    assert not passes(report, "log10_dloss_dstate@lag=20 < -6")


def test_the_h_corner_is_censored_like_the_whole():
    result = hand.gradients_result()
    result.summary.update(horizon_h=None, horizon_h_censored=True)
    outcome = one(hand.report("gradients", result), "horizon_h < 50")
    assert (outcome.passed, outcome.found, outcome.wanted) == (True, "> 100", "horizon_h >= 50")


def test_outcomes_are_stored_with_the_wanted_condition(tmp_path):
    report = hand.vanishing()
    report = hand.report("gradients", *report.results, gates=evaluate(report, ["horizon < 50"], expect=["rank > 0"]))
    for name in ("json", "jsonl"):
        path = tmp_path / f"r.{name}"
        path.write_text(formats.render(report, name))
        assert read_report(path).gates == report.gates
    assert [gate.wanted for gate in report.gates] == ["rank > 0", "horizon >= 50"]


@pytest.mark.parametrize(
    ("fail", "warn", "said"),
    [
        (["horizon < 5"], [], "The gate passed."),
        (["horizon < 5", "rank < 1"], [], "Both gates passed."),
        (["horizon < 50"], [], "The gate failed."),
        ([], ["horizon < 50"], "The gate warned."),
        (["horizon < 5"], ["horizon < 50"], "No gate of 2 failed, 1 warned."),
        (["horizon < 50"], ["horizon < 50"], "1 of 2 gates failed, 1 warned."),
    ],
)
def test_gates_are_counted_in_words_and_stand_once(fail, warn, said):
    report = hand.vanishing()
    report = hand.report("gradients", *report.results, gates=evaluate(report, fail, warn))
    for name in ("table", "md"):
        text = formats.render(report, name)
        assert said in text
        assert text.count("Gates") == 1
        assert "horizon >= 5" in text.replace("\\", "")
    summary = markdown.render(report, gates_first=True)
    assert summary.index("Gates") < summary.index("vanishing")


def test_github_says_in_one_plain_line_that_all_passed():
    report = hand.vanishing()
    report = hand.report("gradients", *report.results, gates=evaluate(report, ["horizon < 5"], expect=["rank > 0"]))
    assert formats.render(report, "github") == "gradscope: Both gates passed.\n"


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


def a_run(horizons, errors=None, *, T=60):
    """A series of checkpoints; None is a horizon beyond T."""
    columns = {
        "step": [100 * i for i in range(len(horizons))],
        "error": errors or [None] * len(horizons),
        "T": [T] * len(horizons),
        "horizon": list(horizons),
        "horizon_censored": [h is None for h in horizons],
        "tbptt_length": [7] * len(horizons),
    }
    result = Result({"name": "run"}, {"steps": T}, columns, {})
    return hand.report("series", result, command=("series", "run"))


HALF = "horizon@step=last >= 0.5 * horizon@step=first"


@pytest.mark.parametrize(
    ("horizons", "passed"),
    [
        ((20, 3, 10), True),
        ((20, 30, 9), False),
        ((20, 30, None), True),  # beyond 60
        ((None, 30, 29), False),  # half of what lies beyond 60 lies beyond 30
        ((None, 30, 30), False),
        ((None, 30, 31), False),  # nobody knows: half of what lies beyond 60
        ((None, 30, None), False),
    ],
)
def test_a_field_against_a_field(horizons, passed):
    (outcome,) = evaluate(a_run(horizons), expect=[HALF])
    assert outcome.passed is passed
    assert outcome.condition == HALF
    if horizons == (20, 30, 9):
        assert f"expected {HALF}, found 9 at step 200 against 10.0" in outcome.message
    if horizons[0] is None and horizons[2] in (31, None):
        assert "does not decide it; raise --steps" in outcome.message
    if not passed and "does not decide" not in outcome.message:
        assert not evaluate(a_run(horizons), [HALF.replace(">=", "<")])[0].passed


def test_ends_are_the_first_and_last_that_were_measured():
    run = a_run((20, 11, 1), [None, None, "it cannot be read"])
    assert evaluate(run, expect=[HALF])[0].passed
    assert evaluate(run, expect=["horizon@step=last == 11"])[0].passed
    assert evaluate(run, expect=["horizon@step=first > horizon@step=100"])[0].passed
    assert evaluate(run, expect=["horizon@step=0 >= tbptt_length@step=last"])[0].passed
    (outcome,) = evaluate(run, expect=["horizon@step=last >= horizon"])
    assert not outcome.passed
    assert "horizon is 3 numbers here, not one" in outcome.message
    for wrong, said in (
        ("horizon >= 0 * horizon@step=first", "not a number above 0"),
        ("horizon >= 0.5 * horison@step=first", "Did you mean 'horizon'"),
        ("horizon >= 0.5 * horizon@stp=first", "Did you mean 'step'"),
        ("horizon >= 2 * verdict", "holds words"),
    ):
        with pytest.raises(UsageError, match=said):
            evaluate(run, expect=[wrong])


def test_two_fields_of_one_summary():
    report = hand.vanishing()  # horizon 9
    assert evaluate(report, expect=["horizon >= 0.5 * horizon"])[0].passed
    assert not evaluate(report, expect=["horizon >= 1.1 * horizon"])[0].passed
