"""docs/in-the-training-loop.md: every block runs, and what the page says of the planted run is so."""

import re
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

from gradscope.reports.json_report import read_report

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

PAGE = (Path(__file__).parents[2] / "docs" / "in-the-training-loop.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python ?(\w*)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_page_as_a_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    names = {}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for kind, block in BLOCKS:
            if not kind:
                exec(compile(block, "page", "exec"), names)
    torch.set_rng_state(state)
    printed = capsys.readouterr().out
    assert "head (5, 32)" in printed
    report = read_report("run.jsonl")
    rows = {row["step"]: row for row in report.results[0].rows()}
    table = re.findall(r"^\| (\d+) \| ([\d.]+) \| (.+?) \| (.+?) \| (\d+) \| ([\d.]+) \|$", PAGE, flags=re.MULTILINE)
    assert len(table) == 7
    for step, norm, horizon, horizon_h, length, gate in table:
        row = rows[int(step)]
        assert 10 ** row["log10_dloss_dweight_total"] == pytest.approx(float(norm), rel=0.1)
        assert row["gates"]["f"] == pytest.approx(float(gate), abs=0.01)
        for shown, name in ((horizon, "horizon"), (horizon_h, "horizon_h")):
            assert row[f"{name}_censored"] == (shown == "over 60")
            if shown != "over 60":
                assert row[name] == pytest.approx(int(shown), abs=2)
        assert row["tbptt_length"] == pytest.approx(int(length), abs=5)
    reach = [str(w.message) for w in said if "gradients reach" in str(w.message)]
    assert len(reach) == 1
    assert "step 250" in reach[0]
    # The total gradient stays within a factor of two while the long lags die.
    totals = [rows[step]["log10_dloss_dweight_total"] for step in range(100, 401, 50)]
    assert np.ptp(totals) < np.log10(2)
    assert rows[400]["horizon"] < 15


def callback(kind, base):
    """The callback of a block, over a stand-in for the library."""
    library = types.ModuleType(kind)
    setattr(library, base, object)
    sys.modules[kind] = library
    try:
        names = {}
        exec(compile(next(block for k, block in BLOCKS if k == kind), kind, "exec"), names)
    finally:
        del sys.modules[kind]
    return names["Reach"]()


def train(model, steps):
    for _ in range(steps):
        model(torch.randn(12, 2, 3))[0].sum().backward()


def test_the_lightning_callback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, model = callback("lightning", "Callback"), torch.nn.GRU(3, 4)
    trainer = types.SimpleNamespace(global_step=7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.on_train_start(trainer, model)
        train(model, 3)
        found.on_train_end(trainer, model)
    assert [row["step"] for row in read_report("run.jsonl").results[0].rows()] == [7]


def test_the_hugging_face_callback(tmp_path):
    found, model = callback("transformers", "TrainerCallback"), torch.nn.LSTM(3, 4)
    args, state = types.SimpleNamespace(output_dir=str(tmp_path)), types.SimpleNamespace(global_step=3)
    found.on_train_begin(args, state, None, model=model)
    train(model, 2)
    found.on_train_end(args, state, None)
    assert [row["step"] for row in read_report(tmp_path / "run.jsonl").results[0].rows()] == [3]


def test_jacobians_from_jax():
    pytest.importorskip("jax")
    names = {}
    exec(compile(next(block for kind, block in BLOCKS if kind == "jax"), "jax", "exec"), names)
    assert names["report"].results[0].summary["bound_violations"] == 0
