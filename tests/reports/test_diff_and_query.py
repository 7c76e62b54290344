"""diff tells change from noise and worse from better; show filters, sorts and picks."""

from __future__ import annotations

import hand_made_reports as hand
import pytest

from gradscope.errors import UsageError
from gradscope.reports import formats
from gradscope.reports.compare import diff
from gradscope.reports.gates import evaluate
from gradscope.reports.json_report import read_report
from gradscope.reports.query import pivot, select


def one(base, new):
    (result,) = diff(base, new).results
    return result


def found(result, where, field):
    (row,) = [row for row in result.rows() if (row["where"], row["field"]) == (where, field)]
    return row


def test_nothing_changed():
    result = one(hand.vanishing(), hand.vanishing())
    assert {(row["where"], row["verdict"], row["change"]) for row in result.rows()} == {("summary", "same", 0)}
    assert {row["field"] for row in result.rows()} == {*hand.vanishing().results[0].summary}
    assert result.summary["verdict"] == "same"
    assert (result.summary["worse"], result.summary["better"], result.summary["changed"]) == (0, 0, 0)
    assert result.summary["same"] > 500
    assert "same: no change beyond noise" in formats.render(diff(hand.vanishing(), hand.vanishing()), "md")


def test_a_shorter_horizon_and_a_faster_decay_are_worse_and_the_reverse_is_better():
    slow, fast = (hand.report("gradients", hand.gradients_result(rate=rate)) for rate in (-0.1, -0.3))
    worse, better = one(slow, fast), one(fast, slow)
    # 10^(-0.1 k) >= 1e-3 up to 29 (0.1 * 30 rounds above 3), 10^(-0.3 k) up to 9 or 10
    row = found(worse, "summary", "horizon")
    assert row["verdict"] == "worse"
    assert row["change"] == row["new"] - row["base"] < -15
    assert found(better, "summary", "horizon")["verdict"] == "better"
    rate = found(worse, "summary", "log10_rate")
    assert (rate["verdict"], rate["change"]) == ("worse", pytest.approx(-0.2))
    assert rate["noise"] == pytest.approx((0.02**2 + 0.02**2) ** 0.5)
    assert found(worse, "lag 100", "log10_norm")["change"] == pytest.approx(-20)
    assert found(worse, "lag 100", "log10_norm")["verdict"] == "worse"


def test_growth_is_worse_too():
    calm, wild = (hand.report("gradients", hand.gradients_result(rate=rate)) for rate in (0.01, 0.3))
    assert found(one(calm, wild), "summary", "log10_rate")["verdict"] == "worse"
    assert found(one(wild, calm), "lag 50", "log10_norm")["verdict"] == "better"


def test_batch_spread_and_intervals_are_noise():
    def noisy(rate, std, batch):
        result = hand.gradients_result(rate=rate, interval=0.02)
        result.columns["log10_norm_std"][:] = [std] * 101
        result.settings["batch"] = batch
        return hand.report("gradients", result)

    # at lag 10 the two differ by 0.1; 1.96 sqrt(2 * 0.3^2 / 16) = 0.208
    within = one(noisy(-0.30, 0.3, 16), noisy(-0.31, 0.3, 16))
    assert not [row for row in within.rows() if row["where"] == "lag 10" and row["field"] == "log10_norm"]
    assert found(within, "summary", "log10_rate")["verdict"] == "same"  # 0.01 < 0.028
    # the same spread over 400 samples: 1.96 sqrt(2 * 0.3^2 / 400) = 0.0416
    beyond = found(one(noisy(-0.30, 0.3, 400), noisy(-0.31, 0.3, 400)), "lag 10", "log10_norm")
    assert beyond["noise"] == pytest.approx(1.96 * (2 * 0.09 / 400) ** 0.5)


def test_a_column_without_meaning_on_one_side_is_not_compared():
    fields = {row["field"] for row in one(hand.vanishing(), hand.lstm()).rows()}
    assert "log10_norm" in fields
    assert "log10_norm_h" not in fields  # an rnn has no corner of h components


def test_a_horizon_is_as_uncertain_as_the_rate_behind_it():
    def at(rate, horizon):
        result = hand.gradients_result(rate=rate, interval=0.01)
        result.summary["horizon"] = horizon
        return hand.report("gradients", result)

    # 30 * 0.01 / 0.1 = 3 steps on either side: hypot(3, 3.1) = 4.3
    assert found(one(at(-0.1, 30), at(-0.1, 31)), "summary", "horizon")["verdict"] == "same"
    row = found(one(at(-0.1, 30), at(-0.1, 25)), "summary", "horizon")
    assert row["noise"] == pytest.approx((9 + 6.25) ** 0.5)
    assert row["verdict"] == "same"  # 5 steps, noise 3.9 and a tenth of 30
    assert found(one(at(-0.1, 30), at(-0.1, 23)), "summary", "horizon")["verdict"] == "worse"  # 7 > 3.8 + 3


def test_what_is_lost_comes_first_then_the_largest_change_then_words():
    alive = hand.report("gradients", hand.gradients_result("nilpotent.npy", -0.1, 40))
    rows = [row for row in one(alive, hand.zero_rows()).rows() if row["where"] != "summary"]
    lost = [row["size"] is None and row["verdict"] == "worse" for row in rows]
    assert sum(lost) == 33  # lags 8 to 40 became exactly zero
    assert all(lost[:33])
    sizes = [row["size"] for row in rows[33:] if row["size"] is not None]
    assert sizes == sorted(sizes, reverse=True)
    assert [row["size"] for row in rows[33 + len(sizes) :]] == [None] * (len(rows) - 33 - len(sizes))


def test_words_censoring_and_zeros_have_a_direction():
    def verdicts(a, b):
        return {(r["where"], r["field"]): r["verdict"] for r in one(a, b).rows()}

    neutral = hand.neutral()
    lost = verdicts(neutral, hand.vanishing())
    assert lost["summary", "verdict"] == "worse"
    assert lost["summary", "horizon"] == "worse"
    assert verdicts(hand.vanishing(), neutral)["summary", "horizon"] == "better"
    dead = verdicts(hand.report("gradients", hand.gradients_result("nilpotent.npy", -0.1, 40)), hand.zero_rows())
    assert dead["lag 20", "log10_norm"] == "worse"
    assert ("lag 7", "log10_norm") not in dead


def test_sources_are_matched_by_name_or_alone_and_missing_ones_are_named():
    assert one(hand.vanishing(), hand.exploding()).source["name"] == "rnn:gain=3"
    smaller = hand.report("gradients", *hand.ladder().results[1:])
    results = diff(hand.ladder(), smaller).results
    assert [r.source["name"] for r in results] == ["skip", "forget-gate", "input-gate", "lstm", "rnn"]
    assert results[-1].summary["only_base"] == 101
    assert "only in BASE" in results[-1].warnings[0]


def test_different_options_are_warned_about_and_different_verbs_refused():
    other = hand.report("gradients", hand.gradients_result(steps=50), seed=1)
    warnings = " ".join(one(hand.vanishing(), other).warnings)
    assert "steps differs: 100 and 50" in warnings
    assert "seed differs" in warnings
    assert one(hand.vanishing(), other).summary["only_base"] == 50
    with pytest.raises(UsageError, match="gradients and spectrum"):
        diff(hand.vanishing(), hand.spectrum())


@pytest.mark.parametrize("make", [hand.spectrum, hand.lyapunov, hand.inspect, hand.claims, hand.sweep])
def test_every_verb_can_be_compared_with_itself_and_with_a_changed_self(make):
    assert all(r.summary["worse"] == r.summary["changed"] == 0 for r in diff(make(), make()).results)
    other = make()
    name = {
        "spectrum": "henrici",
        "lyapunov": "exponent",
        "inspect": "dtype",
        "claims": "agrees",
        "sweep": "log10_rate",
    }[other.verb]
    column = other.results[0].columns[name]
    column[0] = "float64" if isinstance(column[0], str) else not column[0] if name == "agrees" else column[0] - 7.0
    rows = diff(make(), other).results[0].rows()
    assert [row["field"] for row in rows if row["where"] != "summary"] == [name]


def test_a_diff_is_a_report_with_gates_and_every_format(tmp_path):
    report = diff(hand.vanishing(), hand.exploding(), command=("diff", "a.json", "b.json"))
    gates = evaluate(report, ["changed > 0", "change@field=horizon < -5"])
    assert [gate.passed for gate in gates] == [False, True]  # a horizon beyond 100 did not shrink
    for name in formats.STDOUT_FORMATS:
        assert isinstance(formats.render(report, name), str)
    path = tmp_path / "d.json"
    path.write_text(formats.render(report, "json"))
    assert formats.render(read_report(path), "table") == formats.render(report, "table")


def test_a_change_never_prints_as_no_change():
    result = hand.gradients_result()
    result.summary["log10_peak"] = 1.0000000001 * 3
    base = hand.gradients_result()
    base.summary["log10_peak"] = 3.0
    report = diff(hand.report("gradients", base), hand.report("gradients", result))
    assert found(report.results[0], "summary", "log10_peak")["verdict"] == "same"  # a relative 1e-10 is rounding
    result.summary["log10_peak"] = 3.000001
    text = formats.render(diff(hand.report("gradients", base), hand.report("gradients", result)), "table")
    assert "3.000001" in text


def test_where_keeps_rows_or_whole_results():
    report = hand.ladder()
    late = select(report, where=["lag >= 50", "lag < 60"])
    assert all(list(r.columns["lag"]) == list(range(50, 60)) for r in late.results)
    zero = select(report, where=["status == zero"])
    assert [r.n_rows for r in zero.results] == [0, 0, 0, 71, 0]
    assert [r.source["name"] for r in select(report, where=["cell == lstm"]).results] == ["lstm"]
    assert [r.source["name"] for r in select(report, where=["horizon < 12"]).results] == ["rnn"]
    assert select(report, where=["log10_norm == null"]).results[3].n_rows == 71
    assert select(report) is report


def test_a_filtered_table_shows_every_row_it_was_asked_for():
    text = formats.render(select(hand.vanishing(), where=["lag >= 40", "lag <= 90"]), "table")
    assert all(f"\n{lag:>5} " in text for lag in range(40, 91))


def test_sort_and_columns():
    report = select(hand.zero_rows(), sort=["-log10_norm"], columns=["lag", "log10_norm"])
    assert list(report.results[0].columns) == ["lag", "log10_norm"]
    assert list(report.results[0].columns["lag"])[:9] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert report.results[0].rows["log10_norm"][-1] is None
    text = formats.render(report, "table")
    assert "log10_norm" in text
    assert "theory" not in text.split("\n")[4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": ["lagg >= 1"]}, "Did you mean 'lag'"),
        ({"where": ["lag"]}, "wanted NAME OP VALUE"),
        ({"where": ["lag > many"]}, "not a number"),
        ({"sort": ["-lagg"]}, "Did you mean 'lag'"),
        ({"columns": ["rnak"]}, "Did you mean 'rank'"),
    ],
)
def test_wrong_queries_are_refused_in_words(options, message):
    with pytest.raises(UsageError, match=message):
        select(hand.vanishing(), **options)


def test_pivot_turns_the_map():
    text = formats.render(pivot(hand.sweep(), keys=("init", "gain"), value="horizon"), "html")
    assert "Horizon for every init (up) and gain (across)" in text
    with pytest.raises(UsageError, match="Did you mean 'gain'"):
        pivot(hand.sweep(), keys=("init", "gian"))


def made(rate, horizon, *, interval=0.01, steps=100, verdict="vanishing", censored=False):
    result = hand.gradients_result(rate=rate, interval=interval, steps=steps, verdict=verdict)
    result.summary.update(horizon=None if censored else horizon, horizon_censored=censored)
    return hand.report("gradients", result)


BOTH_WAYS = {"worse": "better", "better": "worse", "same": "same"}


@pytest.mark.parametrize(
    ("base", "new", "verdict"),
    [
        (made(-0.1, 30), made(-0.3, 10), "worse"),
        (made(-0.1, 30), made(-0.105, 31), "same"),
        (made(-0.01, 40, interval=0.0), made(-0.01, 41, interval=0.0), "same"),  # a step
        (made(-0.01, 40, interval=0.0), made(-0.01, 44, interval=0.0), "same"),  # a tenth
        (made(-0.01, 40, interval=0.0), made(-0.01, 45, interval=0.0), "better"),
        (made(-0.2, 15, interval=0.001), made(-0.215, 15, interval=0.001), "same"),  # apart, but by less than a tenth
        (made(-0.2, 15, interval=0.001), made(-0.23, 15, interval=0.001), "worse"),
        (made(-0.2, 15, interval=0.02), made(-0.23, 15, interval=0.02), "same"),  # by more, but they overlap
        (made(0.3, 0, verdict="exploding", censored=True), made(0.1, 0, verdict="exploding", censored=True), "better"),
        (made(0.3, 90, verdict="exploding"), made(0.1, 0, verdict="exploding", censored=True), "better"),
        (made(0.1, 20, verdict="exploding"), made(0.3, 90, verdict="exploding"), "worse"),  # longer is not better
        (made(-0.1, 30), made(0.0, 0, verdict="neutral", censored=True), "better"),
        (made(-0.03, 95), made(-0.02, 0, censored=True, interval=0.02), "same"),  # beyond 100: perhaps 101
        (made(-0.03, 0, censored=True), made(-0.03, 0, censored=True), "same"),
    ],
)
def test_verdict_class_horizon_and_rate_interval_decide_both_ways(base, new, verdict):
    assert one(base, new).summary["verdict"] == verdict
    assert one(new, base).summary["verdict"] == BOTH_WAYS[verdict]
    gates = [evaluate(diff(*pair), ["verdict == worse"])[0].passed for pair in ((base, new), (new, base))]
    assert gates == [verdict != "worse", verdict != "better"]


def test_lag_rows_are_detail_and_never_decide():
    base, new = hand.gradients_result(), hand.gradients_result()
    new.columns["log10_norm"][:] = [value - 1.0 for value in base.columns["log10_norm"]]
    result = one(hand.report("gradients", base), hand.report("gradients", new))
    assert found(result, "lag 50", "log10_norm")["verdict"] == "worse"
    assert (result.summary["verdict"], result.summary["worse"]) == ("same", 0)


RELATIVE = [
    "change@field=horizon < -5",
    "change@field=horizon > 5",
    "change_percent@field=horizon < -20",
    "change_percent@field=horizon <= 0",
    "change@field=log10_rate >= 0",
    "size@field=log10_peak > 0.1",
    "change@field=log10_norm < -1",
    "change@field=log10_norm@where=lag 5 < -1",
    "change@field=verdict < 0",
    "worse > 0",
    "changed > 0",
    "verdict == worse",
]


@pytest.mark.parametrize(
    "make", [hand.vanishing, hand.exploding, hand.neutral, hand.zero_rows, hand.censored, hand.lstm, hand.ladder]
)
def test_a_file_against_itself_passes_every_relative_gate(make):
    outcomes = evaluate(diff(make(), make()), RELATIVE, expect=["change@field=horizon > 5", "verdict == same"])
    assert [gate.expression for gate in outcomes if not gate.passed] == []


def test_a_gate_on_a_row_or_field_there_is_not_still_fails():
    report = diff(hand.vanishing(), hand.vanishing())
    for expression in ("change@field=horizn < 0", "change@field=log10_norm@where=lag 999 < 0"):
        (outcome,) = evaluate(report, [expression])
        assert "matches nothing" in outcome.message


@pytest.mark.parametrize(
    ("base", "new", "expression", "passed"),
    [
        (made(-0.1, 30), made(-0.3, 10), "change_percent@field=horizon < -20", False),  # -66.7 %
        (made(-0.1, 30), made(-0.3, 10), "change_percent@field=horizon < -70", True),
        (made(-0.1, 30), made(0.0, 0, censored=True), "change_percent@field=horizon < -20", True),  # more than +233 %
        (made(-0.1, 30), made(0.0, 0, censored=True), "change@field=horizon > 70", False),
        (made(-0.1, 30), made(0.0, 0, censored=True), "change@field=horizon > 71", False),  # nobody knows
        (made(0.0, 0, censored=True), made(-0.1, 30), "change_percent@field=horizon < -20", False),  # below -70 %
        (made(0.0, 0, censored=True), made(-0.1, 30), "change@field=horizon < -70", False),
        (made(0.0, 0, censored=True), made(-0.1, 30), "change@field=horizon > -70", True),
        (made(0.0, 0, censored=True), made(0.0, 0, censored=True), "change@field=horizon < -1", True),
    ],
)
def test_changes_of_horizons_are_gated_as_far_as_they_are_known(base, new, expression, passed):
    (outcome,) = evaluate(diff(base, new), [expression])
    assert outcome.passed is passed, outcome
