"""Forge files for long, in child processes, so that a crash, a hang or a flood of memory is seen and counted.

python -m tests.forge --files 1000 --seed 0 [--kind onnx]
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.forge import KINDS
from tests.forge.doors import MEGABYTES, SECONDS, WARM_UP, Failed, arguments, measured, opened
from tests.forge.lies import Liar

CHUNK = 100
#: Seconds by the clock that a chunk may wait; processor time is what a loop without end is known by.
PATIENCE = 600


def work(kind, seed, n_files, folder):
    """One chunk: a line per case, so that what was going on is known when the process dies."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # a loop without end ends the process with this signal
    forge, doors = KINDS[kind]
    opened(WARM_UP)
    for index in range(n_files):
        rng = Liar(f"{kind} {seed} {index}")
        path = forge(rng, folder)
        words = arguments(rng.choice(doors), path, rng)
        print(json.dumps({"case": index, "words": words}), flush=True)
        signal.setitimer(signal.ITIMER_PROF, 4 * SECONDS)
        try:
            outcome, seconds, megabytes = measured(words)
        except Failed as failure:
            print(json.dumps({"failed": str(failure)}), flush=True)
            _keep(folder, kind, seed, index)
            continue
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"outcome": outcome, "seconds": seconds, "megabytes": megabytes}), flush=True)
        if seconds > SECONDS or megabytes > MEGABYTES:
            _keep(folder, kind, seed, index)


def _keep(folder, kind, seed, index):
    shutil.copytree(folder, f"forged-{kind.replace(' ', '-')}-{seed}-{index}", dirs_exist_ok=True)


def _run(command):
    """The chunk's process; one that waits for something that never comes is ended, its lines are kept."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired as end:
        said, complained = ((part or b"").decode("utf-8", "replace") for part in (end.stdout, end.stderr))
        whole = said[: said.rfind("\n") + 1]
        return subprocess.CompletedProcess(command, -1, whole, f"{complained}\nwaited {PATIENCE} s")


def run_kind(kind, seed, n_files):
    """All files of one kind: what came out, and what must not have."""
    found = {"tried": 0, "read": 0, "refused": 0, "slowest": 0.0, "largest": 0.0, "bad": []}
    for chunk in range(-(-n_files // CHUNK)):
        with tempfile.TemporaryDirectory() as folder:
            begin = seed * 1_000_003 + chunk
            size = min(CHUNK, n_files - chunk * CHUNK)
            command = [sys.executable, "-m", "tests.forge", "--worker", folder, "--kind", kind]
            command += ["--seed", str(begin), "--files", str(size)]
            done = _run(command)
            case = None
            for line in map(json.loads, done.stdout.splitlines()):
                if "case" in line:
                    case, found["tried"] = line, found["tried"] + 1
                elif "failed" in line:
                    found["bad"].append(f"seed {begin} case {case['case']} {case['words']}: {line['failed']}")
                else:
                    found[line["outcome"]] += 1
                    found["slowest"] = max(found["slowest"], line["seconds"])
                    found["largest"] = max(found["largest"], line["megabytes"])
                    if line["seconds"] > SECONDS or line["megabytes"] > MEGABYTES:
                        found["bad"].append(f"seed {begin} case {case['case']} {case['words']}: {line}")
            if done.returncode:
                found["bad"].append(f"seed {begin} case {case}: exit {done.returncode}\n{done.stderr[-1500:]}")
                if Path(folder).exists():
                    _keep(folder, kind, begin, case["case"] if case else "none")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=100, help="of every kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--worker", metavar="FOLDER")
    asked = parser.parse_args()
    if asked.worker:
        work(asked.kind[0], asked.seed, asked.files, Path(asked.worker))
        return
    bad = []
    print("| kind | tried | read | refused | slowest | largest |\n|---|---|---|---|---|---|")
    for kind in asked.kind or KINDS:
        found = run_kind(kind, asked.seed, asked.files)
        numbers = f"{found['tried']} | {found['read']} | {found['refused']}"
        print(f"| {kind} | {numbers} | {found['slowest']:.2f} s | {found['largest']:.0f} MB |", flush=True)
        for problem in found["bad"]:
            print(f"{kind}: {problem}", file=sys.stderr, flush=True)
        bad += found["bad"]
    print(f"{len(bad)} crashes, hangs or floods")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
