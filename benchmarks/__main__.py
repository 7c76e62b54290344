"""Print the ratio table: ``python -m benchmarks [--only TEXT] [--rounds N] [-o FILE.json] [--base FILE.json]``."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks import (
    diagonal_recurrences,
    exponents,
    long_runs,
    lstm_norms,
    many_networks,
    own_size,
    rnn_norms,
    start_up,
    torch_autograd,
)
from benchmarks.workload import Family, Timing, time_workload

FAMILIES: dict[str, Family] = {
    "A": rnn_norms.workloads,
    "B": lstm_norms.workloads,
    "C": exponents.workloads,
    "D": many_networks.workloads,
    "E": long_runs.workloads,
    "F": start_up.workloads,
    "G": own_size.own,
    "H": own_size.wide,
    "I": own_size.several,
    "J": diagonal_recurrences.workloads,
    "T": torch_autograd.workloads,
}
#: A ratio has regressed when even its best round is this much worse than the worst round of the base.
NOISE = 1.1


def main() -> int:
    """Run, print, store, compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--family", default="".join(FAMILIES), help="letters of the workloads to run (default: all)")
    parser.add_argument("--only", default="", help="run workloads whose name contains this")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each workload (default 5)")
    parser.add_argument("-o", "--output", type=Path, help="write JSON here")
    parser.add_argument("--base", type=Path, help="JSON of an earlier run: exit 1 if a ratio got worse beyond noise")
    options = parser.parse_args()
    timings = []
    with threadpool_limits(1):
        for letter in options.family:
            for workload in FAMILIES[letter]():
                if options.only in workload.name:
                    timings.append(time_workload(workload, options.rounds))
                    print(_line(timings[-1]), flush=True)
    report = {"machine": _machine(), "workloads": [timing.as_dict() for timing in timings]}
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    return _compare(timings, options.base) if options.base else 0


def _line(timing: Timing) -> str:
    target = f"≤ {timing.target:.3g}" if timing.target is not None else ""
    spread = f"{timing.ratio_low:.3f}–{timing.ratio_high:.3f}"
    return (
        f"{timing.name:<52} {timing.project_seconds:8.3f} s {timing.reference_seconds:8.3f} s"
        f"   ratio {timing.ratio:6.3f}  ({spread})  {target:<7} {timing.reference_name}"
    )


def _machine() -> dict[str, object]:
    blas = [f"{pool['internal_api']} {pool['version']}" for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {
        "processor": platform.machine(),
        "python": platform.python_version(),
        "blas": sorted(set(blas)),
        "threads": 1,
    }


def _compare(timings: list[Timing], base: Path) -> int:
    before = {entry["name"]: entry for entry in json.loads(base.read_text())["workloads"]}
    worse = 0
    for timing in timings:
        if timing.name not in before:
            continue
        then = before[timing.name]
        regressed = timing.ratio_low > NOISE * then["ratio_high"]
        worse += regressed
        word = "REGRESSED" if regressed else "ok"
        print(f"{word:<10} {timing.name}: {then['ratio']:.3f} then, {timing.ratio:.3f} now", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
