"""The manual pages are what the commands say, and the wheel installs them (tests/docs/test_docs.py compares them)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gradscope.cli.group import VERBS, load_verb

ROOT = Path(__file__).parents[2]
MAN = ROOT / "docs" / "man"


def test_there_is_a_page_for_every_verb_and_no_other():
    assert {page.name for page in MAN.iterdir()} == {"gradscope.1", *(f"gradscope-{verb}.1" for verb in VERBS)}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_stands_in_the_page(verb: str):
    text = (MAN / f"gradscope-{verb}.1").read_text(encoding="ascii").replace("\\-", "-")
    missing = [name for one in load_verb(verb).params for name in one.opts if name.startswith("-") and name not in text]
    assert missing == []
    assert re.search(rf"^\.SH NAME\ngradscope-{verb} - ", text, flags=re.MULTILINE)


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("page", sorted(MAN.glob("*.1")), ids=lambda page: page.name)
def test_groff_has_nothing_to_say_about_it(page: Path):
    ended = subprocess.run(["groff", "-man", "-Tutf8", "-ww", page], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "gradscope" in ended.stdout


def test_the_wheel_holds_them(tmp_path: Path):
    """Built by hatchling as pip would, without pip's environment of its own."""
    pytest.importorskip("hatchling")
    program = f"from hatchling.build import build_wheel; build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    installed = {name.rpartition("/")[2] for name in names if "/share/man/man1/" in name}
    assert installed == {page.name for page in MAN.iterdir()}
    assert not [name for name in names if name.startswith("tests/")]
