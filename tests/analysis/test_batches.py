"""A dead, an underflowed or an overflowing sample decides nothing for the others of its batch."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.analysis.living import Living, by_layer, mean_of_nonzero


def test_two_dead_samples_of_64_do_not_decide() -> None:
    """W_hh of gain 2.5 with relu: 62 samples stand between 10^9.8 and 10^14.9 at lag 100, two are dead from lag 96."""
    report = gradscope.gradients("rnn:hidden=8,activation=relu,gain=2.5", batch=64, loss="none")
    summary, rows = report.results[0].summary, list(report.results[0].rows())
    assert summary["verdict"] == "exploding"
    assert summary["zero_samples"] == 2
    assert summary["horizon_censored"]
    assert [row["status"] for row in rows] == ["ok"] * 101
    assert [rows[lag]["zero_samples"] for lag in (0, 95, 96, 100)] == [0, 0, 1, 2]
    assert 9.8 < rows[100]["log10_norm"] < 14.9
    assert rows[100]["rank"] == 3
    assert rows[100]["stable_rank"] >= 1.0
    assert any(text.startswith("2 of 64 samples are dead") for text in report.results[0].warnings)


def _one_unit(tmp_path, w: float, bias: float, inputs: np.ndarray, **options):
    """relu or tanh with one unit, W_ih = 1, and inputs (batch, T, 1)."""
    np.savez(
        tmp_path / "net.npz",
        weight_ih_l0=np.array([[1.0]]), weight_hh_l0=np.array([[w]]), bias_ih_l0=np.array([bias]),
        bias_hh_l0=np.zeros(1),
    )  # fmt: skip
    np.save(tmp_path / "x.npy", inputs)
    activation = options.pop("activation")
    source = f"{tmp_path / 'net.npz'}:activation={activation}"
    return gradscope.gradients(source, inputs=str(tmp_path / "x.npy"), **options).results[0]


def test_means_are_over_the_living_only(tmp_path) -> None:
    """relu, w = ½: sample 0 is alive at every step (10^(−0.301 k)), sample 1 is cut at step 10, two from the end."""
    x = np.ones((2, 12, 1))
    x[1, 9] = -100.0
    result = _one_unit(tmp_path, 0.5, 0.0, x, activation="relu", loss="linear", readout="random")
    rows = list(result.rows())
    assert [row["zero_samples"] for row in rows] == [0, 0, 0] + [1] * 10
    np.testing.assert_allclose([row["log10_norm"] for row in rows], np.arange(13) * np.log10(0.5), atol=1e-12)
    assert rows[2]["log10_norm_std"] == 0.0
    assert rows[3]["log10_norm_std"] is None  # one sample is left
    # The loss gradient of a dead sample is zero and does not make the living one's null.
    assert all(row["log10_dloss_dstate"] is not None for row in rows)
    assert rows[12]["log10_dloss_dstate"] - rows[3]["log10_dloss_dstate"] == pytest.approx(9 * np.log10(0.5))
    assert result.summary["log10_rate"] == pytest.approx(np.log10(0.5))


def test_a_lag_is_zero_when_every_sample_is(tmp_path) -> None:
    x = np.ones((3, 8, 1))
    for sample, step in enumerate((7, 5, 2)):
        x[sample, step] = -100.0
    result = _one_unit(tmp_path, 0.5, 0.0, x, activation="relu", loss="none")
    rows = list(result.rows())
    assert [row["zero_samples"] for row in rows] == [0, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [row["status"] for row in rows] == ["ok"] * 6 + ["zero"] * 3
    assert result.summary["verdict"] == "vanishing"
    assert result.summary["log10_rate"] is None or np.isnan(result.summary["log10_rate"])
    assert result.summary["course"] is None


def test_dead_samples_do_not_bend_the_rate() -> None:
    """Sample 0 shrinks a decade a step, sample 1 grows half a decade and is dead from lag 7: the rate is sample 0's."""
    lags = np.arange(9.0)
    values = np.stack([-lags, 0.5 * lags], axis=1)
    dead = np.zeros((9, 2), dtype=bool)
    dead[7:, 1] = True
    living = Living(dead, np.zeros_like(dead), np.zeros_like(dead))
    np.testing.assert_allclose(living.mean(values), [*(-0.25 * lags[:7]), -7.0, -8.0])
    np.testing.assert_allclose(living.to_the_end(values), -lags)


@pytest.mark.parametrize("kind", ["underflow", "nonfinite"])
def test_underflowed_and_overflowing_samples(kind: str) -> None:
    bad = np.zeros((5, 3), dtype=bool)
    bad[2:, 1] = True
    none = np.zeros_like(bad)
    values = np.where(bad, np.nan, -np.arange(5.0)[:, None] * [1.0, 9.0, 3.0])
    living = Living(none, bad if kind == "underflow" else none, bad if kind == "nonfinite" else none)
    assert living.status().tolist() == ["ok"] * 5
    np.testing.assert_allclose(living.mean(values)[2:], [-4.0, -6.0, -8.0])
    assert living.sentences()[0].startswith("1 of 3 samples is")
    everywhere = np.ones_like(bad)
    alone = Living(everywhere, everywhere & bad, none) if kind == "underflow" else Living(everywhere, none, bad)
    assert alone.status().tolist() == ["zero", "zero", kind, kind, kind]


def test_log_columns_skip_exact_zeros() -> None:
    values = np.array([[[-1.0, np.nan], [np.nan, np.nan]], [[-2.0, -4.0], [-1.0, np.nan]]])
    assert by_layer(values).tolist() == [[-1.0, None], [-3.0, -1.0]]
    np.testing.assert_array_equal(mean_of_nonzero(np.array([[np.nan, np.nan]])), [np.nan])
