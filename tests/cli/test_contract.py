"""The edges of the command line: exit codes, streams, and messages that say what to do next."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from gradscope.cli import run


def gradscope(*words: str) -> int:
    return run(list(words))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A configuration file of whoever runs the tests must not reach them.
    monkeypatch.chdir(tmp_path)


def a_row(lag: int, report: dict) -> dict:
    return next(row for row in report["results"][0]["rows"] if row["lag"] == lag)


def measured(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert gradscope("gradients", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


CONTRACT_ROW = {
    "lag", "log10_norm", "log10_norm_std", "log10_norm_h", "stable_rank", "rank", "log10_theory", "log10_eigen",
    "log10_bound", "log10_path_bound", "log10_dloss_dstate", "log10_dloss_dweight", "status",
}  # fmt: skip
CONTRACT_SUMMARY = {
    "verdict", "log10_rate", "log10_rate_low", "log10_rate_high", "horizon", "horizon_censored", "peak_lag",
    "log10_peak", "bound_violations", "theory_violations", "theory",
}  # fmt: skip


@pytest.mark.parametrize("cell", ["rnn", "skip", "forget-gate", "input-gate", "lstm", "gru"])
def test_rows_and_summary_have_every_promised_key(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = measured(capsys, f"{cell}:hidden=6,inputs=3", "-T", "12")
    assert report["schema"] == "gradscope/gradients/1"
    assert report["command"] == ["gradients", f"{cell}:hidden=6,inputs=3", "-T", "12", "--json"]
    (result,) = report["results"]
    assert set(result["source"]) >= {"name", "cell", "hidden", "layers", "state_size", "sha256"}
    assert [row["lag"] for row in result["rows"]] == list(range(13))
    assert all(set(row) >= CONTRACT_ROW for row in result["rows"])
    assert set(result["summary"]) >= CONTRACT_SUMMARY
    assert result["summary"]["bound_violations"] == 0
    assert result["rows"][12]["log10_dloss_dweight"] is None
    assert result["rows"][10]["log10_dloss_dweight"] is not None
    # The copy used at step 1 multiplies h_0 = 0: its gradient is exactly zero.
    assert result["rows"][11]["log10_dloss_dweight"] is None
    # Only a state with a memory beside h has a corner of h's.
    assert (result["rows"][3]["log10_norm_h"] is None) == (cell != "lstm")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    outs = []
    for seed in ("1", "1", "2"):
        assert gradscope("gradients", "lstm:hidden=5", "-T", "9", "--seed", seed, "--json") == 0
        outs.append(capsys.readouterr().out.replace(f'"{seed}"', '""').replace(f'"seed": {seed}', '"seed":'))
    assert outs[0] == outs[1] != outs[2]


def test_no_steps_is_a_question_with_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    report = measured(capsys, "lstm:hidden=3", "-T", "0")
    (row,) = report["results"][0]["rows"]
    assert (row["lag"], row["log10_norm"], row["log10_norm_h"], row["rank"]) == (0, 0.0, 0.0, 6)
    assert row["log10_dloss_dweight"] is None
    assert report["results"][0]["summary"]["verdict"] == "undetermined"


def test_a_product_that_becomes_zero_says_so_where_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "chain.npy", 2.0 * np.eye(5, k=-1))
    report = measured(capsys, "chain.npy:activation=identity", "-T", "8")
    rows = report["results"][0]["rows"]
    assert [row["status"] for row in rows] == ["ok"] * 5 + ["zero"] * 4
    # 2^k along the chain, while it lasts.
    for row in rows[:5]:
        assert row["log10_norm"] == pytest.approx(row["lag"] * np.log10(2.0), abs=1e-14)
    assert all(row["log10_norm"] is None and row["rank"] == 0 for row in rows[5:])
    assert report["results"][0]["summary"]["verdict"] == "vanishing"
    # The eigenvalues of a nilpotent matrix are 0: ρ^k has no logarithm to show.
    assert all(row["log10_eigen"] is None for row in rows)


def test_saturation_is_tiny_not_zero_and_beyond_float64_it_is_underflow(capsys: pytest.CaptureFixture[str]) -> None:
    report = measured(capsys, "rnn:hidden=1,inputs=1,bias=20,gain=0.001", "-T", "3", "--inputs", "zeros")
    (first,) = [row for row in report["results"][0]["rows"] if row["lag"] == 1]
    weight = abs(np.float64(10 ** a_row(1, report)["log10_theory"]))
    assert first["status"] == "ok"
    assert first["log10_norm"] == pytest.approx(np.log10(weight), abs=1e-10)
    assert -22 < first["log10_norm"] < -16
    report = measured(capsys, "rnn:hidden=3,bias=800", "-T", "3")
    assert [row["status"] for row in report["results"][0]["rows"]] == ["ok", "underflow", "underflow", "underflow"]


def test_powers_beyond_float64_come_out_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for factor in (2.0**-10, 2.0**10):
        np.save(tmp_path / "w.npy", factor * np.eye(2))
        report = measured(capsys, "w.npy:activation=identity", "-T", "600")
        assert a_row(600, report)["log10_norm"] == pytest.approx(600 * np.log10(factor), rel=1e-13)


def test_ready_jacobians_come_first_step_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    J = rng.standard_normal((4, 3, 3))
    np.save(tmp_path / "J.npy", J)
    report = measured(capsys, "J.npy")
    assert report["results"][0]["settings"]["steps"] == 4
    assert a_row(2, report)["log10_norm"] == pytest.approx(np.log10(np.linalg.norm(J[3] @ J[2], 2)), abs=1e-12)
    report = measured(capsys, "J.npy", "--anchor", "start")
    assert a_row(2, report)["log10_norm"] == pytest.approx(np.log10(np.linalg.norm(J[1] @ J[0], 2)), abs=1e-12)


def test_lags_keep_rows_with_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    report = measured(capsys, "rnn:hidden=3", "-T", "50", "--lags", "0:50:5")
    assert [row["lag"] for row in report["results"][0]["rows"]] == list(range(0, 51, 5))


def test_anchors_agree_on_the_whole_run(capsys: pytest.CaptureFixture[str]) -> None:
    ends = [
        a_row(20, measured(capsys, "lstm:hidden=4", "-T", "20", "--anchor", anchor))["log10_norm"]
        for anchor in ("end", "start")
    ]
    assert ends[0] == pytest.approx(ends[1], abs=1e-10)


def test_transient_moves_the_window_along_the_same_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    # Linear identity network: the Jacobian does not depend on the state, so only the loss side sees the transient.
    late = measured(capsys, "rnn:hidden=4", "-T", "10", "--transient", "7")
    whole = measured(capsys, "rnn:hidden=4", "-T", "17")
    for lag in range(11):
        assert a_row(lag, late)["log10_norm"] == pytest.approx(a_row(lag, whole)["log10_norm"], abs=1e-12)


def test_float32_follows_its_own_trajectory_closely(capsys: pytest.CaptureFixture[str]) -> None:
    single = measured(capsys, "lstm:hidden=8", "-T", "20", "--dtype", "float32")
    double = measured(capsys, "lstm:hidden=8", "-T", "20")
    found, wanted = a_row(10, single)["log10_norm"], a_row(10, double)["log10_norm"]
    assert found != wanted
    assert found == pytest.approx(wanted, abs=1e-4)


def test_a_batch_is_the_mean_over_its_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(5).standard_normal((3, 9, 16))
    np.save(tmp_path / "all.npy", x)
    together = a_row(9, measured(capsys, "rnn:hidden=5", "--inputs", "all.npy"))
    alone = []
    for index in range(3):
        np.save(tmp_path / "one.npy", x[index])
        alone.append(a_row(9, measured(capsys, "rnn:hidden=5", "--inputs", "one.npy"))["log10_norm"])
    assert together["log10_norm"] == pytest.approx(np.mean(alone), abs=1e-12)
    assert together["log10_norm_std"] == pytest.approx(np.std(alone, ddof=1), abs=1e-12)


def test_csv_inputs_are_the_same_as_npy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(6).standard_normal((7, 16))
    np.save(tmp_path / "x.npy", x)
    header = ",".join(f"f{i}" for i in range(16))
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", header=header, comments="", fmt="%.17g")
    rows = [measured(capsys, "gru:hidden=4", "--inputs", name)["results"][0]["rows"] for name in ("x.npy", "x.csv")]
    assert rows[0] == rows[1]


USAGE = [
    (["gradients", "rnnn"], "Did you mean 'rnn'"),
    (["gradients", "rnn:hiden=3"], "Did you mean 'hidden'"),
    (["gradients", "rnn:hidden=0"], "whole number ≥ 1"),
    (["gradients", "rnn:hidden=3,hidden=4"], "twice"),
    (["gradients", "rnn:gain=much"], "finite number"),
    (["gradients", "rnn:gain=nan"], "finite number"),
    (["gradients", "rnn:hidden=10000000"], "GiB"),
    (["gradients", "rnn:forget_bias=1"], "has no forget_bias"),
    (["gradients", "skip:forget_bias=1"], "has no forget_bias"),
    (["gradients", "lstm:layers=2,dropout=1"], "not including, 1"),
    (["gradients", "rnn", "-T", "-1"], "≥ 0"),
    (["gradients", "rnn", "--batch", "0"], "≥ 1"),
    (["gradients", "rnn", "-T", "many"], "many"),
    (["gradients", "rnn", "--inputs", "gauss"], "wanted normal"),
    (["gradients", "rnn", "--lags", "5:1"], "never leads"),
    (["gradients", "rnn", "-T", "10", "--lags", "99"], "choose lags up to T"),
    (["gradients", "rnn", "--epsilon", "0"], "above 0"),
    (["gradients", "rnn", "--target", "10"], "classes 0 … 9"),
    (["gradients", "rnn", "-o", "x.doc"], "wanted one of"),
    (["gradients", "rnn", "--fail-on", "horizn < 5"], "horizon"),
    (["gradients", "rnn", "--wrong"], "--wrong"),
    (["gradiants", "rnn"], "Did you mean 'gradients'"),
    (["gradients"], "SOURCE"),
    (["spectrum"], "SOURCE"),
]


@pytest.mark.parametrize(("words", "said"), USAGE, ids=lambda value: "_".join(value) if isinstance(value, list) else "")
def test_a_wrong_question_is_exit_2_in_two_lines(words, said, tmp_path, capsys) -> None:
    assert gradscope(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert 1 <= len(err.strip().splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def write_bad_files(folder: Path) -> None:
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.npy").write_text("hello")
    (folder / "text.safetensors").write_text("not a header at all, really")
    np.save(folder / "nan.npy", np.full((3, 3), np.nan))
    np.save(folder / "wide.npy", np.ones((3, 4)))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "inputs.npy", np.ones((10, 5)))
    np.save(folder / "turned.npy", np.ones((16, 10)))
    np.savez(folder / "gates.npz", weight_ih_l0=np.ones((7, 2)), weight_hh_l0=np.ones((7, 3)))
    whole = (folder / "wide.npy").read_bytes()
    (folder / "cut.npy").write_bytes(whole[:-8])
    (folder / "model.bin").write_bytes(b"\x00" * 64)


UNREADABLE = [
    (["missing.npz"], "no such file"),
    (["empty.npz"], "empty"),
    (["text.npy"], "should hold weights, but it is text"),
    (["text.safetensors"], "safetensors"),
    (["nan.npy"], "NaN"),
    (["wide.npy"], "square"),
    (["objects.npy"], "pickle"),
    (["cut.npy"], "truncated"),
    (["gates.npz"], "gates.npz"),
    (["model.bin"], ".safetensors"),
    (["rnn", "--inputs", "inputs.npy"], "width 16"),
    (["rnn", "--inputs", "turned.npy"], "transposed"),
    (["rnn", "--inputs", "nowhere.npy"], "no file"),
    (["rnn", "--state", "inputs.npy"], "wanted (64,)"),
    (["rnn", "--readout", "gates.npz"], "weight"),
    (["rnn", "-o", "no/such/dir.json"], "cannot write"),
]


@pytest.mark.parametrize(
    ("words", "said"),
    UNREADABLE,
    ids=lambda value: "_".join(value).replace("/", "-") if isinstance(value, list) else "",
)
def test_what_cannot_be_read_is_exit_3_in_two_lines(words, said, tmp_path, capsys) -> None:
    write_bad_files(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert gradscope("gradients", *words) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) <= 2
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_exploding_forward_pass_is_not_made_into_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert gradscope("gradients", "rnn:activation=relu,gain=30,hidden=8", "-T", "3000") == 3
    assert re.search(r"left the range of float64 at step \d+", capsys.readouterr().err)


def test_gates_decide_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("gradients", "rnn:gain=0.5", "-T", "60")
    assert gradscope(*words, "--fail-on", "horizon < 500") == 1
    assert "horizon" in capsys.readouterr().err
    assert gradscope(*words, "--warn-on", "horizon < 500") == 0
    assert gradscope(*words, "--fail-on", "log10_norm@lag=60 > 0", "--fail-on", "bound_violations > 0") == 0
    # A gate that matches nothing fails.
    assert gradscope(*words, "--fail-on", "log10_norm@lag=61 < -6") == 1


def test_an_expectation_reads_forward(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("gradients", "rnn:gain=0.5", "-T", "30")
    assert gradscope(*words, "--expect", "horizon >= 2") == 0
    assert gradscope(*words, "--expect", "horizon >= 50") == 1
    out, err = capsys.readouterr()
    assert re.search(r"FAIL +horizon >= 50 +\d", out)
    assert "expected horizon >= 50, found" in err
    assert gradscope(*words, "--expect", "horizn >= 50") == 2


def test_a_baseline_is_measured_against_in_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert gradscope("gradients", "rnn:gain=0.9", "-o", "base.json") == 0
    gates = (
        "--fail-on",
        "verdict == worse",
        "--fail-on",
        "change_percent@field=horizon < -20",
        "--fail-on",
        "worse > 0",
    )
    capsys.readouterr()
    assert gradscope("gradients", "rnn:gain=0.5", "--baseline", "base.json", *gates, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "gradscope/diff/1"
    assert report["results"][0]["summary"]["verdict"] == "worse"
    for same in ("rnn:gain=0.9", "rnn:gain=0.9,hidden=64"):
        assert gradscope("gradients", same, "--baseline", "base.json", *gates) == 0
    assert gradscope("gradients", "rnn:gain=0.9", "--seed", "1", "--baseline", "base.json", *gates) == 0
    assert gradscope("spectrum", "rnn", "--baseline", "base.json") == 2
    assert "wanted a result of spectrum" in capsys.readouterr().err
    assert gradscope("gradients", "rnn", "--baseline", "none.json") == 3


def test_files_are_written_beside_stdout_and_replaced_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.json").write_text("old")
    assert gradscope("gradients", "rnn:hidden=3", "-T", "5", "-o", "r.json", "-o", "r.csv", "-f", "jsonl") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["run", *["row"] * 6, "end"]
    assert json.loads((tmp_path / "r.json").read_text())["results"][0]["rows"][5]["lag"] == 5
    assert (tmp_path / "r.csv").read_text().startswith("source,lag,")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.json"]


def test_flag_beats_environment_beats_file(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "gradscope.toml").write_text('steps = 4\nsources = ["rnn:hidden=2"]\n[gradients]\nseed = 9\n')
    assert gradscope("gradients", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["results"][0]["settings"]["steps"], report["seed"]) == (4, 9)
    monkeypatch.setenv("GRADSCOPE_STEPS", "5")
    assert measured(capsys)["results"][0]["settings"]["steps"] == 5
    assert measured(capsys, "-T", "6")["results"][0]["settings"]["steps"] == 6
    (tmp_path / "gradscope.toml").write_text("stepz = 4\n")
    assert gradscope("gradients", "rnn") == 2
    assert "Did you mean 'steps'" in capsys.readouterr().err


def test_an_absolute_path_stays_out_of_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "w.npy", np.eye(2))
    assert gradscope("gradients", str(tmp_path / "w.npy"), "--json", "-T", "3") == 0
    assert str(tmp_path) not in capsys.readouterr().out


def test_columns_are_picked_by_name_or_title_before_anything_runs(capsys):
    assert run(["gradients", "rnn:hidden=4,gain=0.5", "-T", "50", "--columns", "lag,path"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line.split() for line in lines if line.strip().startswith("lag")) == ["lag", "log10_path_bound"]
    assert any(line.startswith("vanishing: ") for line in lines[-6:])
    assert run(["gradients", "rnn:hidden=4", "-T", "3", "--columns", "lag,log10_norm", "-f", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "source,lag,log10_norm"
    assert run(["gradients", "rnn:hidden=4", "--columns", "log10_nrom"]) == 2
    assert "log10_norm" in capsys.readouterr().err


def test_a_plot_stands_above_the_answer(capsys):
    assert run(["gradients", "rnn:hidden=4,gain=0.5", "-T", "50", "--plot"]) == 0
    out = capsys.readouterr().out
    assert out.index("lag k (steps back)") < out.index("\nvanishing: ")
    assert "\nvanishing: " in "\n" + "\n".join(out.splitlines()[-6:])
