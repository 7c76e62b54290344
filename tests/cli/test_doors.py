"""The doors of the command line: strangers' text, signals, drawings beside data, numbers no machine has."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gradscope.cli import run
from gradscope.records import Report
from gradscope.reports.csv_report import write_csv
from gradscope.text import MESSAGE_CHARACTERS, message, printable

HOSTILE = "a\x1b[2Jb\rc\n::error::forged\u202ed\x9b"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fit_to_show(text: str) -> bool:
    lines = text.splitlines()
    steers = any(letter in text for letter in "\x1b\r\x9b\u202e\x00")
    return not steers and not any(line.lstrip().startswith("::") for line in lines)


@pytest.mark.parametrize(
    "words",
    [
        ["gradients", "rnn:hidden=2", "--readout", HOSTILE + ".npz"],
        ["gradients", "rnn:hidden=2", f"--inputs={HOSTILE}.npy"],
        ["gradients", "rnn:hidden=2", "--state", HOSTILE + ".npy"],
        ["gradients", HOSTILE],
        ["gradients", f"rnn:{HOSTILE}=1"],
        ["gradients", "rnn", "--fail-on", HOSTILE],
        [HOSTILE],
        ["gradients", "rnn", "--anchor", HOSTILE],
        ["show", HOSTILE],
        ["sweep", "rnn", "--vary", HOSTILE],
        ["gradients", "rnn", "-o", HOSTILE + ".json/x.json"],
        ["gradients", "x" * 60_000 + ".npz"],
        ["gradients", "rnn:" + "k" * 60_000],
        ["gradients", "rnn", "--target", "7" * 5000],
    ],
)
def test_an_argument_can_neither_steer_nor_forge(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) in (2, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert fit_to_show(err)
    assert 1 <= len(err.splitlines()) <= 2
    assert len(err.rstrip("\n")) <= MESSAGE_CHARACTERS
    assert "bug" not in err


@pytest.mark.parametrize("length", [0, 10, 999, 1000, 5000])
@pytest.mark.parametrize("second", [0, 1, 700, 5000])
def test_messages_are_two_lines_of_a_thousand(length: int, second: int) -> None:
    said = message("a" * length + "\n" + "b" * second + "\nc")
    assert len(said) <= MESSAGE_CHARACTERS
    assert said.count("\n") <= 1


@pytest.mark.parametrize("format_name", ["table", "csv", "md", "html", "github", "junit"])
def test_a_file_name_forges_no_line_in_any_format(format_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = "w\x1b[2J\n::error::forged\u202e.npy"
    np.save(name, np.eye(2) / 2)
    assert run(["gradients", name, "-T", "3", "-f", format_name, "--fail-on", "horizon < 99"]) == 1
    out, err = capsys.readouterr()
    assert fit_to_show(err)
    assert "::error::forged" not in [line.strip() for line in out.splitlines()]
    if format_name not in ("csv",):  # data stays as it is, and is quoted
        assert "\x1b" not in out
    assert out


def test_a_carriage_return_is_quoted_in_csv() -> None:
    raw = {
        "schema": "gradscope/gradients/1", "gradscope": "0", "command": ["gradients"], "seed": 0, "environment": {},
        "results": [{"source": {"name": "a\rb"}, "settings": {}, "rows": [{"lag": 0}], "summary": {}, "warnings": []}],
        "gates": [],
    }  # fmt: skip
    stream = io.StringIO()
    write_csv(Report.from_dict(raw), stream)
    assert '"a\rb"' in stream.getvalue()
    assert list(csv.reader(io.StringIO(stream.getvalue(), newline="")))[1][0] == "a\rb"


def test_printable_leaves_the_worlds_letters_alone() -> None:
    assert printable("größe 模型 λ₁ ‖W‖ −1 …") == "größe 模型 λ₁ ‖W‖ −1 …"


@pytest.mark.parametrize("format_name", ["json", "jsonl", "csv", "html", "junit"])
def test_a_drawing_never_joins_the_data(format_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["gradients", "rnn:hidden=3", "-T", "5", "-f", format_name]
    assert run(words) == 0
    plain = capsys.readouterr().out
    assert run([*words, "--plot"]) == 0
    out, err = capsys.readouterr()
    # The command is part of the data: one more word of it, and nothing else.
    assert out.replace('    "--plot",\n', "").replace(', "--plot"', "").replace(" --plot", "").strip()[:1] == plain[:1]
    assert len(out.splitlines()) - len(plain.splitlines()) <= (format_name == "json")
    assert len(err.splitlines()) > 5
    if format_name == "json":
        json.loads(out)


@pytest.mark.parametrize("threads", [str(2**64), str(2**31), "5000", "0", "-1"])
def test_no_machine_has_so_many_threads(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradients", "rnn:hidden=2", "-T", "2", "--threads", threads]) == 2
    assert "--threads" in capsys.readouterr().err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_cancelled_run_leaves_nothing(sent: signal.Signals, code: int, tmp_path: Path) -> None:
    if signal.getsignal(sent) == signal.SIG_IGN:
        pytest.skip("whoever started these tests ignores the signal (nohup), and what they start inherits that")
    words = [sys.executable, "-m", "gradscope", "lyapunov", "lstm:hidden=64", "-T", "500000", "-o", "r.json"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(300):
            if list(tmp_path.glob(".r.json.*")):
                break
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert out == ""
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_nohup_stays_nohup(tmp_path: Path) -> None:
    script = (
        "import signal, os; signal.signal(signal.SIGHUP, signal.SIG_IGN); from gradscope.cli import run;"
        "from gradscope.cli.interrupts import lasting_interrupts\n"
        "with lasting_interrupts(): os.kill(os.getpid(), signal.SIGHUP); print('on')"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "on\n")
