"""E: long sequences, the command as a user runs it: time linear in T, memory that does not grow with T·n."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.workload import Workload

#: Lags shorter than half of this are the same question in both runs.
STEPS = 100_000
#: Peak resident memory of the command at 10^6 steps; scaled down it leaves room for the interpreter and numpy.
PEAK_MIB = 300


def run_command(steps: int) -> tuple[dict[str, object], float]:
    """``gradients rnn:hidden=64 -T steps`` in a process of its own: its report, and its peak memory in MiB."""
    words = ["gradients", "rnn:hidden=64", "-T", str(steps), "--memory", "64M", "--lags", f"0:{steps}:{steps // 10}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gradscope", *words, "--json"], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return json.loads(text), usage.ru_maxrss / 1024


def workloads() -> Iterator[Workload]:
    """Twice the steps against twice the time."""
    yield Workload(
        f"E gradients n=64, T={STEPS}",
        f"the same at T={STEPS // 2}, twice",
        partial(run_command, STEPS),
        partial(run_command, STEPS // 2),
        _verify,
        1.1,
        share=0.5,
    )


def _verify() -> None:
    report, peak = run_command(STEPS)
    (result,) = report["results"]  # type: ignore[misc]
    assert result["summary"]["bound_violations"] == 0
    assert len(result["rows"]) == 11
    assert peak < PEAK_MIB, f"{peak:.0f} MiB"
