"""The table for a person: answers at a glance, right at 80 columns, complete elsewhere, colour never needed."""

from __future__ import annotations

import re
from dataclasses import replace

import hand_made_reports as hand
import pytest

from gradscope.reports import formats, table
from gradscope.reports.numbers import fixed, log_value, significant
from gradscope.reports.query import select
from gradscope.reports.reading import shown_lags, shown_rows


def text(report, **options):
    return formats.render(report, "table", **options)


def test_the_verdict_comes_first_and_says_how_fast_and_how_far():
    said = text(hand.vanishing()).splitlines()
    # 10^(-0.31 k) >= 1e-3 up to k = 9 (-2.79), not at k = 10 (-3.1)
    assert said[2] == (
        "vanishing: -0.310 decades per step (95 % interval -0.330 to -0.290); "
        "the gradient falls below 0.001 after 9 steps"
    )
    assert "exceeded at 100 of 101 lags" in said[3]
    assert said[4].startswith("Bounds hold at every lag")
    assert "Warning: Gaussian input can mislead." in "\n".join(said)


@pytest.mark.parametrize("make", [hand.vanishing, hand.exploding, hand.neutral, hand.zero_rows, hand.lstm, hand.ladder])
@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_wider_than_the_terminal(make, width):
    for verbose in (False, True):
        said = text(make(), width=width, verbose=verbose)
        assert max(map(len, said.splitlines())) <= width
        assert "…" not in said.replace("(tanh′)", "")


def test_off_terminal_nothing_is_left_out_however_wide():
    long_name = "models/" + "x" * 300 + ".npz"
    said = text(
        hand.report("gradients", hand.gradients_result(long_name), hand.gradients_result("lstm", h_corner=True)),
        verbose=True,
    )
    assert said.count(long_name) >= 3
    for title in ("dh/dh", "path", "st.rank", "rank", "dL/dW", "95 % interval"):
        assert title in said
    assert "Left out" not in said


def test_a_narrow_terminal_names_what_it_left_out():
    assert re.search(r"Left out at 60 columns: .*path", text(hand.lstm(), width=60))


def test_an_exact_zero_is_said_and_its_first_row_shown():
    lines = text(hand.zero_rows()).splitlines()
    assert any(re.match(r"\s*8\s+zero\b", line) for line in lines)
    assert any(re.match(r"\s*7\s+-0\.700", line) for line in lines)


def test_all_rows_that_were_asked_for_are_given():
    asked = text(hand.report("gradients", hand.gradients_result(lags="0:100:1")))
    assert all(re.search(rf"^ *{k}  ", asked, re.M) for k in range(101))


def test_a_censored_horizon_says_so():
    said = text(hand.censored())
    assert "stays at or above 0.001 through all 100 steps" in said
    assert "> 100" in text(hand.ladder())


def test_peak_is_told_when_the_gradient_first_grows():
    assert "It first grows: the norm peaks at 10^12.40, 100 steps back." in text(hand.exploding())


def test_a_selection_of_rows_does_not_change_what_was_counted():
    late = select(hand.vanishing(), where=["lag >= 95"])
    assert "exceeded at 100 lags (marked >)" in text(late)
    assert "falls below 0.001 after 9 steps" in text(late)


def test_a_violated_bound_shouts():
    result = hand.gradients_result()
    result.summary["bound_violations"] = 3
    assert "BOUND VIOLATED at 3 lags" in text(hand.report("gradients", result))


def test_rounding_never_crosses_a_verdict():
    assert fixed(0.99996, 3, against=[1.0]) == "0.99996"
    assert fixed(1.0, 3, against=[1.0]) == "1.000"
    assert float(fixed(-1e-13, 3, against=[0.0])) < 0
    assert float(significant(0.99999999, against=[1.0])) < 1
    # epsilon is 1e-3: a norm just below it must not print as -3.000
    assert log_value(-3.0000001, against=[-3.0]) == "-3.0000001"
    barely = hand.report("gradients", hand.gradients_result(rate=-0.0100001, interval=0.00005))
    said = text(barely).splitlines()[2]
    assert said.startswith("vanishing: -0.0100001 decades")  # T = 100: vanishing needs rate <= -0.01


def test_the_flag_marks_exactly_the_lags_where_theory_is_exceeded():
    # -0.3 k + 0.9 > -0.25 k for k < 18; lag 0 is 0 on both sides; at lag 18 both are -4.5
    result = hand.gradients_result(rate=-0.3, theory_rate=-0.25, bump=0.9, steps=30, lags="0:30:1")
    rows = [line.split() for line in text(hand.report("gradients", result)).splitlines() if re.match(r" *\d+  ", line)]
    assert [int(row[0]) for row in rows] == list(range(31))
    assert [int(row[0]) for row in rows if ">" in row] == list(range(1, 18))


def test_the_flag_is_true_to_the_printed_numbers():
    result = hand.gradients_result(rate=-0.3, theory_rate=-0.3000001)
    for line in text(hand.report("gradients", result)).splitlines():
        match = re.match(r"\s*\d+ +(-?[\d.]+) +(-?[\d.]+) +>", line)
        if match:
            assert float(match[1]) > float(match[2])


def test_colour_is_only_decoration_and_ascii_is_ascii():
    plain = text(hand.ladder(), verbose=True)
    coloured = text(hand.ladder(), color=True, verbose=True)
    assert "\x1b[" not in plain
    assert "\x1b[" in coloured
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()
    assert text(hand.ladder(), unicode=False, verbose=True).isascii()


def test_brackets_and_control_characters_of_a_name_are_shown_not_obeyed():
    said = text(hand.report("gradients", hand.gradients_result("W[red]hh[/]\x1b[31m.npz")))
    assert "W[red]hh[/]\\x1b[31m.npz" in said
    assert "\x1b" not in said


class Stream:
    encoding = "utf-8"

    def __init__(self, terminal):
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def fileno(self):
        raise OSError


@pytest.mark.parametrize(
    ("choice", "environment", "terminal", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colour_choices(choice, environment, terminal, expected, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert table.wants_color(choice, Stream(terminal)) is expected


def test_width_choices(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert table.terminal_width(Stream(False)) is None
    assert table.terminal_width(Stream(True)) == 80
    monkeypatch.setenv("COLUMNS", "132")
    assert table.terminal_width(Stream(True)) == 132
    assert table.terminal_width(Stream(False)) is None


@pytest.mark.parametrize("last", [0, 1, 5, 10, 30, 50, 100, 1000, 5000, 10**6])
def test_about_fifteen_lags_with_both_ends(last):
    lags = shown_lags(last)
    assert lags[0] == 0
    assert lags[-1] == last
    assert len(lags) <= 17


def test_the_horizon_row_is_always_shown():
    result = hand.gradients_result(rate=-3 / 37.5)  # the norm crosses 1e-3 between lags 37 and 38
    assert result.summary["horizon"] == 37
    assert 37 in [result.columns["lag"][i] for i in shown_rows(result)]


def test_details_of_stacks_bottlenecks_and_inputs_are_told():
    result = hand.gradients_result("rnn:layers=2", steps=4)
    blocks = [[[0.0, None], [-1.5, 0.0]], [[-0.5, None], [-2.25, -0.75]]]
    result.details["layer_blocks"] = {"lag": [0, 4], "log10_norm": blocks}
    result.details["bottleneck"] = {
        "decoder_step": [1, 2], "encoder_step": [0, 1, 2], "log10_norm": [[-3.0, -2.0, -1.0], [-4.0, -3.0, None]],
        "rank": 3, "state_size": 16,
    }  # fmt: skip
    influence = {"step": 10, "": -2.0, "permuted": -2.5, "rescaled": -8.0}
    result.summary.update({"influence_step": influence.pop("step"), "log10_influence": influence.pop("")})
    result.summary.update({f"log10_influence_{how}": value for how, value in influence.items()})
    report = hand.report("gradients", result)
    said = text(report)
    assert re.search(r"layer 1 from layer 0 +-1\.500 +-2\.250\n", said)
    assert "layer 0 from layer 1" not in said  # the layer above cannot act on the one below
    assert "state of size 16; gradients of rank 3 reach the encoder" in said
    assert "x_1 reaches h_10 with 10^-2.00" in said
    assert "permuted 10^-2.50, five times larger 10^-8.00" in said
    assert "How each decoder step reaches the encoder" in formats.render(report, "html")


def test_sensitivity_to_inputs_is_not_called_a_state_gradient():
    result = hand.gradients_result(steps=9)
    kept = {name: result.columns[name] for name in ("lag", "log10_norm", "status")}
    shares = {"share": [0.5**k for k in range(1, 11)]}
    inputs = replace(result, columns={**kept, **shares}, settings={**result.settings, "wrt": "inputs"})
    said = text(hand.report("gradients", inputs))
    assert "measured: spectral norm of dh_T/dx_(T-k)" in said
    assert "No bound stands beside this." in said
    assert "no closed form" in said
    assert re.search(r"\n *1 +-0\.310 +0\.2500\n", said)


def test_the_first_encoder_lag_is_always_shown():
    result = hand.gradients_result(steps=200)
    result.columns["phase"] = ["decoder"] * 37 + ["encoder"] * 164
    assert 37 in [result.columns["lag"][i] for i in shown_rows(result)]


def test_directions_and_layers_name_the_columns():
    name = "lstm:hidden=64,bidirectional=true"
    results = [hand.gradients_result(name, layer=0, direction=d) for d in ("forward", "backward")]
    said = text(hand.report("gradients", *results))
    head = next(line for line in said.splitlines() if line.startswith("lag"))
    assert "layer 0 forward" in head
    assert "layer 0 backward" in head
    assert f"\n{name} layer 0 forward " in said


def test_the_columns_are_explained_once():
    assert text(hand.ladder(), verbose=True).count("measured: spectral norm of") == 1
    assert text(hand.vanishing()).count("measured: spectral norm of") == 1


def test_claims_read_in_eighty_columns():
    said = text(hand.claims(), width=80)
    assert said.startswith("1 of 3 measurements disagree with the prediction: C19.")
    assert max(map(len, said.splitlines())) <= 80
    rows = [line for line in said.splitlines() if re.match(r"C\d\d ", line)]
    assert [line.split()[:3] for line in rows] == [
        ["C01", "conditional", "yes"],
        ["C06", "false", "yes"],
        ["C19", "true", "NO"],
    ]
    assert len(said.splitlines()) < 25
    assert "<br>measured: 10.85<br>expected: 10.9 +- 1.2" in formats.render(hand.claims(), "md")
