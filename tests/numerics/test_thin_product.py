"""The algorithm on one page against the dense reference and the fast road."""

from __future__ import annotations

import numpy as np
import pytest

import gradscope
from gradscope.analysis.cases import cases_of
from gradscope.analysis.request import GradientsRequest
from gradscope.numerics import thin_product
from gradscope.numerics.propagate import measure_norms
from gradscope.numerics.tape import tape_of_matrices
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source

SOURCES = [
    "rnn:hidden=40",
    "rnn:hidden=24,gain=3",
    "rnn:hidden=12,init=nonnormal",
    "lstm:hidden=16",
    "gru:hidden=10,layers=2",
    "rnn:hidden=9,activation=relu,gain=2",
]


@pytest.mark.parametrize("anchor", ["end", "start"])
@pytest.mark.parametrize("source", SOURCES)
def test_three_methods_agree(source: str, anchor: str) -> None:
    request = GradientsRequest(steps=50, batch=2)
    tape = cases_of(build_source(parse_source(source), seed=0), request)[0].tape
    dense, thin, auto = (
        measure_norms(tape, anchor=anchor, method=method)  # type: ignore[arg-type]
        for method in ("dense", "thin", "auto")
    )
    for found in (thin, auto):
        np.testing.assert_array_equal(found.zero, dense.zero)
        np.testing.assert_allclose(found.log10_norm, dense.log10_norm, rtol=0, atol=5e-11)
        np.testing.assert_allclose(found.log10_norm_h, dense.log10_norm_h, rtol=0, atol=5e-11)
        np.testing.assert_allclose(found.stable_rank, dense.stable_rank, rtol=1e-8)
    # Counted at lags 1, 2, 4, 8, …, interpolated in between, where dead units take rank away at no even pace.
    counted = [0, 1, 2, 4, 8, 12, 16, 20]
    assert np.abs(thin.rank[counted] - dense.rank[counted]).max() <= 1
    assert np.abs(thin.rank - dense.rank).max() <= 3


def test_what_was_dropped_and_grows_again_is_measured_densely(monkeypatch: pytest.MonkeyPatch) -> None:
    """diag(1, 10^-3) for 8 steps, then diag(10^-3, 1): the dropped direction is the one that is left."""
    factors = np.array([np.diag([1.0, 1e-3])] * 8 + [np.diag([1e-3, 1.0])] * 20)
    exact = np.maximum(-3.0 * np.maximum(np.arange(29) - 8, 0), -3.0 * np.minimum(np.arange(29), 8))
    norms = measure_norms(tape_of_matrices(factors), anchor="start", method="thin")
    np.testing.assert_allclose(norms.log10_norm[:, 0], exact, rtol=0, atol=1e-10)
    # Without the account of what was dropped the answer is wrong: the rows of E are needed.
    monkeypatch.setattr(thin_product, "LARGEST_ERROR", np.inf)
    norms = measure_norms(tape_of_matrices(factors), anchor="start", method="thin")
    assert abs(norms.log10_norm[-1, 0] - exact[-1]) > 1


def test_the_method_is_a_choice_of_the_python_functions() -> None:
    columns = [
        gradscope.gradients("lstm:hidden=8", steps=30, method=method).results[0].columns["log10_norm"]
        for method in ("auto", "thin", "dense")
    ]
    np.testing.assert_allclose(columns[1], columns[2], rtol=0, atol=1e-11)
    np.testing.assert_allclose(columns[0], columns[2], rtol=0, atol=1e-11)
    with pytest.raises(gradscope.GradscopeError, match="method other"):
        gradscope.gradients("rnn", method="other")
