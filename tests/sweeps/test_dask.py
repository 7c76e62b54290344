"""A Dask cluster of separate processes: the same rows as here, also when a worker dies in mid-run."""

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from gradscope.errors import InputError

_spec = importlib.util.spec_from_file_location("sweep_rows", Path(__file__).with_name("sweep_rows.py"))
rows_of = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows_of)

GRID = ["--vary", "T=9:18", "--vary", "seed=1:10"]
BASE = ["rnn:hidden=6,inputs=2", *GRID]
pytestmark = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="distributed is not installed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, wait_until):
    """A scheduler and two workers on 127.0.0.1; address, workers."""
    home = tmp_path_factory.mktemp("cluster")
    place = home / "scheduler.json"
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "3"}
    module = [sys.executable, "-m", "distributed.cli"]
    options = ["--scheduler-file", str(place), "--no-dashboard", "--host", "127.0.0.1"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": home, "env": environment}
    started = []
    try:
        scheduler = [f"{module[2]}.dask_scheduler", *options, "--port", "0"]
        worker = [f"{module[2]}.dask_worker", *options, "--nthreads", "1", "--no-nanny", "--local-directory", str(home)]
        started += (subprocess.Popen([*module[:2], *words], **silent) for words in (scheduler, worker, worker))
        wait_until(lambda: place.exists() and place.stat().st_size, seconds=30)
        yield json.loads(place.read_text())["address"], started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_the_same_rows_and_a_killed_worker(cluster, undisturbed, launch, tmp_path, wait_until):
    address, workers = cluster
    path = tmp_path / "map.jsonl"
    deadline = time.monotonic() + 30
    while True:  # a worker may register after the first try
        process = launch(*BASE, "--store", path, "--dask", address, "-q")
        wait_until(lambda: process.poll() is not None or len(rows_of.finished_keys(path)) >= 5, seconds=30)  # noqa: B023
        if len(rows_of.finished_keys(path)) >= 5 or time.monotonic() > deadline:
            break
        process.communicate()
    workers[0].send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert rows_of.row_lines(path) == rows_of.row_lines(undisturbed)


def test_a_cluster_that_lost_its_workers_is_said() -> None:
    engines = importlib.import_module("gradscope.sweeps.engines")

    class Client:
        cores: ClassVar = {"a": 2}

        def nthreads(self):
            if self.cores is None:
                raise OSError("gone")
            return self.cores

    engine = object.__new__(engines.Dask)
    engine._client, engine._address, engine._seen = Client(), "tcp://here:1", time.monotonic() - 1000
    engine.look()
    engine._seen = time.monotonic()
    Client.cores = {}
    engine.look()
    engine._seen -= engines.WITHOUT_WORKERS + 1
    with pytest.raises(InputError, match=r"no workers for 30 s(?s:.*)dask worker tcp://here:1"):
        engine.look()
    Client.cores = None
    with pytest.raises(InputError, match="the scheduler has gone"):
        engine.look()


def test_no_scheduler_is_two_lines(launch, tmp_path):
    process = launch(*BASE, "--dask", "tcp://127.0.0.1:9", "-q")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "no scheduler answers" in err
    assert "Traceback" not in err
