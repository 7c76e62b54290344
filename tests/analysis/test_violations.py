"""Counts of exceeded estimates and bounds: exact zeros count, and what nobody compared is null."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

import gradscope


def test_an_exactly_zero_theory_is_exceeded_by_any_measurement(tmp_path) -> None:
    """W² = 0, so the article's (φ′)^k W^k is zero from lag 2 on; slopes between the factors make the truth nonzero."""
    np.savez(
        tmp_path / "net.npz",
        weight_ih_l0=np.zeros((2, 1)), weight_hh_l0=np.array([[2.0, -4.0], [1.0, -2.0]]),
        bias_ih_l0=np.array([-4.0, -32.0]), bias_hh_l0=np.zeros(2),
    )  # fmt: skip
    np.save(tmp_path / "h0.npy", np.array([0.0, -1.0]))
    result = gradscope.gradients(
        f"{tmp_path / 'net.npz'}", inputs="zeros", state=str(tmp_path / "h0.npy"), steps=20, loss="none"
    ).results[0]
    rows = list(result.rows())
    measured = [row["log10_norm"] for row in rows]
    assert all(value is not None for value in measured)
    assert [row["log10_theory"] for row in rows[2:]] == [None] * 19
    at_one = measured[1] > rows[1]["log10_theory"] + 1e-9
    assert result.summary["theory_violations"] == 19 + at_one


def test_nothing_is_counted_where_nothing_is_compared(tmp_path) -> None:
    summary = gradscope.gradients("rnn:hidden=4", steps=20, wrt="inputs", loss="none").results[0].summary
    assert summary["bound_violations"] is None
    assert summary["theory_violations"] is None
    np.save(tmp_path / "j.npy", np.stack([np.eye(2) * 0.5] * 6))
    ready = gradscope.gradients(str(tmp_path / "j.npy"), loss="none").results[0].summary
    assert ready["theory_violations"] is None
    assert ready["bound_violations"] == 0  # the path bound is there


def test_a_gate_on_a_null_count_fails_with_a_reason() -> None:
    command = ["gradients", "rnn:hidden=4", "-T", "20", "--wrt", "inputs", "--loss", "none"]
    found = subprocess.run(
        [sys.executable, "-m", "gradscope", *command, "--fail-on", "bound_violations > 0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 1
    assert "bound_violations" in found.stderr


def test_an_encoder_decoder_has_weight_gradients_at_every_lag() -> None:
    rows = list(
        gradscope.gradients("seq2seq:hidden=6,feedback=teacher,vocab=5", steps=7, target="1,2,3").results[0].rows()
    )
    values = [row["log10_dloss_dweight"] for row in rows]
    assert values[-1] is None
    # The first encoder step multiplies W_hh by s_0 = 0: its copy has no gradient.
    assert values[-2] is None
    assert all(isinstance(value, float) for value in values[:-2])
