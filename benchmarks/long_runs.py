"""E: long sequences, the command as a user runs it: time linear in T, memory that does not grow with T·n."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.workload import Workload

#: Lags shorter than half of this are the same question in both runs.
STEPS = 100_000
#: Peak resident memory of the command at 10^6 steps; scaled down it leaves room for the interpreter and numpy.
PEAK_MIB = 300


#: The command, and then its own peak on stderr: what wait4 tells of a child includes its parent's pages before exec.
WITH_PEAK = """
import runpy, sys
try:
    runpy.run_module("gradscope", run_name="__main__", alter_sys=True)
finally:
    with open("/proc/self/status") as status:
        print(*(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""


def run_command(steps: int) -> tuple[dict[str, object], float]:
    """``gradients rnn:hidden=64 -T steps`` in a process of its own: its report, and its peak memory in MiB."""
    words = ["gradients", "rnn:hidden=64", "-T", str(steps), "--memory", "64M", "--lags", f"0:{steps}:{steps // 10}"]
    done = subprocess.run(
        [sys.executable, "-c", WITH_PEAK, *words, "--json"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout), int(done.stderr.split()[-1]) / 1024


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
