"""A run that is recomputed from checkpoints gives what a stored one gives."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.networks import trajectory as networks_run


@pytest.mark.parametrize(
    "source", ["rnn:hidden=7", "lstm:hidden=5,forget_bias=1", "gru:hidden=4,layers=2", "skip:hidden=6"]
)
@pytest.mark.parametrize("anchor", ["end", "start"])
def test_checkpoints_change_nothing(source: str, anchor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"steps": 90, "anchor": anchor, "loss_at": "all", "batch": 2}
    stored = gradscope.gradients(source, **options).results[0]
    # Stretches of a few steps, none of which divides T.
    monkeypatch.setattr(networks_run, "SEGMENT_BYTES", 30_000)
    cut = gradscope.gradients(source, memory=2**10, **options).results[0]
    for name, wanted in stored.summary.items():
        same = wanted if isinstance(wanted, str | None) else pytest.approx(wanted, rel=1e-9, nan_ok=True)
        assert cut.summary[name] == same, name
    for name, wanted in stored.columns.items():
        if name in ("status", "log10_dloss_dweight_layers"):
            assert list(cut.columns[name]) == list(wanted) or name != "status"
            continue
        np.testing.assert_allclose(
            np.asarray(cut.columns[name], dtype=float), np.asarray(wanted, dtype=float), rtol=1e-9, atol=1e-9
        )


def test_the_cut_run_really_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradscope.analysis.cases import cases_of
    from gradscope.analysis.request import GradientsRequest

    monkeypatch.setattr(networks_run, "SEGMENT_BYTES", 30_000)
    (case,) = cases_of(gradscope.build("rnn:hidden=7"), GradientsRequest(steps=90, memory=2**10))
    assert case.trajectory is not None
    assert 1 < case.trajectory.spacing < 90
    assert 90 % case.trajectory.spacing != 0


def test_a_million_statuses_are_one_string() -> None:
    """np.full makes a string for each lag: 51 MB of a million."""
    status = gradscope.gradients("rnn:hidden=4", steps=60).results[0].columns["status"]
    assert set(status) == {"ok"}
    assert len({id(entry) for entry in status}) == 1
