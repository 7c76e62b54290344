"""Open a forged file as the command line does, in this process, and judge what came of it."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from pathlib import Path

from tests.forge.stored import STORE

SECONDS = 5.0
MEGABYTES = 500.0
NETWORK = ["gradients", "rnn:hidden=2,inputs=2", "-T", "4", "--json"]
#: Loads the libraries, so that no file is charged for them.
WARM_UP = [*NETWORK[:1], "rnn:hidden=2,inputs=2", "-T", "2"]
FORMS = ("table", "json", "jsonl", "csv", "md", "html", "junit", "github")


def arguments(door, path, rng):
    """The command line of one door."""
    name = f"{path}:x" if path.suffix in (".npz", ".safetensors") and rng.random() < 0.7 else str(path)
    return {
        "weights": ["inspect", str(path), "--json"]
        if rng.random() < 0.7
        else ["gradients", str(path), "-T", "2", "--json"],
        "inspect": ["inspect", str(path)],
        "inputs": [*NETWORK, "--loss", "none", "--inputs", name],
        "state": [*NETWORK, "--loss", "none", "--state", name],
        "target": [*NETWORK, "--loss", rng.choice(("mse", "cross-entropy")), "--target", name],
        "tokens": [*NETWORK, "--loss", "none", "--tokens", str(path)],
        "readout": [*NETWORK, "--readout", str(path)],
        "linear": [*NETWORK, "--loss", "linear", "--readout", str(path)],
        "show": ["show", str(path), "-f", rng.choice(FORMS)],
        "diff": ["diff", str(path), str(path), "-f", rng.choice(FORMS)],
        "resume": [*STORE.split(), str(path)],
    }[door]


class Failed(AssertionError):
    """What came of a file that must not come of any."""


def opened(words):
    """Run one command: "read" or "refused", or :class:`Failed` with what went wrong."""
    from gradscope.cli import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RuntimeWarning)
        code = run(words)
    said = err.getvalue()
    if code not in (0, 1, 2, 3):
        raise Failed(f"exit {code}: {said[:500]}")
    if "bug in gradscope" in said or "out of memory" in said or "Traceback" in said:
        raise Failed(said[:1000])
    if code > 1 and (not said or len(said) > 1100 or said.rstrip("\n").count("\n") > 1):
        raise Failed(f"exit {code} without one or two lines: {len(said)} characters, {said[:300]!r}")
    if not all(line.isprintable() for line in said.split("\n")):
        raise Failed(f"unprintable: {said[:500]!r}")
    return "refused" if code > 1 else "read"


def peak_megabytes():
    """The largest resident size since :func:`forget_peak`; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


def forget_peak():
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def measured(words):
    """(outcome, seconds of processor time, megabytes) of one command."""
    forget_peak()
    begun = time.process_time()
    outcome = opened(words)
    return outcome, time.process_time() - begun, peak_megabytes()
