"""However a sweep is disturbed, its rows are those of an undisturbed one, byte for byte."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("sweep_rows", Path(__file__).with_name("sweep_rows.py"))
rows_of = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows_of)

GRID = ["--vary", "T=9:18", "--vary", "seed=1:10"]
BASE = ["rnn:hidden=6,inputs=2", *GRID]


def finish(process, code=0, timeout=60):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == code, err
    return out, err


def children_of(pid):
    """Living processes of a session, by /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and int(entry.name) != pid and fields[0] != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_interrupted_and_resumed_with_other_workers(undisturbed, launch, tmp_path, wait_until, sent):
    if sent != signal.SIGKILL and signal.getsignal(sent) == signal.SIG_IGN:
        pytest.skip("whoever started these tests ignores the signal (nohup), and what they start inherits that")
    path = tmp_path / "map.jsonl"
    process = launch(*BASE, "--store", path, "-j", 2, "--progress", "off")
    wait_until(lambda: len(rows_of.finished_keys(path)) >= 5)
    workers = children_of(process.pid)
    began = time.monotonic()
    process.send_signal(sent)
    _, err = process.communicate(timeout=20)
    kept = rows_of.finished_keys(path)
    if len(kept) < 100:
        assert process.returncode == (-sent if sent == signal.SIGKILL else 128 + sent)
    if sent != signal.SIGKILL:
        assert time.monotonic() - began < 15  # a run to its end takes longer; how much depends on the machine
        words = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
        assert err == f"gradscope: {words[sent]}\n"  # and nothing about leaked semaphores
        assert "Traceback" not in err
    assert len(workers) >= 2
    wait_until(lambda: not children_of(process.pid), seconds=5)
    finish(launch(*BASE, "--store", path, "-j", 1, "-q"))
    assert rows_of.row_lines(path) == rows_of.row_lines(undisturbed)
    assert rows_of.finished_keys(path)[: len(kept)] == kept, "a finished row was lost or moved"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_worker_costs_nothing(undisturbed, launch, tmp_path, wait_until):
    path = tmp_path / "map.jsonl"
    process = launch(*BASE, "--store", path, "-j", 2, "-q")
    wait_until(lambda: len(rows_of.finished_keys(path)) >= 3)
    for pid in children_of(process.pid):
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
            break
    finish(process)
    assert rows_of.row_lines(path) == rows_of.row_lines(undisturbed)
    assert len(rows_of.row_lines(path)) == 100


def test_a_finished_sweep_is_not_measured_again(undisturbed, launch):
    before = undisturbed.read_bytes()
    out, _ = finish(launch(*BASE, "--store", undisturbed, "-j", 2, "-f", "csv"))
    assert undisturbed.read_bytes() == before
    assert len(out.splitlines()) == 101


def test_a_full_disk_keeps_what_was_before(undisturbed, tmp_path):
    path = tmp_path / "map.jsonl"
    header = undisturbed.read_bytes().splitlines()[0]
    limit = len(header) + 4000
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        f"from gradscope.cli import main; main(['sweep', *{BASE!r}, '--store', {str(path)!r}, '-j', '1', '-q'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "kept" in done.stderr
    kept = rows_of.finished_keys(path)
    assert 1 <= len(kept) < 100
    assert path.read_bytes().endswith(b"\n")
    assert set(rows_of.row_lines(path)) < set(rows_of.row_lines(undisturbed))
