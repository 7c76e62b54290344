"""The table for a person: answers at a glance, right at 80 columns, complete elsewhere, colour never needed."""

from __future__ import annotations

import re
from dataclasses import replace

import hand_made_reports as hand
import pytest

from gradscope.reports import formats, table
from gradscope.reports.numbers import fixed, log_value, significant
from gradscope.reports.reading import shown_lags, shown_rows


def text(report, **options):
    return formats.render(report, "table", **options)


def heads(said):
    """Titles of every table: the line above the units."""
    lines = said.splitlines()
    return [
        re.split(r"  +", lines[i - 1].strip())
        for i, line in enumerate(lines)
        if re.match(r" *steps +(log10|steps)", line)
    ]


@pytest.mark.parametrize("make", [hand.vanishing, hand.exploding, hand.lstm, hand.censored, hand.ladder, hand.spectrum])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_first_screen(make, width):
    said = text(make(), width=width)
    lines = said.splitlines()
    assert max(map(len, lines)) <= width
    verdicts = ("vanishing", "exploding", "neutral", "power")
    assert any(word in line for line in lines[-6:] for word in verdicts)
    assert all(len(titles) <= 8 for titles in heads(said))
    # seed and version stand on the one grey line as far as they fit, and once
    assert said.count("gradscope 0.1.0") <= 1
    assert width < 200 or "gradscope 0.1.0" in said
    assert "numpy" not in said.lower()
    if make in (hand.vanishing, hand.exploding, hand.lstm):
        assert heads(said) == [["lag", "measured", "theory", "bound"]]
        assert sum(bool(re.match(r" *\d+ ", line)) for line in lines) in range(10, 15)


def test_spread_and_the_users_own_loss_have_columns_and_a_seeded_loss_has_none():
    result = hand.gradients_result()
    result.columns["log10_norm_std"] = [0.1] * 101
    for readout, more in (("seeded", []), ("fc (3, 8)", ["loss"]), (None, [])):
        shown = replace(result, settings={**result.settings, "readout": readout})
        assert heads(text(hand.report("gradients", shown))) == [["lag", "measured", "±", "theory", "bound", *more]]


def test_the_bound_is_the_tightest_of_those_that_are_proved():
    result = hand.gradients_result(rate=-0.3, lags="0:100:1")
    result.columns["log10_bound"] = [0.3 * k if k < 50 else -0.1 * k for k in range(101)]
    result.columns["log10_path_bound"] = [0.1 * k for k in range(101)]
    rows = [line.split() for line in text(hand.report("gradients", result)).splitlines() if re.match(r" *\d+  ", line)]
    assert [float(row[3]) for row in rows] == pytest.approx([0.1 * k if k < 50 else -0.1 * k for k in range(101)])


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
    for title in ("dh/dh", "path", "st.rank", "rank", "dL/dW", "95 % interval", "NumPy 2.1.0"):
        assert title in said
    assert "Left out" not in said


def test_a_narrow_terminal_names_what_it_left_out():
    assert re.search(r"Left out at 60 columns: [^.]*path", text(hand.lstm(), width=60, verbose=True))


def test_an_exact_zero_is_said_and_its_first_row_shown():
    lines = text(hand.zero_rows()).splitlines()
    assert any(re.match(r"\s*8\s+zero\b", line) for line in lines)
    assert any(re.match(r"\s*7\s+-0\.700", line) for line in lines)


def test_all_rows_that_were_asked_for_are_given():
    asked = text(hand.report("gradients", hand.gradients_result(lags="0:100:1")))
    assert all(re.search(rf"^ *{k}  ", asked, re.M) for k in range(101))


def test_rounding_never_crosses_a_verdict():
    assert fixed(0.99996, 3, against=[1.0]) == "0.99996"
    assert fixed(1.0, 3, against=[1.0]) == "1.000"
    assert float(fixed(-1e-13, 3, against=[0.0])) < 0
    assert float(significant(0.99999999, against=[1.0])) < 1
    # epsilon is 1e-3: a norm just below it must not print as -3.000
    assert log_value(-3.0000001, against=[-3.0]) == "-3.0000001"
    barely = hand.report("gradients", hand.gradients_result(rate=-0.0100001, interval=0.00005))
    assert "rate -0.0100001 decades/step" in text(barely)  # T = 100: vanishing needs rate <= -0.01


def test_an_exceeded_estimate_is_marked_once_where_it_is_worst():
    # -0.3 k + 0.9 is above -0.25 k by 0.85 at lag 1, and by less at every later lag
    result = hand.gradients_result(rate=-0.3, theory_rate=-0.25, bump=0.9, steps=30, lags="0:30:1")
    said = text(hand.report("gradients", result))
    rows = [line.split() for line in said.splitlines() if re.match(r" *\d+  ", line)]
    assert [int(row[0]) for row in rows] == list(range(31))
    assert [int(row[0]) for row in rows if "*" in row[2]] == [1]
    assert "* the estimate is 10^0.8 too small here" in said or "* the estimate is 10^0.9 too small here" in said
    assert "*" not in text(hand.report("gradients", hand.gradients_result(rate=-0.3, theory_rate=-0.3)))


def test_where_the_estimate_is_marked_the_printed_numbers_say_so():
    # A trifle above the estimate, but on the other side of epsilon: 1e-3 is reached at lag 30 by the measurement alone.
    result = hand.gradients_result(rate=-0.1 + 1e-6, theory_rate=-0.1 - 1e-6, lags="0:100:1")
    assert result.summary["horizon"] == 30
    said = text(hand.report("gradients", result))
    [marked] = [line.split() for line in said.splitlines() if re.match(r" *\d+  .*\*", line)]
    assert float(marked[1]) > float(marked[2].rstrip("*"))
    assert "its horizon is 29." in said


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


def test_the_first_encoder_lag_is_always_shown():
    result = hand.gradients_result(steps=200)
    result.columns["phase"] = ["decoder"] * 37 + ["encoder"] * 164
    assert 37 in [result.columns["lag"][i] for i in shown_rows(result)]


def test_directions_and_layers_name_the_columns():
    name = "lstm:hidden=64,bidirectional=true"
    results = [hand.gradients_result(name, layer=0, direction=d) for d in ("forward", "backward")]
    said = text(hand.report("gradients", *results))
    head = next(line for line in said.splitlines() if line.strip().startswith("lag"))
    assert "layer 0 forward" in head
    assert "layer 0 backward" in head
    assert f"\n{name} layer 0 forward " in said


def test_the_columns_are_explained_once():
    assert text(hand.ladder(), verbose=True).count("measured: ‖∂s_T") == 1
    assert text(hand.vanishing()).count("measured: ‖∂s_T") == 1
