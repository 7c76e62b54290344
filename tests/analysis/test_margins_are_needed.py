"""Safety margins that nothing else would miss: each test fails when its margin is deleted."""

import os
import stat

import numpy as np
import pytest

import gradscope
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source
from gradscope.theory.bounds import stepwise_bound


@pytest.mark.parametrize("source", ["gru:hidden=6,inputs=2,gain=2", "gru:hidden=6,inputs=2,gain=2,bias=1"])
def test_the_gru_bound_knows_the_initial_state(tmp_path, source):
    """(h − n) σ′(a_z) W_z is as large as h_0: with sup|h_0| left out the first step is above its bound."""
    exceeded = 0
    for seed in range(12):
        cell = build_source(parse_source(source), seed=seed, dtype="float64").network.layers[0]
        W = cell.recurrent_blocks()["z"]
        # A large state along which W_z h vanishes leaves the gate half open: σ′ = ¼.
        h = 200.0 * np.linalg.svd(W)[2][-1]
        np.save(tmp_path / "h.npy", h)
        (result,) = gradscope.gradients(
            source, steps=1, seed=seed, inputs="zeros", state=str(tmp_path / "h.npy"), loss="none"
        ).results
        norm = result.columns["log10_norm"][1]
        assert norm <= stepwise_bound(cell, 1, float(np.abs(h).max()), "end")[1]
        assert result.summary["bound_violations"] == 0
        exceeded += norm > stepwise_bound(cell, 1, 0.0, "end")[1]
    assert exceeded > 6


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_output_files_have_the_mode_that_the_umask_allows(tmp_path, umask, capsys):
    """A temporary file is private; what replaces the output is not."""
    from gradscope.cli import run

    before = os.umask(umask)
    try:
        assert run(["gradients", "rnn:hidden=3", "-T", "3", "-q", "-o", str(tmp_path / "out.json")]) == 0
    finally:
        os.umask(before)
    capsys.readouterr()
    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("source", ["lstm:hidden=16", "gru:hidden=16", "lstm:hidden=16,layers=2"])
def test_a_gated_cell_shows_no_empty_bound(source):
    (result,) = gradscope.gradients(source, steps=200, loss="none").results
    assert np.isnan(np.asarray(result.columns["log10_bound"], dtype=float)).all()
    assert result.summary["bound"] is None
    assert result.summary["bound_violations"] == 0  # the bounds along the trajectory are still compared
    (short,) = gradscope.gradients(source, steps=3, loss="none").results
    assert np.isfinite(np.asarray(short.columns["log10_bound"], dtype=float)).all()
