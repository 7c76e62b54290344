"""Starting up: what `--help` may import, and that a closed pipe, an interrupt and a module run end as promised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

HEAVY = ("numpy", "scipy", "rich", "h5py", "onnx", "matplotlib", "torch", "distributed")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["gradients", "--help"], ["spectrum", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys, io, contextlib\n"
        "from gradscope.cli import run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    code = run({words!r})\n"
        f"print(code, [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = python(code)
    assert done.stdout.strip() == "0 []", done.stderr


def test_a_gradients_table_imports_no_optional_library_and_no_file_reader() -> None:
    code = (
        "import sys, io, contextlib\n"
        "from gradscope.cli import run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    code = run(['gradients', 'rnn', '-T', '5'])\n"
        "absent = ('scipy.stats', 'scipy.optimize', 'h5py', 'onnx', 'matplotlib', 'torch', 'distributed',\n"
        "          'importlib.metadata', *('gradscope.' + own for own in (\n"
        "              'sources.files', 'sources.hdf5', 'sources.keras_file', 'sources.npz', 'sources.onnx_file',\n"
        "              'sources.safetensors', 'sources.torch_file', 'sources.build_seq2seq',\n"
        "              'analysis.input_sensitivity')))\n"
        "print(code, [m for m in absent if m in sys.modules])\n"
    )
    done = python(code)
    assert done.stdout.strip() == "0 []", done.stderr


def test_python_dash_m() -> None:
    done = subprocess.run([sys.executable, "-m", "gradscope", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("gradscope, version ") or done.stdout.startswith("gradscope ")


def test_a_closed_pipe_is_silent_and_141() -> None:
    # More than a pipe holds, so that the writer is still writing when the reader has gone.
    command = f"{sys.executable} -m gradscope gradients rnn:hidden=2 -T 3000 --json; echo code $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | head -c 10"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == "code 141\n"


def test_an_interrupt_is_130_and_leaves_no_file(tmp_path) -> None:
    target = tmp_path / "out.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "gradscope", "gradients", "rnn:hidden=200", "-T", "200000", "-o", str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    # Interrupt once the work has begun: the temporary output file is opened just before it.
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "gradscope: interrupted\n")
    assert list(tmp_path.iterdir()) == []
