"""Completion as a shell asks for it, and the scripts in the shells that are here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lstm.npz").touch()
    (tmp_path / "my file.npz").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "w.pt").touch()
    return tmp_path


def ask(line: str, shell: str = "zsh") -> list[str]:
    program = f"import sys; sys.path[:0] = {sys.path!r}; from gradscope.cli import main; main([])"
    environment = os.environ | {"_GRADSCOPE_COMPLETE": f"{shell}_complete", "GRADSCOPE_LINE": line}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""
    return ended.stdout.rstrip("\n").split("\n")


@pytest.mark.parametrize(
    ("line", "wanted", "unwanted"),
    [
        ("gradscope ", ["gradients ", "inspect "], ["lstm "]),
        ("gradscope gradients l", ["lstm ", "leaky ", "lstm.npz "], ["rnn ", "gradients "]),
        ("gradscope gradients ", ["models/", "my file.npz ", "rnn "], [".hidden "]),
        ("gradscope gradients models/", ["models/w.pt "], ["rnn "]),
        ("gradscope gradients lstm", ["lstm ", "lstm:", "lstm.npz "], []),
        ("gradscope gradients lstm:hid", ["lstm:hidden="], ["lstm:init="]),
        ("gradscope gradients lstm:hidden=4,f", ["lstm:hidden=4,forget_bias="], ["lstm:hidden=4,hidden="]),
        ("gradscope gradients rnn:init=o", ["rnn:init=orthogonal "], []),
        ("gradscope gradients rnn:bidirectional=", ["rnn:bidirectional=true "], []),
        ("gradscope gradients rnn --loss ", ["none ", "mse "], ["models/"]),
        ("gradscope gradients rnn --inputs=z", ["--inputs=zeros "], []),
        ("gradscope gradients rnn --inputs l", ["lstm.npz "], []),
        ("gradscope gradients rnn --fail-on hor", ["horizon "], []),
        ("gradscope claims --claim C1", ["C10 ", "C19 "], ["C01 "]),
        ("gradscope gradients rnn --figure ga", ["gates "], ["map "]),
        ("gradscope show my", ["my file.npz "], []),
        ("gradscope sweep lstm --vary forget", ["forget_bias="], []),
        ("gradscope sweep rnn --vary init=gaussian,o", ["init=gaussian,orthogonal "], []),
        ("gradscope schema s", ["spectrum ", "sweep "], []),
    ],
)
def test_what_is_offered(line: str, wanted: list[str], unwanted: list[str]) -> None:
    offered = ask(line)
    assert set(wanted) <= set(offered)
    assert not set(unwanted) & set(offered)


def test_a_broken_configuration_breaks_no_completion(here: Path) -> None:
    (here / "gradscope.toml").write_text("steps = [")
    assert isinstance(ask("gradscope gradients l"), list)


def script(shell: str, here: Path) -> Path:
    program = here / "bin" / "gradscope"
    program.parent.mkdir()
    path = f"import sys; sys.path[:0] = {sys.path!r}; from gradscope.cli import main; main()"
    program.write_text(f"#!{sys.executable}\n{path}\n")
    program.chmod(0o755)
    environment = os.environ | {"_GRADSCOPE_COMPLETE": f"{shell}_source"}
    text = subprocess.run([program], env=environment, capture_output=True, text=True, check=True).stdout
    (here / "script").write_text(text)
    return program.parent


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_from_its_last_word_break(here: Path) -> None:
    folder = script("bash", here)
    lines = {
        "gradscope gradients lstm:hid": "<hidden=>",
        "gradscope gradients lstm:hidden=4,init=g": "<gaussian >",
        "gradscope show my": "<my\\ file.npz >",
        "gradscope gradients mod": "<models/>",
    }
    for line, wanted in lines.items():
        asked = (
            f"PATH={folder}:$PATH; source ./script; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; "
            "_gradscope_completion gradscope; printf '<%s>' \"${COMPREPLY[@]}\""
        )
        ended = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
        assert (ended.stdout, ended.stderr) == (wanted, "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_the_fish_completes(here: Path) -> None:
    folder = script("fish", here)
    asked = f"set -x PATH {folder} $PATH; source ./script; complete -C 'gradscope gradients lstm:hid'"
    assert subprocess.run(["fish", "-c", asked], capture_output=True, text=True, check=True).stdout == "lstm:hidden=\n"


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes(here: Path) -> None:
    """Its own functions stand in for the line editor: what the script would offer is printed."""
    folder = script("zsh", here)
    subprocess.run(["zsh", "-n", "script"], check=True)
    offered = {
        "lstm:hid": "-S  -- lstm:hidden=\n",
        "lstm:hidden=4,init=orth": "-- lstm:hidden=4,init=orthogonal\n",
        "my": "-- my file.npz\n",
        "models": "-S  -- models/\n",
    }
    for word, wanted in offered.items():
        asked = (
            f"path=({folder} $path); compdef() {{ }}; compadd() {{ print -r -- $@ }}; source ./script; "
            f"words=(gradscope gradients {word}); CURRENT=3; _gradscope_completion"
        )
        ended = subprocess.run(["zsh", "-f", "-c", asked], capture_output=True, text=True, check=True)
        assert (ended.stdout.replace("-S -- ", "-S  -- "), ended.stderr) == (wanted, "")
