"""docs/adding-a-recurrence.md: the file it shows is the file there is, its example runs, and leaky has its key."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import gradscope
from gradscope.cells import indrnn as indrnn_module
from gradscope.cells.leaky import Leaky
from gradscope.cells.rnn import Rnn
from gradscope.errors import UsageError

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-recurrence.md"


@pytest.fixture(scope="module")
def blocks():
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 2
    return found


def leaky(leak=0.5, **settings):
    rng = np.random.default_rng(4)
    return Leaky(rng.normal(size=(3, 2)), 2 * rng.normal(size=(3, 3)), rng.normal(size=3), leak=leak, **settings)


def test_the_page_shows_the_file(blocks):
    assert blocks[0] == Path(indrnn_module.__file__).read_text(encoding="utf-8")


def test_what_the_page_runs(blocks):
    names = {"__name__": __name__}
    exec(compile(blocks[1], str(PAGE), "exec"), names)
    alone, stacked = names["alone"].item(), names["stacked"].item()
    # A stack's product is block triangular: no smaller than its diagonal block, the bottom layer's own product.
    assert stacked >= alone > -15


def test_leak_one_is_the_plain_recurrence_and_leak_zero_keeps_everything():
    rng = np.random.default_rng(5)
    s, drive = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    whole, none = leaky(1.0), leaky(0.0)
    plain = Rnn(whole.weight_ih, whole.weight_hh, whole.bias)
    assert np.array_equal(whole.step(s, drive), plain.step(s, drive))
    assert np.array_equal(whole.linearise(s, drive).jacobian.dense(), plain.linearise(s, drive).jacobian.dense())
    assert whole.step_norm_bound({"u": 3.0}, 1.0) == plain.step_norm_bound({"u": 3.0}, 1.0)
    assert np.array_equal(none.step(s, drive), s)
    assert np.array_equal(none.linearise(s, drive).jacobian.dense(), np.broadcast_to(np.eye(3), (4, 3, 3)))


def test_leak_one_has_the_theory_of_the_plain_recurrence():
    results = [gradscope.gradients(source, steps=30).results[0] for source in ("rnn:hidden=8", "leaky:hidden=8,leak=1")]
    for name in ("log10_norm", "log10_theory", "log10_eigen", "log10_bound"):
        assert np.array_equal(results[0].columns[name], results[1].columns[name], equal_nan=True), name


def test_the_closed_form_is_the_direct_path():
    result = gradscope.gradients("leaky:hidden=8,leak=0.25", steps=30).results[0]
    truth = np.arange(31) * np.log10(0.75)
    assert np.allclose(result.columns["log10_theory"], truth, rtol=0, atol=1e-12)


def test_a_sweep_and_a_file_know_its_key(tmp_path):
    rows = gradscope.sweep("leaky:hidden=4", vary=["leak=0.5:1:0.25"], steps=5).results[0].rows()
    assert [row["leak"] for row in rows] == [0.5, 0.75, 1.0]
    rng = np.random.default_rng(0)
    arrays = {"weight_ih_l0": rng.normal(size=(3, 2)), "weight_hh_l0": rng.normal(size=(3, 3))}
    path = tmp_path / "w.npz"
    np.savez(path, **arrays)
    said = gradscope.gradients(f"{path}:cell=leaky,leak=0.25", steps=30).results[0]
    assert np.allclose(said.columns["log10_theory"], np.arange(31) * np.log10(0.75), rtol=0, atol=1e-12)
    assert not any("leak" in warning for warning in said.warnings)
    assumed = gradscope.gradients(f"{path}:cell=leaky", steps=30).results[0]
    assert any("leak=0.5 was assumed" in warning for warning in assumed.warnings)
    with pytest.raises(UsageError, match="leak= is a key of leaky, but the cell is rnn"):
        gradscope.gradients(f"{path}:cell=rnn,leak=0.25")
