"""Found by exercising the binary as a stranger: closed streams, paths in results, gates of a configuration file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradscope.cli import run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def one_line_of_stderr(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert 1 <= len(captured.err.strip().splitlines()) <= 2
    return captured.err


def test_streams_that_were_closed_before_the_start_are_no_bug(tmp_path: Path) -> None:
    command = f"{sys.executable} -m gradscope gradients rnn:hidden=2 -T 2 -o r.json <&- >&-"
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads((tmp_path / "r.json").read_text())["schema"] == "gradscope/gradients/1"
    ended = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m gradscope show - <&-"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3
    assert "bug" not in ended.stderr


def test_no_verb_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "wanted a verb: gradients, spectrum" in one_line_of_stderr(capsys)


@pytest.mark.parametrize("source", ["", " ", "LSTM"])
def test_what_is_neither_cell_nor_path_is_a_usage_error(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", source]) == 2
    assert ("Did you mean 'lstm'?" in one_line_of_stderr(capsys)) == (source == "LSTM")


def test_a_directory_is_named_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", str(tmp_path)]) == 3
    assert "is a directory" in one_line_of_stderr(capsys)


@pytest.mark.parametrize("target", ["²", "--3", "٣"])
def test_digits_that_are_no_numbers_are_refused_as_targets(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    for source in ("rnn:hidden=2", "seq2seq:hidden=2"):
        assert run(["gradients", source, "-T", "2", f"--target={target}"]) == 2
        assert "wanted" in one_line_of_stderr(capsys)


def test_no_directory_of_this_machine_reaches_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "w.npz", **{"a/b.weight_ih_l0": np.eye(2), "a/b.weight_hh_l0": np.eye(2) / 2})
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    source, inputs = f"{tmp_path}/w.npz:param=a/b,cell=rnn", f"--inputs={tmp_path}/x.npy"
    assert run(["gradients", source, inputs, f"-o{tmp_path}/r.json", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert str(tmp_path) not in json.dumps(report)
    assert report["results"][0]["source"]["name"] == "w.npz:param=a/b,cell=rnn"
    assert report["command"] == ["gradients", "w.npz:param=a/b,cell=rnn", "--inputs=x.npy", "-or.json", "--json"]


def test_gates_of_a_configuration_bind_the_verbs_they_speak_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gradscope.toml").write_text('fail-on = ["horizon >= 0", "max_spectral_radius >= 0"]\n')
    for verb, tripped in (("gradients", "horizon"), ("spectrum", "max_spectral_radius")):
        assert run([verb, "rnn:hidden=3", "--json"]) == 1
        assert [gate["expression"].split()[0] for gate in json.loads(capsys.readouterr().out)["gates"]] == [tripped]
    assert run(["lyapunov", "rnn:hidden=3", "-T", "200", "--json"]) == 0
    capsys.readouterr()
    # A name that no verb knows is a slip, as it is on the command line.
    (tmp_path / "gradscope.toml").write_text('fail-on = "horizn < 5"\n')
    assert run(["spectrum", "rnn:hidden=3"]) == 2
    assert "horizn" in one_line_of_stderr(capsys)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    command = f"{sys.executable} -m gradscope gradients rnn:hidden=2 -T 2 > /dev/full"
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert "writing failed" in ended.stderr


def inspected(capsys: pytest.CaptureFixture[str], source: str) -> dict:
    assert run(["inspect", source, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["results"][0]


def test_inspect_shows_what_the_other_verbs_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "J.npz", steps=np.zeros((5, 2, 2)))
    assert inspected(capsys, "J.npz")["summary"]["jacobians"] == [5, 2, 2]
    rows = inspected(capsys, "seq2seq:hidden=3,inputs=2,vocab=4,cell=gru")["rows"]
    assert [(row["module"], row["input_size"]) for row in rows] == [("encoder", 2), ("decoder", 4)]
    np.savez(tmp_path / "w.npz", weight_ih_l0=np.eye(2), weight_hh_l0=np.eye(2))
    (row,) = inspected(capsys, "w.npz")["rows"]
    assert (row["cell"], row["gate_activation"]) == ("rnn", None)
    np.savez(tmp_path / "other.npz", kernel=np.eye(2))
    assert run(["inspect", "other.npz"]) == 3
    assert "weight_hh" in one_line_of_stderr(capsys)


@pytest.mark.parametrize("key", ["gain=1e308", "bias=-1e200", "gain=1e400", "gain=nan", "forget_bias=inf"])
def test_numbers_whose_squares_overflow_are_refused(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", f"lstm:{key}"]) == 2
    assert "wanted a finite number" in one_line_of_stderr(capsys)


def test_input_sensitivity_of_an_encoder_decoder_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", "seq2seq:hidden=2", "--wrt", "inputs", "-T", "3"]) == 2
    assert "encoder–decoder" in one_line_of_stderr(capsys)


def test_one_direction_of_a_bidirectional_stack_is_measured_as_it_is_driven(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(4)
    weights = {}
    for layer, width in ((0, 2), (1, 6)):
        for ending in ("", "_reverse"):
            weights[f"weight_ih_l{layer}{ending}"] = rng.standard_normal((9, width))
            weights[f"weight_hh_l{layer}{ending}"] = rng.standard_normal((9, 3))
    np.savez(tmp_path / "w.npz", **weights)

    def results(verb: str, source: str) -> dict[tuple[int, str], list]:
        assert run([verb, source, "-T", "9", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["results"]
        return {(r["source"].get("layer"), r["source"].get("direction")): r["rows"] for r in found}

    everything = results("gradients", "w.npz")
    assert list(everything) == [(0, "forward"), (0, "backward"), (1, "forward"), (1, "backward")]
    for direction in ("forward", "backward"):
        one = results("gradients", f"w.npz:direction={direction}")
        assert one == {key: rows for key, rows in everything.items() if key[1] == direction}
        ((rows, *_),) = [list(results("spectrum", f"w.npz:direction={direction}").values())]
        assert {row["param"].endswith("_reverse") for row in rows} == {direction == "backward"}
    # One layer alone, driven by inputs of its own width, keeps its number.
    assert list(results("gradients", "w.npz:layer=1")) == [(1, "forward"), (1, "backward")]
    assert list(results("gradients", "w.npz:layer=1,direction=backward")) == [(1, "backward")]


def test_weights_at_the_edge_of_float64_put_only_our_own_words_on_stderr(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", weight_ih_l0=np.full((2, 2), 1e300), weight_hh_l0=np.full((2, 2), 1e308))
    command = [sys.executable, "-m", "gradscope", "gradients", "w.npz:cell=rnn", "-T", "5", "--json"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 3)
    assert "Warning" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 2


def test_several_stored_results_become_one_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in (("a", ["gradients"]), ("b", ["gradients"]), ("c", ["spectrum"])):
        assert run([*words, "rnn:hidden=2", "-o", f"{name}.json"]) == 0
    assert run(["show", "a.json", "b.json", "-o", "both.json"]) == 0
    capsys.readouterr()
    assert len(json.loads((tmp_path / "both.json").read_text())["results"]) == 2
    # Two verbs are two reports: a file or a machine format holds one.
    assert run(["show", "a.json", "c.json", "-o", "mixed.md"]) == 2
    assert "one verb at a time" in one_line_of_stderr(capsys)
    assert not (tmp_path / "mixed.md").exists()
    assert run(["show", "a.json", "c.json"]) == 0


def test_completion_scripts_are_printed(tmp_path: Path) -> None:
    environment = os.environ | {"_GRADSCOPE_COMPLETE": "zsh_source"}
    ended = subprocess.run(
        [sys.executable, "-c", "from gradscope.cli import main; main([])"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0
    assert "compdef" in ended.stdout
