"""action.yml, the pre-commit hooks and the CI examples, run as their runners run them, from a clone.

Only what needs the network is left out: pip is a stand-in that says which folder was installed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
CI = ROOT / "examples" / "ci"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}


@pytest.fixture
def clone(tmp_path: Path, example_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's root with the example in ``demo``, gradscope and a stand-in for pip on the path."""
    folder, programs, installed = tmp_path / "clone", tmp_path / "bin", tmp_path / "installed"
    programs.mkdir()
    shutil.copytree(example_folder, folder / "demo")
    for name in ("pyproject.toml", "action.yml"):
        (folder / name).symlink_to(ROOT / name)
    written = {
        "gradscope": f"#!{sys.executable}\nfrom gradscope.cli import main\nif __name__ == '__main__':\n    main()\n",
        "pip": f'#!/bin/bash\n[ "$1" = install ] && [ -e "$2/pyproject.toml" ] && echo "$PWD/$2" >> {installed}\n',
    }
    for name, text in written.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path))
    (tmp_path / "gradscope" / "bin").mkdir(parents=True)
    (tmp_path / "gradscope" / "bin" / "gradscope").symlink_to(programs / "gradscope")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return folder


def bash(script: str, where: Path, **names: str) -> subprocess.CompletedProcess[str]:
    """A step as GitHub runs one."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=where, env=os.environ | names, capture_output=True, text=True, check=False,
    )  # fmt: skip


def act(clone: Path, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The measuring step of the composite action, with the inputs that a workflow gives."""
    assert set(given) <= set(ACTION["inputs"])
    needed = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert needed <= set(given)
    inputs = {name: given.get(name, one.get("default", "")) for name, one in ACTION["inputs"].items()}

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], text)

    (step,) = (one for one in ACTION["runs"]["steps"] if one.get("name") == "measure")
    assert "${{" not in step["run"]  # a value of the workflow is never text of the script
    names = {name: filled(value) for name, value in step["env"].items()}
    return bash(step["run"], clone / filled(step["working-directory"]), **names)


def workflow_steps() -> list[dict[str, Any]]:
    return list(yaml.safe_load((CI / "github.yml").read_text(encoding="utf-8"))["jobs"]["gradients"]["steps"])


def test_the_github_example_runs_from_a_clone(clone: Path, tmp_path: Path):
    shutil.rmtree(clone / "demo")
    for step in workflow_steps():
        if "run" in step:
            ended = bash(step["run"], clone)
            assert ended.returncode == 0, ended.stderr
        elif step["uses"].startswith("."):
            assert (clone / step["uses"] / "action.yml").exists()
            ended = act(clone, step["with"])
            assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "installed").read_text().splitlines() == [f"{clone}/."]
    assert ended.stdout == "gradscope: Both gates passed.\n"
    assert "vanishing" in (clone / "demo" / "gradscope.html").read_text(encoding="utf-8")
    assert (clone / "demo" / "gradscope.json").exists()
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert summary.index(r"| pass | horizon \>= 5 |") < summary.index("rate -0.0")


def test_the_action_fails_with_a_reason_when_a_gate_does(clone: Path, tmp_path: Path):
    given = {
        "working-directory": "demo",
        "source": "run/step-000.safetensors\nrun/step-200.safetensors",
        "inputs": "features.npy",
        "expect": "horizon >= 50\nbound_violations == 0",
        "fail-on": "rank < 0",
        "warn-on": "verdict == vanishing",
        "arguments": "--epsilon=1e-4\n--loss\nnone",
    }
    ended = act(clone, given)
    assert ended.returncode == 1
    assert ended.stdout.count("::error") == 1
    assert ended.stdout.count("::warning") == 2
    assert "wanted horizon >= 50 (run/step-000.safetensors)" in ended.stdout.replace("%3A", ":")
    assert "| FAIL |" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert (clone / "demo" / "gradscope.html").exists()


def test_what_a_workflow_says_is_no_shell_text(clone: Path):
    ended = act(clone, {"source": "$(touch pwned)`touch pwned`\n--help\n", "arguments": "--loss=none"})
    assert ended.returncode == 2  # both lines are sources that are not there
    assert not (clone / "pwned").exists()


def test_the_action_installs_its_checkout_and_uploads_the_page(tmp_path: Path):
    steps = ACTION["runs"]["steps"]
    (install,) = (one for one in steps if one.get("name") == "install gradscope")
    assert '"$GITHUB_ACTION_PATH${EXTRAS:+[$EXTRAS]}"' in install["run"]
    upload = steps[-1]
    assert upload["if"] == "always()"
    assert "gradscope.html" in upload["with"]["path"]
    assert all(one["shell"] == "bash" for one in steps if "run" in one)


@pytest.mark.parametrize(("gate", "code"), [("horizon >= 5", 0), ("rank >= 99", 1)])
def test_the_gitlab_example_runs_from_a_clone(gate: str, code: int, clone: Path, tmp_path: Path):
    shutil.rmtree(clone / "demo")
    job = yaml.safe_load((CI / "gitlab.yml").read_text(encoding="utf-8"))["gradients"]
    ended = bash("\n".join(job["script"]).replace("horizon >= 5", gate), clone)
    assert ended.returncode == code, ended.stderr
    assert (tmp_path / "installed").read_text().splitlines() == [f"{clone}/."]
    for name in (*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]):
        assert (clone / name).stat().st_size > 500


def hook_of(configured: dict[str, Any]) -> dict[str, Any]:
    return HOOKS[configured["id"]] | configured


@pytest.mark.parametrize(("model", "code"), [("model.safetensors", 0), ("jacobians.npz", 3)])
def test_the_pre_commit_example(model: str, code: int, clone: Path):
    (repo,) = yaml.safe_load((CI / "pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (hook,) = (hook_of(one) for one in repo["hooks"])
    assert re.search(hook["files"], model)
    (clone / "demo" / "jacobians.npz").write_bytes(b"no zip")
    ended = bash(f"{hook['entry']} {shlex.join(hook['args'])} {model}", clone / "demo")
    assert ended.returncode == code, ended.stderr


def test_the_hook_that_reads(clone: Path):
    files = ["model.safetensors", "model.pt", "model.keras", "model.onnx"]
    hook = HOOKS["gradscope-inspect"]
    assert all(re.search(hook["files"], name) for name in files)
    assert not re.search(hook["files"], "notes.md")
    assert bash(f"{hook['entry']} {shlex.join(files)}", clone / "demo").returncode == 0


def test_nothing_is_installed_by_a_name_that_no_index_has():
    pages = [ROOT / "README.md", ROOT / "action.yml", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.*")]
    pages += (ROOT / "gradscope").rglob("*.py")
    assert len(pages) > 300
    assert [page.name for page in pages if "gradscope-rnn" in page.read_text(encoding="utf-8", errors="ignore")] == []
