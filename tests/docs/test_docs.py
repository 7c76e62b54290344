"""The documents say what the program does: the command reference is --help, and every shown command runs."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gradscope.cli import run

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: A pipe, or a pattern that the shell expands.
FOR_A_SHELL = re.compile(r" \| | run/\S*\*")


def test_the_command_reference_is_what_help_says() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["reference"]()
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == page


def test_every_generated_page_and_schema_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["pages"]()
    assert "api.md" in {path.name for path in made}
    assert [path.name for path, page in made.items() if path.read_text(encoding="utf-8") != page] == []


def shown_commands() -> list[str]:
    """Lines of code blocks that call gradscope, after a ``$`` or alone, and the examples of every --help."""
    lines: list[str] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines += re.findall(r"^\s*\$ (gradscope [^\n]*)$", text, flags=re.MULTILINE)
        for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            lines += re.findall(r"^(gradscope [^\n]*)$", block, flags=re.MULTILINE)
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    lines += re.findall(r"^\s+(gradscope [a-z]+ [^\n]*)$", reference, flags=re.MULTILINE)
    return sorted({line.split("  #")[0].strip() for line in lines})


@pytest.fixture
def here(example_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader: a copy of what ``gradscope example`` wrote."""
    shutil.copytree(example_folder, tmp_path / "demo")
    monkeypatch.chdir(tmp_path / "demo")
    return tmp_path / "demo"


@pytest.mark.parametrize("line", [line for line in shown_commands() if not FOR_A_SHELL.search(line)])
def test_every_shown_command_runs_in_the_example(line: str, here: Path, capsys) -> None:
    code = run(shlex.split(line)[1:])
    out, err = capsys.readouterr()
    assert code in (0, 1), err  # 1: a gate that the line lets trip
    assert out


@pytest.mark.parametrize("line", [line for line in shown_commands() if FOR_A_SHELL.search(line)])
def test_what_needs_a_shell_runs_in_one(line: str, here: Path, tmp_path: Path, monkeypatch) -> None:
    program = tmp_path / "bin" / "gradscope"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom gradscope.cli import main\nif __name__ == '__main__':\n    main()\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 1), ended.stderr
    assert ended.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/quick-start.md"])
def test_shown_output_is_what_the_program_prints(page: str, capsys) -> None:
    """Blocks that hold a verdict are output of the command before them; README's of ``make run``."""
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = [
        (place.start(), place[1]) for place in re.finditer(r"^\$ (gradscope [^\n]*)$", text, flags=re.MULTILINE)
    ]
    blocks = re.finditer(r"^```\w*\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    shown = [block for block in blocks if re.search(r"^(vanishing|exploding|neutral): ", block[1], flags=re.MULTILINE)]
    assert shown
    for block in shown:
        before = [words for start, words in commands if start < block.start()]
        words = before[-1] if before else "gradscope gradients rnn skip forget-gate input-gate lstm"
        assert run(shlex.split(words)[1:]) == 0
        printed = capsys.readouterr().out
        for part in block[1].split("\n\n"):
            assert part.strip("\n") in printed
