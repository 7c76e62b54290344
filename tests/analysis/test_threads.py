"""BLAS threads: one, unless a matrix that large is really formed."""

from __future__ import annotations

import os

import pytest

from gradscope.analysis.threads import THREADED_FROM, choose_threads
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source


def largest(text: str) -> int:
    return build_source(parse_source(text), seed=0, dtype="float64").largest_matrix


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ("lstm:hidden=6,layers=2,bidirectional=true", 12),  # four states of 12, each measured by itself
        ("rnn:hidden=6,layers=3", 18),  # a stack is measured as one
        ("gru:hidden=6", 6),
        ("seq2seq:hidden=6", 12),
    ],
)
def test_the_largest_matrix_is_what_is_measured_in_one_piece(source: str, rows: int) -> None:
    assert largest(source) == rows


def test_one_thread_unless_the_matrix_is_very_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert choose_threads(None, 2048) == choose_threads(None, THREADED_FROM - 1) == 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert choose_threads(None, THREADED_FROM) == cores
    assert choose_threads(3, 8) == 3
