"""F: starting up, whole processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.workload import Workload


def run_python(*words: str) -> str:
    """One process; its output."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout


def workloads() -> Iterator[Workload]:
    """``--help`` against importing click, a default run against importing numpy and click."""
    yield Workload(
        "F gradscope --help",
        'python -c "import click"',
        partial(run_python, "-m", "gradscope", "--help"),
        partial(run_python, "-c", "import click"),
        partial(_says, "Verbs:", "-m", "gradscope", "--help"),
        2.0,
    )
    yield Workload(
        "F gradscope gradients rnn",
        'python -c "import click, numpy, rich.table"',
        partial(run_python, "-m", "gradscope", "gradients", "rnn"),
        partial(run_python, "-c", "import click, numpy, rich.table"),
        partial(_says, "vanishing", "-m", "gradscope", "gradients", "rnn"),
    )


def _says(text: str, *words: str) -> None:
    assert text in run_python(*words)
