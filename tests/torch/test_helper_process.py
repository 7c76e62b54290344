"""The process that measures while a network trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gradscope.torch.helper_process import HelperEnded, HelperProcess

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def test_it_computes_elsewhere_and_ends():
    helper = HelperProcess()
    there = helper.call(os.getpid)
    assert there != os.getpid()
    np.testing.assert_array_equal(helper.call(np.cumsum, np.ones(3)), [1.0, 2.0, 3.0])
    helper.close()
    helper.close()
    with pytest.raises(ProcessLookupError):
        os.kill(there, 0)


def test_what_it_prints_is_no_answer(capfd):
    helper = HelperProcess()
    assert helper.call(os.system, "echo noise") == 0
    helper.close()
    assert "noise" in capfd.readouterr().err


def test_a_killed_one_is_said_and_replaced():
    helper = HelperProcess()
    there = helper.call(os.getpid)
    os.kill(there, signal.SIGKILL)
    with pytest.raises(HelperEnded, match="has ended"):
        helper.call(os.getpid)
    assert helper.call(os.getpid) not in (there, os.getpid())
    helper.close()


def test_where_no_python_can_be_started_it_computes_here(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert HelperProcess().call(os.getpid) == os.getpid()


def test_a_killed_training_leaves_none_behind(tmp_path):
    """Not even where a child of the training keeps the pipe open."""
    code = """
import os, signal, sys, time
from gradscope.torch.helper_process import HelperProcess
helper = HelperProcess()
print(helper.call(os.getpid), flush=True)
if os.fork() == 0:
    os.close(1)  # whoever reads what was printed does not wait for the child
    time.sleep(20)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    there = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(there, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("still there")
