"""What the table says in words: the answer, how far, how fast, and what to do next."""

from __future__ import annotations

import re
from dataclasses import replace

import hand_made_reports as hand
import pytest

from gradscope import remarks
from gradscope.records import Result
from gradscope.reports import formats
from gradscope.reports.query import select


def text(report, **options):
    return formats.render(report, "table", **options)


def test_the_answer_comes_last_and_says_how_far_how_fast_and_what_next():
    said = text(hand.vanishing()).splitlines()
    # 10^(-0.31 k) >= 1e-3 up to k = 9 (-2.79), not at k = 10 (-3.1)
    assert said[-3:] == [
        "vanishing: the gradient reaches 9 steps back; at 100 steps 10^-31.0 of it is left.",
        "Horizon 9 (norm ≥ 0.001), rate -0.310 decades/step (95 %: -0.330 to -0.290).",
        "Next: gradscope advise rnn  (what to change, each change measured)",
    ]
    # Warnings about the run stand between the numbers and the answer.
    assert said[-5].startswith("Warning: Gaussian input can mislead.")


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ({"need": 5, "enough": True}, "Needed: 5 steps back: enough (10^-1.6 is left there)."),
        ({"need": 50, "enough": False}, "Needed: 50 steps back: NOT enough (10^-15.5 is left there)."),
        ({"need": 500, "enough": None}, "Needed: 500 steps back: cannot be told from 100 steps."),
    ],
)
def test_whether_it_is_enough_is_said_where_it_was_asked(summary, said):
    result = hand.gradients_result()
    result.summary.update(summary)
    lines = text(hand.report("gradients", result)).splitlines()
    assert lines[-2] == said
    assert "Needed" not in text(hand.vanishing())


def test_what_always_comes_is_a_note_and_what_is_of_this_run_a_warning():
    always = (
        f"{remarks.GENERATED_INPUT} (normal): give --inputs FILE.npy",
        f"{remarks.NO_LOSS}the file has no readout",
        "activation assumed to be tanh: activation=relu says otherwise",
    )
    result = hand.gradients_result("model.pt", warnings=[*always, "the product is exactly zero from lag 9 on"])
    report = hand.report("gradients", result)
    said = text(report)
    assert said.count("Note: ") == 3
    assert said.count("Warning: ") == 1
    assert said.index("Warning: ") > said.rindex("Note: ")
    # Noise is no reason to change the network: real input comes first.
    assert said.splitlines()[-1].startswith("Next: gradscope gradients model.pt --inputs FILE.npy ")


@pytest.mark.parametrize(
    ("made", "command"),
    [
        ({"rate": 0.1}, "advise rnn "),
        ({"rate": -0.05, "steps": 300}, "advise rnn -T 300 "),
        ({"rate": -0.0145, "interval": 0.001}, "gradients rnn -T 320 "),  # 1.5 * 3 / 0.0145 = 310.3
        ({"rate": 0.0}, "gradients rnn --expect 'horizon >= 100' "),
        ({"rate": -0.3, "steps": 3, "verdict": "undetermined"}, "gradients rnn -T 100 "),
        ({"rate": -0.3, "steps": 20, "verdict": "neutral"}, "gradients rnn -T 80 "),
    ],
)
def test_the_next_command_follows_from_what_was_measured(made, command):
    given = ("gradients", "rnn", *(["-T", str(made["steps"])] if "steps" in made else []))
    said = text(hand.report("gradients", hand.gradients_result(**made), command=given)).splitlines()[-1]
    assert said.startswith(f"Next: gradscope {command}")


def test_the_next_command_speaks_of_the_same_run():
    options = ("--tokens", "3,1,4", "--target=7", "--loss-at", "all", "--time-major")
    given = ("gradients", "m.pt", *options, "-f", "json", "-v", "--expect", "horizon > 3")
    said = text(hand.report("gradients", hand.gradients_result("m.pt", rate=0.1), command=given)).splitlines()[-1]
    assert said.startswith("Next: gradscope advise m.pt --tokens 3,1,4 --target 7 --loss-at all --time-major  (")
    attached = hand.report("gradients", hand.gradients_result(rate=0.1), command=("gradients", "rnn", "-T300"))
    assert text(attached).splitlines()[-1].startswith("Next: gradscope advise rnn -T 300  (")
    # No option makes a given sequence longer.
    short = hand.gradients_result("m.pt", rate=-0.3, steps=3, verdict="undetermined")
    assert "Next:" not in text(hand.report("gradients", short, command=given))


def test_what_rounding_did_is_no_change():
    said = text(hand.report("gradients", hand.gradients_result(rate=4e-17)))
    assert "at 100 steps it is as large as at first." in said


def test_a_model_in_memory_has_no_next_command():
    report = hand.report("gradients", hand.gradients_result("LSTM"), command=("a call in Python",))
    assert "Next:" not in text(report)


def test_several_sources_say_the_same_as_one_and_name_what_they_leave_out():
    said = text(hand.ladder())
    assert said.splitlines()[-2] == (
        "vanishing: rnn (9 steps), forget-gate (15), input-gate (14), lstm (> 100); exploding: skip (> 100 steps)."
    )
    assert said.splitlines()[-1].startswith("Next: gradscope advise skip ")
    assert "theory, bounds and loss lag by lag: -v, or one source alone." in said
    many = hand.report("gradients", *(hand.gradients_result(f"rnn:gain=0.{i}", -0.3 - i / 100) for i in range(1, 10)))
    assert "vanishing: 9 of 9 (reaching 7 to 9 steps)." in text(many)
    assert "lag by lag: -v, or fewer sources." in text(many)


def test_a_selection_of_rows_invents_no_horizon_of_the_theory():
    # The estimate falls below 1e-3 between lags 12 and 13; of every tenth row nobody can tell.
    result = hand.gradients_result("gru", -0.2, theory_rate=-0.25)
    assert "its horizon is 12." in text(hand.report("gradients", result))
    coarse = replace(result, columns={name: values[::10] for name, values in result.columns.items()})
    assert "its horizon" not in text(hand.report("gradients", coarse))


def test_a_censored_horizon_says_so():
    said = text(hand.censored())
    assert "the gradient reaches over 100 steps back, all that were run" in said
    assert "> 100" in text(hand.ladder())


def test_peak_is_told_when_the_gradient_first_grows():
    assert "exploding: at 100 steps the gradient is 10^12.4 times as large." in text(hand.exploding())
    grows = hand.gradients_result(rate=-0.3, bump=0.9)
    assert "It first grows: the norm peaks at 10^0.60, 1 step back." in text(hand.report("gradients", grows))


def test_a_selection_of_rows_does_not_change_what_was_counted():
    late = select(hand.vanishing(), where=["lag >= 95"])
    assert "exceeded at 100 lags" in text(late, verbose=True)
    assert "reaches 9 steps back" in text(late)


def test_a_violated_bound_shouts():
    result = hand.gradients_result()
    result.summary["bound_violations"] = 3
    assert "BOUND VIOLATED at 3 lags" in text(hand.report("gradients", result))


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
    assert "measured: ‖∂h_T/∂x_(T−k)‖₂" in said
    assert "the influence of an input reaches 9 steps back" in said or "reaches over 9 steps" in said
    assert "its norm is 10^" in said
    everything = text(hand.report("gradients", inputs), verbose=True)
    assert "No bound stands beside this." in everything
    assert "no closed form" in everything
    assert re.search(r"\n *1 +-0\.310 +0\.2500\n", said)


def test_claims_read_in_eighty_columns():
    said = text(hand.claims(), width=80)
    lines = said.splitlines()
    assert lines[-2] == "1 of 3 measurements disagree with the prediction: C19."
    assert max(map(len, lines)) <= 80
    # what the article says, the experiment, what was seen, what is true: a line each, and no telegram of numbers
    start = lines.index("C06 (false): worse than a DNN because W is the same at every step")
    assert lines[start + 1 : start + 4] == [
        "Experiment: One W at every step against a new W at every step.",
        "Seen: The gap is 10.85 with one W.",
        "In fact: Both products grow alike; one W spreads more.",
    ]
    assert lines[lines.index("Seen: All steps have strength 0.") + 2] == "This did not come out as predicted."
    assert "10.9 +- 1.2" not in said
    verbose = text(hand.claims(), width=80, verbose=True)
    assert "10.9 +- 1.2" in verbose
    assert "C06: every number beside its prediction" in verbose
    assert max(map(len, verbose.splitlines())) <= 80


def test_claims_of_an_older_version_show_their_numbers():
    report = hand.claims()
    (result,) = report.results
    columns = {name: held for name, held in result.columns.items() if name not in ("method", "seen", "in_fact")}
    said = text(replace(report, results=(replace(result, columns=columns, details={}),)))
    assert "Measured: 10.85\nExpected: 10.9 +- 1.2" in said


def test_a_sweep_says_where_a_horizon_is_beyond_the_run_and_keeps_to_eight_columns():
    said = text(hand.sweep(seeds=1))
    rows = [line.split() for line in said.splitlines() if re.match(r" *[01]\.?\d* +(gaussian|orthogonal) ", line)]
    beyond = [row for row in rows if ">" in row]
    assert {float(row[0]) for row in beyond} == {1.0, 1.1, 1.2, 1.3, 1.4, 1.5}
    assert all(row[4:6] == [">", "100"] for row in beyond)
    assert len(rows) == 22
    assert not any("-" in row for row in rows)
    assert said.splitlines()[-1].startswith("22 points over gain, init, seed; 10 vanishing, 2 neutral, 10 exploding; ")
    head = said.splitlines()[said.splitlines().index("Points") + 1]
    assert len(re.split(r"  +", head.strip())) <= 8


def test_means_of_horizons_that_are_beyond_the_run_are_lower_bounds():
    report = hand.sweep()
    columns = report.results[0].columns
    at = [
        i
        for i, (gain, init) in enumerate(zip(columns["gain"], columns["init"], strict=True))
        if gain == 0.5 and init == "gaussian"
    ]
    assert [columns["horizon"][i] for i in at] == [9, 9, 9]
    columns["horizon"][at[0]], columns["horizon_censored"][at[0]] = None, True
    result = replace(report.results[0], settings={**report.results[0].settings, "value": "horizon"})
    line = next(
        line for line in text(hand.report("sweep", result)).splitlines() if line.split()[:2] == ["0.5", "gaussian"]
    )
    # (100 + 9 + 9) / 3: at least 100 stands for the one that is beyond the run
    assert line.split() == ["0.5", "gaussian", "3", ">", "39.33", "-"]


def test_a_sweep_of_exponents_tells_its_verdicts_in_a_word():
    points = 4
    columns = {
        "gain": [0.5, 1.0, 1.5, 2.0],
        "max": [-0.5, -0.1, 0.05, 0.2],
        "verdict": [
            f"{'not ' * (i > 2)}converged: known to ±0.0{i}; about 1{i}0 steps would do" for i in range(points)
        ],
    }
    result = Result({"name": "rnn"}, {"vary": ["gain=0.5:2:0.5"], "measure": "lyapunov"}, columns, {})
    said = text(hand.report("sweep", result), width=80)
    assert "3 converged, 1 not converged" in said
    assert "would do" not in said


def test_blocks_of_which_the_same_holds_are_concluded_together():
    effect = "they do not decide the gradient of a gated cell; measure it"
    columns = {
        "param": ["weight_hh_l0"] * 3,
        "gate": ["r", "z", "n"],
        "spectral_radius": [1.05, 1.2, 0.9],
        "spectral_norm": [1.9, 2.0, 1.5],
        "conclusion": [
            f"ρ = {r} belongs to gate {g} alone: {effect}" for r, g in ((1.05, "r"), (1.2, "z"), (0.9, "n"))
        ],
    }
    said = text(hand.report("spectrum", Result({"name": "gru", "cell": "gru"}, {}, columns, {})))
    assert said.splitlines()[-1] == f"r, z, n: radius 0.9000 to 1.2000, norm 1.5000 to 2.0000: {effect}"
