"""Advice is what was measured: every change, appended to the source, gives the numbers of its row again."""

import numpy as np
import pytest

import gradscope
from gradscope.advice.changes import appended
from gradscope.errors import UsageError

SOURCES = [
    ("lstm:hidden=12,inputs=4", {"steps": 60, "reach": 30}),
    ("gru:hidden=12,inputs=4,layers=2", {"steps": 60, "reach": 40}),
    ("rnn:hidden=12,inputs=4", {"steps": 40, "reach": 20}),
    ("leaky:hidden=12,inputs=4", {"steps": 60, "reach": 50}),
    ("lstm:hidden=6,inputs=4,bidirectional=true", {"steps": 40, "reach": 25}),
]


@pytest.fixture
def lstm_file(tmp_path):
    rng = np.random.default_rng(3)
    H, inputs = 12, 4
    arrays = {
        "rnn.weight_ih_l0": rng.uniform(-0.3, 0.3, (4 * H, inputs)),
        "rnn.weight_hh_l0": rng.uniform(-0.3, 0.3, (4 * H, H)),
        "rnn.bias_ih_l0": rng.uniform(-0.3, 0.3, 4 * H),
        "rnn.bias_hh_l0": rng.uniform(-0.3, 0.3, 4 * H),
        "head.weight": rng.standard_normal((3, H)),
        "head.bias": rng.standard_normal(3),
    }
    np.savez(tmp_path / "m.npz", **arrays)
    return str(tmp_path / "m.npz")


def check_appended(source, report, **options):
    """Each change appended to the source and measured by ``gradients``."""
    compared = 0
    for place, result in enumerate(report.results):
        for row in result.rows():
            if row["change"] is None:
                continue
            changed = gradscope.gradients(appended(source, row["change"]), **options).results[place].summary
            for name, key in (("horizon", "horizon"), ("rate", "log10_rate"), ("verdict", "verdict")):
                wanted = changed[key]
                if isinstance(wanted, float) and np.isnan(wanted):
                    wanted = None
                assert row[f"after_{name}"] == wanted, row
            assert row["after_horizon_censored"] == changed["horizon_censored"]
            compared += 1
    return compared


@pytest.mark.parametrize(("source", "options"), SOURCES)
def test_a_change_appended_to_the_source_gives_its_numbers(source, options):
    report = gradscope.advise(source, **options)
    assert check_appended(source, report, steps=options["steps"]) >= 3


def test_the_same_for_a_file_and_its_own_loss(lstm_file):
    report = gradscope.advise(lstm_file, steps=60, reach=40, batch=4)
    assert check_appended(lstm_file, report, steps=60, batch=4) == 2
    (result,) = report.results
    rows = {row["kind"]: row for row in result.rows()}
    assert list(rows) == ["tbptt", "clip", "forget_bias", "gain"]
    assert rows["forget_bias"]["helps"]
    assert "what-if" in rows["forget_bias"]["why"]
    assert "generated inputs" in rows["tbptt"]["why"]
    assert result.summary["clip_parameters"] == [
        f"rnn.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]


def test_the_smallest_forget_bias_is_the_smallest():
    options = {"steps": 60, "reach": 30}
    (result,) = gradscope.advise("lstm:hidden=12,inputs=4", **options, only=("forget_bias",)).results
    (row,) = result.rows()
    assert row["helps"]
    assert row["after_horizon_h"] >= 30 > row["before_horizon_h"]
    smaller = 0.9 * row["value"] - 0.05  # a search goes to a twentieth, or to its smallest step
    smaller = gradscope.gradients(f"lstm:hidden=12,inputs=4,forget_bias={smaller}", steps=60).results[0]
    assert smaller.columns["log10_norm_h"][30] < -3
    assert result.summary["best"] == "forget_bias"


def test_an_exploding_network_is_told_to_shrink():
    (result,) = gradscope.advise("rnn:hidden=16,activation=identity,gain=1.5", steps=60).results
    rows = {row["kind"]: row for row in result.rows()}
    assert rows["gain"]["helps"]
    assert rows["gain"]["value"] < 1.5
    assert rows["gain"]["after_verdict"] != "exploding"
    assert rows["gain"]["after_rate"] < rows["gain"]["before_rate"]
    assert "shrink" in rows["clip"]["why"]


def test_what_no_change_reaches_has_no_best():
    """W_hh = 0: nothing recurs, and no gain makes something of it."""
    (result,) = gradscope.advise("rnn:hidden=8,bias=40", steps=30, only=("gain",)).results
    (row,) = result.rows()
    assert row["helps"] is False
    assert result.summary["best"] is None


def test_what_reaches_already_needs_no_change():
    (result,) = gradscope.advise("lstm:hidden=8,forget_bias=6", steps=20, reach=10).results
    assert result.summary["reach_now_censored"]
    assert [row["kind"] for row in result.rows()] == ["tbptt", "clip"]
    assert result.summary["best"] is None


def test_a_loss_that_is_missing_is_said():
    (result,) = gradscope.advise("rnn:hidden=8", steps=20, loss="none", only=("tbptt", "clip")).results
    assert [row["value"] for row in result.rows()] == [None, None]
    assert result.summary["clip_value"] is None
    assert result.summary["tbptt_length"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reach": 21}, "beyond the run"),
        ({"need": 21}, "beyond the run"),
        ({"reach": -1}, "≥ 0"),
        ({"clip_percentile": 0}, "at most 100"),
        ({"clip_batch": 5, "batch": 4}, "raise --batch"),
        ({"only": ("forgetbias",)}, "Did you mean 'forget_bias'"),
        ({"wrt": "inputs"}, "leave --wrt out"),
    ],
)
def test_questions_that_have_no_answer(options, said):
    with pytest.raises(UsageError, match=said):
        gradscope.advise("rnn:hidden=4", steps=20, **options)


def test_the_clip_value_is_a_percentile_of_the_norms_torch_compares():
    """Against the sum of squares over parameters, from the gradients of each sequence alone."""
    source, options = "gru:hidden=6,inputs=3", {"steps": 15, "batch": 8}
    (result,) = gradscope.advise(source, **options, clip_percentile=75, only=("clip",)).results
    from gradscope.analysis.cases import cases_of
    from gradscope.analysis.losses import loss_side
    from gradscope.analysis.request import GradientsRequest
    from gradscope.analysis.weight_gradients import parameter_gradients

    request = GradientsRequest(**options)
    (case,) = cases_of(gradscope.build(source), request)
    found = parameter_gradients(case, loss_side(case, request).term)
    scale = np.ldexp(1.0, found.exponent)
    each = [np.concatenate([v[b].ravel() for v in found.values]) * scale[b] for b in range(8)]
    norms = [np.linalg.norm(g) for g in each]
    assert result.summary["clip_value"] == pytest.approx(np.percentile(norms, 75), rel=1e-12)
    assert result.summary["gradient_norm_median"] == pytest.approx(np.median(norms), rel=1e-12)
    assert result.summary["clip_share"] == 0.25
    (pairs,) = gradscope.advise(source, **options, clip_batch=2, only=("clip",)).results
    means = [np.linalg.norm((each[a] + each[b]) / 2) for a in range(8) for b in range(a)]
    assert pairs.summary["clip_value"] == pytest.approx(np.percentile(means, 95), rel=1e-12)


def test_a_change_that_overflows_is_said_and_never_advised():
    """Identity: no bound on the states, and a layer norm, an orthogonal W or a larger gain decide over 1000 steps."""
    (result,) = gradscope.advise("rnn:hidden=6,activation=identity,gain=0.5", steps=1000, only=("gain", "init")).results
    rows = list(result.rows())
    for row in rows:
        if "could not be measured" in row["why"]:
            assert row["helps"] is False
            assert row["after_horizon"] is row["after_rate"] is row["after_verdict"] is None
    assert all(row["after_verdict"] != "exploding" for row in rows if row["helps"])


def test_time_constants_of_gates_that_are_known(tmp_path):
    """W = 0: f = σ(b) at every step, so a unit by itself remembers −1/ln σ(b) steps."""
    H = 5
    bias = np.zeros(4 * H)
    bias[H : 2 * H] = np.arange(H)
    arrays = {"weight_ih_l0": np.zeros((4 * H, 2)), "weight_hh_l0": np.zeros((4 * H, H)), "bias_ih_l0": bias}
    np.savez(tmp_path / "m.npz", **arrays)
    (result,) = gradscope.advise(str(tmp_path / "m.npz"), steps=12, reach=3, only=("tbptt",)).results
    wanted = -1 / np.log(1 / (1 + np.exp(-np.arange(H))))
    assert result.summary["time_constant_median"] == pytest.approx(wanted[2], rel=1e-12)
    assert result.summary["time_constant_q10"] == pytest.approx(wanted[0], rel=1e-12)
    assert result.summary["time_constant_q90"] == pytest.approx(wanted[4], rel=1e-12)
    said = " ".join(result.details["holds_back"])
    assert "gate o is 0.50 open" in said
    assert "slope of the candidate is 1 on average" in said


def test_a_decoder_that_ends_elsewhere_is_measured_all_the_same():
    (result,) = gradscope.advise("seq2seq:hidden=8,inputs=4", steps=12, only=("forget_bias", "init")).results
    assert {row["kind"] for row in result.rows()} == {"forget_bias", "init"}


@pytest.mark.parametrize(("gate", "code"), [("reach_now < 5", 0), ("reach_now < 100", 1), ("after_horizon < 5", 0)])
def test_a_reach_beyond_the_run_is_decided_where_it_can_be(gate, code, capsys):
    from gradscope.cli import run

    source = "lstm:hidden=8" if "after" in gate else "lstm:hidden=8,forget_bias=6"
    words = ["advise", source, "-T", "20", "--reach", "20", "--only", "forget_bias", "--fail-on", gate]
    assert run([*words, "--json"]) == code
    assert ("raise --steps" in capsys.readouterr().err) is (code == 1)


def test_the_answer_comes_last(capsys):
    from gradscope.cli import run

    assert run(["advise", "lstm:hidden=12,inputs=4", "-T", "60", "--reach", "30", "--only", "forget_bias"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Gradients reach" in lines[-1]
    assert "Append forget_bias=" in lines[-1]
    assert "generated inputs" in lines[-1]
    assert any("model.get_parameter('bias_ih_l0')[12:24] +=" in line for line in lines)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("lstm:hidden=8", {"steps": 30}),
        ("rnn:hidden=8,activation=identity,gain=2", {"steps": 30}),
        ("lstm:hidden=6,bidirectional=true,layers=2", {"steps": 20, "need": 3}),
        ("dnn:hidden=6", {"steps": 20, "batch": 2}),
        ("gru:hidden=6", {"steps": 0}),
        ("rnn:hidden=6", {"steps": 20, "loss": "none", "only": ("clip",)}),
    ],
)
def test_every_report_fits_its_schema_and_comes_back(source, options, tmp_path):
    import json

    import jsonschema

    from gradscope.reports.schemas import load_schema

    report = gradscope.advise(source, **options)
    jsonschema.Draft202012Validator(load_schema("advise")).validate(json.loads(report.to_json()))
    (tmp_path / "r.json").write_text(report.to_json())
    again = gradscope.load(tmp_path / "r.json")
    assert [result.summary for result in again.results] == [
        json.loads(report.to_json())["results"][i]["summary"] for i in range(len(report.results))
    ]
    from gradscope.reports.formats import render

    for result in report.results:
        assert result.details["courses"][0]["name"] == "as it is"
    for name in ("table", "jsonl", "csv", "md", "html", "junit", "github"):
        assert render(report, name) is not None


def test_processes_change_no_number(monkeypatch):
    from gradscope.advice import network_changes as network

    source, options = "lstm:hidden=8,inputs=4,layers=2,bidirectional=true", {"steps": 30, "reach": 25}
    alone = gradscope.advise(source, **options)
    monkeypatch.setattr(network, "WORTH_PROCESSES", 0)
    apart = gradscope.advise(source, **options, jobs=2)
    for one, other in zip(alone.results, apart.results, strict=True):
        assert list(one.rows()) == list(other.rows())
        assert one.summary == other.summary


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("lstm:hidden=12,inputs=4", ["-T", "60", "--reach", "30"]),
        ("gru:hidden=12,init=pytorch", ["-T", "60", "--reach", "40"]),
        ("rnn:hidden=8,activation=identity,gain=3", ["-T", "60", "--reach", "30"]),
        ("lstm:hidden=6,bidirectional=true", ["-T", "30", "--reach", "20"]),
        ("lstm:hidden=6,bidirectional=true,layers=2", ["-T", "30", "--reach", "20"]),
    ],
)
def test_the_first_screen_is_at_most_ten_lines(source, words, capsys):
    from gradscope.cli import run

    assert run(["advise", source, *words]) == 0
    screen = capsys.readouterr().out.splitlines()
    assert len(screen) <= 10
    assert "Append" in screen[-1]
    assert run(["advise", source, *words, "-v"]) == 0
    everything = capsys.readouterr().out
    assert "decades/step" in everything
    assert "W_hh: leaves out" in everything


def test_what_grows_without_a_verdict_is_told_to_shrink():
    """10^51 at the end of a run whose correlation time is too long for an interval of the rate."""
    source = "rnn:gain=3,activation=identity"
    (before,) = gradscope.gradients(source, loss="none").results
    assert before.summary["verdict"] == "undetermined"
    assert before.columns["log10_norm"][-1] > 50
    report = gradscope.advise(source, steps=100, reach=50, only=("gain", "init"))
    (result,) = report.results
    assert result.summary["explodes"] is True
    assert result.summary["best"] == "gain"
    row = next(row for row in result.rows() if row["kind"] == "gain")
    assert row["after_rate"] < row["before_rate"]
    (after,) = gradscope.gradients(f"{source},{row['change']}", loss="none").results
    assert after.columns["log10_norm"][-1] < 2
    from gradscope.reports.formats import render

    said = render(report, "table")
    assert "Gradients grow, over a run too short for an interval of their rate: shrink them" in said
    assert "nothing to change" not in said
    (vanishing,) = gradscope.advise("gru:hidden=6", steps=20, only=("tbptt",)).results
    assert vanishing.summary["explodes"] is False
