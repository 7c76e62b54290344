"""The bound of an encoder–decoder holds for every input, feedback and seed, and is there where the cells have one."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope


@pytest.mark.parametrize("feedback", ["teacher", "soft", "greedy"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru,reset=before", "leaky,leak=0.3", "skip,norm=layer"])
@pytest.mark.parametrize("anchor", ["end", "start"])
def test_the_bound_holds(cell: str, feedback: str, anchor: str) -> None:
    for seed in range(4):
        source = f"seq2seq:cell={cell},feedback={feedback},hidden=5,vocab=4,gain=2,input_gain=3,temperature=0.3"
        result = gradscope.gradients(source, steps=6, seed=seed, anchor=anchor).results[0]
        bound, measured = (np.asarray(result.columns[name], dtype=float) for name in ("log10_bound", "log10_norm"))
        assert np.isfinite(bound).all()
        assert (measured <= bound + 1e-9).all()
        assert result.summary["bound_violations"] == 0


def test_soft_feedback_is_charged_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the path through the output the decoder's bound would be the teacher's, and too small.
    bounds = {}
    for feedback in ("teacher", "soft"):
        source = f"seq2seq:cell=rnn,feedback={feedback},hidden=5,vocab=4"
        bounds[feedback] = gradscope.gradients(source, steps=6).results[0].columns["log10_bound"][3]
    assert bounds["soft"] > bounds["teacher"]
