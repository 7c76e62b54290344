"""Several results on several processes: the same bytes, the same errors, and nobody left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradscope
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.worth import PAYS_FROM, pays_apart
from gradscope.cli import run
from gradscope.errors import GradscopeError, UsageError
from gradscope.records import Result
from gradscope.side_by_side import Relay, can_fork, measure_parts
from gradscope.sources.build import build_source
from gradscope.sources.given_arrays import GivenArray
from gradscope.sources.spec import parse_source

forked = pytest.mark.skipif(not can_fork(), reason="parts run one after the other here")
SOURCES = ("rnn:hidden=12", "lstm:hidden=6,layers=2,bidirectional=true", "gru:hidden=5,layers=2")


def written(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run([*words]) == 0
    return capsys.readouterr().out


@forked
@pytest.mark.parametrize(
    ("verb", "form"), [("gradients", "json"), ("gradients", "html"), ("lyapunov", "table"), ("spectrum", "json")]
)
def test_the_same_bytes_whatever_the_number_of_processes(
    verb: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = ("rnn:hidden=4", "rnn:hidden=5") if verb == "spectrum" else SOURCES
    words = [verb, *sources, "-f", form, "-T", "12"]
    alone = written(capsys, *words, "-j", "1")
    assert written(capsys, *words, "-j", "2") == alone
    assert written(capsys, *words, "--jobs=7") == alone


@forked
def test_layers_and_inputs_too(capsys: pytest.CaptureFixture[str]) -> None:
    for more in (("--per-layer",), ("--wrt", "inputs"), ("--batch", "3", "--anchor", "start")):
        words = ["gradients", *SOURCES, "-T", "6", "--json", *more]
        assert written(capsys, *words, "-j", "3") == written(capsys, *words, "-j", "1")


@forked
def test_python_too() -> None:
    one, two = (gradscope.gradients("rnn:hidden=4", "gru:hidden=4", steps=8, jobs=jobs) for jobs in (1, 2))
    assert one.to_json() == two.to_json()
    with pytest.raises(UsageError, match="--jobs 0"):
        gradscope.gradients("rnn", jobs=0)


@forked
def test_the_command_that_is_stored_has_no_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    raw = json.loads(written(capsys, "gradients", "rnn:hidden=3", "-T", "5", "-j", "2", "--json"))
    assert raw["command"] == ["gradients", "rnn:hidden=3", "-T", "5", "--json"]


def part(name: str) -> Any:
    return lambda: [Result({"name": name}, {}, {}, {"process": os.getpid()})]


def raises(problem: Exception, after: float = 0.0) -> Any:
    def run_it() -> list[Result]:
        time.sleep(after)
        raise problem

    return run_it


@forked
class TestParts:
    def test_results_keep_their_order_and_come_from_several_processes(self) -> None:
        slow = lambda: [time.sleep(0.3), *part("slow")()][1:]  # noqa: E731
        found = measure_parts([slow, *map(part, "abc")], 2, Relay(None))
        assert [result.source["name"] for result in found] == ["slow", "a", "b", "c"]
        assert os.getpid() not in {result.summary["process"] for result in found}
        assert found[0].summary["process"] not in {result.summary["process"] for result in found[1:]}

    def test_the_first_error_in_order_is_the_one_that_is_told(self) -> None:
        parts = [part("a"), raises(UsageError("the first"), 0.3), raises(UsageError("the second")), part("d")]
        with pytest.raises(UsageError, match="the first") as caught:
            measure_parts(parts, 3, Relay(None))
        assert "run_it" in caught.value.__notes__[0]

    def test_a_process_that_is_killed_is_an_error_with_advice(self) -> None:
        with pytest.raises(GradscopeError, match=r"exit code -9.*-j 1|exit code -9[\s\S]*-j 1"):
            measure_parts([part("a"), lambda: os.kill(os.getpid(), signal.SIGKILL)], 2, Relay(None))  # type: ignore[list-item,return-value]

    def test_progress_comes_up_from_the_earliest_part(self) -> None:
        said: list[tuple[str, int, int]] = []
        relay = Relay(lambda *words: said.append(words))

        def talks() -> list[Result]:
            relay("norms", 3, 10)
            time.sleep(0.2)
            return part("talks")()

        measure_parts([talks, part("b")], 2, relay)
        assert said
        assert said[0][0].startswith("norms (")
        assert said[0][1:] == (3, 10)

    def test_nobody_outlives_the_parent(self, tmp_path: Path) -> None:
        script = (
            "import os, time\nfrom gradscope.side_by_side import Relay, measure_parts\n"
            "def slow():\n    open(f'{os.getpid()}.pid', 'w').close()\n    time.sleep(60)\n    return []\n"
            "measure_parts([slow, slow], 2, Relay(None))\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
        until = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        children = [int(path.stem) for path in tmp_path.iterdir()]
        assert len(children) == 2
        parent.kill()
        parent.wait()
        while any(map(alive, children)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(alive, children))


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestWhetherItPays:
    def decide(self, *texts: str, verb: str = "gradients", **options: Any) -> bool:
        request = GradientsRequest(**options)
        return pays_apart(verb, [build_source(parse_source(text), seed=0) for text in texts], request)

    def test_short_results_stay_in_one_process(self) -> None:
        assert not self.decide("rnn", "skip", "forget-gate", "input-gate", "lstm")
        assert not self.decide("rnn:hidden=256", steps=5000)  # there is one result only
        assert not self.decide("rnn:hidden=256", "rnn:hidden=8", steps=1000)  # one that is long, one that is not

    def test_long_ones_get_processes(self) -> None:
        assert self.decide("rnn:hidden=256", "lstm:hidden=128", steps=1000)
        assert self.decide("lstm:hidden=256,bidirectional=true", steps=200)
        assert self.decide("rnn", "gru", steps=100_000)
        assert PAYS_FROM < 0.5

    def test_given_inputs_count_with_their_own_steps(self, tmp_path: Path) -> None:
        long = np.zeros((20_000, 16))
        np.save(tmp_path / "x.npy", long)
        assert not self.decide("rnn", "gru")
        assert self.decide("rnn", "gru", inputs=GivenArray(long))
        assert self.decide("rnn", "gru", inputs=str(tmp_path / "x.npy"))
        assert not self.decide("rnn", "gru", inputs=str(tmp_path / "missing.npy"))
