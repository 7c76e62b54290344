"""What out_T's backward half has seen is measured and said with the result (theory C16)."""

from __future__ import annotations

import pytest

import gradscope


def warnings_of(source: str, **options: int) -> dict[tuple[int, str], str]:
    report = gradscope.gradients(source, **options)
    return {(r.source["layer"], r.source["direction"]): " ".join(r.warnings) for r in report.results}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_one_layer_falls_into_the_trap(cell: str) -> None:
    said = warnings_of(f"{cell}:bidirectional=true,hidden=4,inputs=3", steps=12)
    assert "has seen x_8 only" in said[0, "backward"]
    assert "h_n" in said[0, "backward"]
    assert "has seen" not in said[0, "forward"]


def test_a_layer_on_top_hears_everything_through_the_one_below() -> None:
    said = warnings_of("gru:bidirectional=true,layers=2,hidden=4,inputs=3", steps=12)
    assert not any("has seen" in text for text in said.values())


def test_one_step_is_no_trap() -> None:
    assert not any("has seen" in text for text in warnings_of("rnn:bidirectional=true,hidden=3", steps=1).values())
