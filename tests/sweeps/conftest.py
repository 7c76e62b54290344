import os
import subprocess
import sys
import time

import pytest

# Ten groups of ten points that cost milliseconds: an interruption falls into the middle.
GRID = ["--vary", "T=9:18", "--vary", "seed=1:10"]
BASE = ["rnn:hidden=6,inputs=2", *GRID]


@pytest.fixture(scope="session")
def launch():
    """Start ``gradscope sweep`` as a user would, in a process group of its own."""
    started = []

    def start(*words, **options):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADSCOPE_")}
        environment |= {"OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "gradscope", "sweep", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, launch):
    """A store measured at one go, by one process."""
    path = tmp_path_factory.mktemp("undisturbed") / "map.jsonl"
    process = launch(*BASE, "--store", path, "-j", 1, "-q")
    assert process.wait(timeout=60) == 0, process.stderr.read()
    return path


@pytest.fixture(scope="session")
def wait_until():
    def wait(condition, seconds=20.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "what was waited for never came"
            time.sleep(0.01)

    return wait
