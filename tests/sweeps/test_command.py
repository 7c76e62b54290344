"""``gradscope sweep`` at its edges: formats, exit codes, what goes to which stream."""

import csv
import io
import json

import pytest

from gradscope.cli import run

SMALL = ["sweep", "rnn:hidden=3,inputs=1", "-T", "6", "-j", "1"]


def call(capsys, *words):
    code = run([*SMALL, *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_rows_are_the_varied_keys_and_then_the_summary_fields(capsys):
    code, out, _ = call(capsys, "--vary", "gain=0.5:1.5:0.5", "--vary", "T=5,6", "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert list(rows[0])[:4] == ["source", "gain", "T", "verdict"]
    assert [(row["gain"], row["T"]) for row in rows] == [
        ("0.5", "5"), ("0.5", "6"), ("1.0", "5"), ("1.0", "6"), ("1.5", "5"), ("1.5", "6")
    ]  # fmt: skip
    assert {row["status"] for row in rows} == {"ok"}


def test_json(capsys):
    code, out, _ = call(capsys, "--vary", "seed=1:3", "--vary", "epsilon=0.5", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["schema"] == "gradscope/sweep/1"
    (result,) = report["results"]
    assert result["settings"]["vary"] == {"seed": "1:3", "epsilon": "0.5"}
    assert result["summary"] == {"points": 3, "failed": 0}
    assert [row["epsilon"] for row in result["rows"]] == [0.5] * 3


def test_two_varied_keys_make_a_map(capsys):
    code, out, _ = call(capsys, "--vary", "gain=0.5,1", "--vary", "bias=0,1", "--value", "horizon", "--color", "never")
    assert code == 0
    assert "Horizon over " in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "sweep needs --vary"),
        (["--vary", "gian=1"], 2, "Did you mean 'gain'"),
        (["--vary", "gain=1:2:0"], 2, "never leads"),
        (["--vary", "seed=1", "--fresh"], 2, "--store"),
        (["--vary", "seed=1", "--store", "x.jsonl", "--fresh", "--extend"], 2, "choose one"),
        (["--vary", "seed=1", "--store", "no/such/place.jsonl"], 3, "cannot be opened"),
        (["--vary", "seed=1", "--dask", "tcp://127.0.0.1:9"], 2, "drop -j"),
        (["--vary", "seed=1", "--value", "horizn"], 2, "Did you mean 'horizon'"),
        (["--vary", "seed=1:2", "--fail-on", "log10_rate < 10"], 1, "log10_rate"),
    ],
)
def test_exits(capsys, tmp_path, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    found, _, err = call(capsys, *words)
    assert found == code
    assert said in err
    assert "Traceback" not in err


def test_failed_points_are_said_on_stderr_and_nothing_but_failures_is_exit_3(capsys):
    code, out, err = call(capsys, "--vary", "init=gaussian,chrono", "-f", "csv")
    assert code == 0
    assert "1 of 2 points failed" in err
    assert len(out.splitlines()) == 3
    words = ["sweep", "rnn:hidden=3,inputs=1,activation=identity", "-T", "30", "-j", "1", "--vary", "gain=1e140,1e141"]
    assert run(words) == 3
    assert "every one of the 2 points failed" in capsys.readouterr().err


def test_dry_run_measures_nothing_to_keep(capsys, tmp_path):
    store = tmp_path / "map.jsonl"
    code, out, _ = call(capsys, "--vary", "seed=1:9", "--store", str(store), "--dry-run")
    assert code == 0
    assert out.startswith("9 points\n")
    assert out.count("  seed=") == 5
    assert not store.exists()


def test_the_help_has_examples_that_are_planned(capsys):
    assert run(["sweep", "--help"]) == 0
    help_text = capsys.readouterr().out
    from gradscope.sweeps.plan import make_plan

    examples = [line.split() for line in help_text.splitlines() if line.strip().startswith("gradscope sweep")]
    assert len(examples) >= 3
    for words in examples:
        vary = [words[i + 1] for i, word in enumerate(words) if word == "--vary"]
        assert make_plan([words[2]], vary).n_points > 1
