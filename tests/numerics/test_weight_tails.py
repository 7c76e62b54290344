"""What truncation leaves out: running sums against plain sums of the copies, far below float64's range too."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from gradscope.analysis.cases import Case, cases_of
from gradscope.analysis.losses import LossSide, loss_side
from gradscope.analysis.request import GradientsRequest
from gradscope.analysis.weight_gradients import measure_weight_gradients, parameter_gradients
from gradscope.jacobians.step_jacobian import WeightCotangent
from gradscope.numerics.backprop import DirectTerm, backpropagate
from gradscope.numerics.chunked_truncation import chunked_biases
from gradscope.numerics.weight_tails import _RunningSums, measure_weight_tails
from gradscope.sources.build import build_source
from gradscope.sources.spec import parse_source


def case_of(text: str, **options: object) -> tuple[Case, DirectTerm, GradientsRequest]:
    request = GradientsRequest(**options)  # type: ignore[arg-type]
    case = cases_of(build_source(parse_source(text), seed=0), request)[0]
    side = loss_side(case, request)
    assert isinstance(side, LossSide)
    return case, side.term, request


def copies(case: Case, term: DirectTerm) -> list[list[np.ndarray]]:
    """∂L/∂W of the copy at step t = 1 … T, every block in full, shape (batch, m, H)."""
    found = {}
    for gradient in backpropagate(case.tape, term):
        scale = np.ldexp(1.0, gradient.exponent)[:, None, None]
        found[gradient.step] = [
            rows[:, :, None] * columns[:, None, :] * scale for layer in gradient.weights for rows, columns in layer
        ]
    return [found[t] for t in range(1, case.tape.n_steps + 1)]


SOURCES = ["rnn:hidden=5,inputs=3", "lstm:hidden=6,inputs=2,layers=2", "gru:hidden=4,inputs=3", "skip:hidden=5"]


@pytest.mark.parametrize("source", SOURCES)
def test_every_tail_is_the_sum_of_the_older_copies(source: str) -> None:
    case, term, _ = case_of(source, steps=17, batch=3)
    tails, steps = measure_weight_tails(case.tape, term), copies(case, term)
    assert tails is not None
    for lag in range(16):  # the oldest copy of all meets h_0 = 0
        blocks = [sum(step[b] for step in steps[: 17 - lag]) for b in range(len(steps[0]))]
        by_sample = np.sqrt(sum(np.square(block).sum(axis=(1, 2)) for block in blocks))
        of_the_mean = np.sqrt(sum(np.square(block.mean(axis=0)).sum() for block in blocks))
        np.testing.assert_allclose(tails.log10_tail[lag], np.log10(by_sample), rtol=0, atol=1e-13)
        np.testing.assert_allclose(tails.log10_mean_tail[lag], np.log10(of_the_mean), rtol=0, atol=1e-13)
    assert np.isneginf(tails.log10_tail[16:]).all()  # h_0 = 0, and no copy at all


@pytest.mark.parametrize(
    "source",
    [*SOURCES, "rnn:hidden=6,gain=2,init=orthogonal,activation=identity", "rnn:hidden=3,bias=90", "gru:reset=before"],
)
def test_many_steps_at_once_are_one_step_at_a_time(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, term, _ = case_of(source, steps=75)
    fast = measure_weight_tails(case.tape, term)
    monkeypatch.setattr("gradscope.numerics.weight_tails._RunningSums._in_products", lambda *given: None)
    slow = measure_weight_tails(case.tape, term)
    assert fast is not None
    assert slow is not None
    np.testing.assert_allclose(fast.log10_tail, slow.log10_tail, rtol=0, atol=2e-13)


def test_terms_that_cancel_are_added_one_by_one() -> None:
    """r c and −r c(1 + 1e-9) after one another: three products would leave no digit of what remains."""
    rng = np.random.default_rng(1)
    r, c = rng.standard_normal(5), rng.standard_normal(4)
    rows = np.stack([r, r, -r * (1 + 1e-9)])[:, None, None]
    columns = np.broadcast_to(c, (3, 1, 1, 4))
    sums = _RunningSums(1, 1)
    sums.add_block([WeightCotangent(rows[:1], columns[:1])], np.zeros((1, 1, 1), dtype=np.int64))
    sums.add_block([WeightCotangent(-rows[:1], columns[:1])], np.zeros((1, 1, 1), dtype=np.int64))
    norms, _ = sums.add_block([WeightCotangent(rows[1:], columns[1:])], np.zeros((2, 1, 1), dtype=np.int64))
    wanted = np.log10(np.linalg.norm(np.outer(r, c) - np.outer(r * (1 + 1e-9), c)))
    assert norms[1, 0, 0] == pytest.approx(wanted, abs=1e-7)


def test_tails_far_below_the_range_of_float64() -> None:
    # One unit: copy_t = w^(T−t) Π_{j ≥ t} φ′_j · h_{t−1}, in exact arithmetic from the logs of the slopes.
    case, term, _ = case_of("rnn:hidden=1,inputs=1,bias=150", steps=9, inputs="zeros", loss="linear")
    tails, log10 = measure_weight_tails(case.tape, term), []
    assert tails is not None
    for gradient in backpropagate(case.tape, term):
        for layer in gradient.weights:
            ((rows, columns),) = layer
            value = (
                Fraction(float(rows[0, 0])) * Fraction(float(columns[0, 0])) * Fraction(2) ** int(gradient.exponent[0])
            )
            log10.append((gradient.step, value))
    by_step = dict(log10)
    for lag in range(8):
        exact = sum(by_step[t] for t in range(1, 9 - lag + 1))
        digits = len(str(abs(exact.numerator))) - len(str(exact.denominator))
        assert abs(tails.log10_tail[lag, 0] - digits) < 2  # the decade
    assert tails.log10_tail[7, 0] < -900  # eight slopes of 10^−129.7 each


@pytest.mark.parametrize("source", ["rnn:hidden=5,inputs=3", "lstm:hidden=4,inputs=2,layers=2", "gru:hidden=4"])
def test_chunks_leave_out_what_detaching_leaves_out(source: str) -> None:
    """Against the slow road: every loss by itself, its copies up to the last detached state before it."""
    T = 11
    case, term, _ = case_of(source, steps=T, batch=2, loss_at="all")
    parts = []
    for n in range(1, T + 1):
        own = copies(case, lambda t, n=n: term(t) if t == n else None)
        parts.append(own)
    lengths = [1, 2, 3, 5, 10, 11]
    found = chunked_biases(case.tape, term, lengths)
    assert found is not None
    whole = [sum(parts[n][t][b] for n in range(T) for t in range(T)).mean(axis=0) for b in range(len(parts[0][0]))]
    size = np.sqrt(sum(np.square(block).sum() for block in whole))
    for K, bias in zip(lengths, found, strict=True):
        kept = []
        for b in range(len(whole)):
            total = np.zeros_like(parts[0][0][b])
            for n in range(1, T + 1):
                # The state is detached at T − K, T − 2K, …: the loss at n reaches back to the last of them below n.
                cut = max((s for s in range(T, 0, -1) if (T - s) % K == 0 and s < n), default=0)
                total += sum(parts[n - 1][t - 1][b] for t in range(cut + 1, n + 1))
            kept.append(total.mean(axis=0))
        wanted = np.sqrt(sum(np.square(a - c).sum() for a, c in zip(kept, whole, strict=True))) / size
        np.testing.assert_allclose(bias, wanted, rtol=1e-11, atol=1e-15)
    assert found[-1] == 0.0


def test_the_truncation_length_is_the_smallest_that_suffices() -> None:
    case, term, request = case_of("lstm:hidden=8,inputs=4,forget_bias=1", steps=60, batch=4, truncation_bias=0.02)
    tails, summary = measure_weight_tails(case.tape, term), measure_weight_gradients(case, term, request).summary
    assert tails is not None
    bias = 10.0 ** (tails.log10_mean_tail - tails.log10_mean_tail[0])
    K = summary["tbptt_length"]
    assert bias[K] == pytest.approx(summary["tbptt_bias"])
    assert bias[K] <= 0.02 < bias[1:K].min()
    assert summary["tbptt_bias_worst"] >= summary["tbptt_bias"] / 4


@pytest.mark.parametrize("source", ["rnn:hidden=4,inputs=3", "lstm:hidden=3,inputs=2,layers=2", "gru:hidden=4"])
def test_parameter_gradients_are_those_of_the_loss(source: str) -> None:
    """The recurrent part and the tails meet: the whole gradient of W_hh is the tail at lag 0."""
    case, term, _ = case_of(source, steps=13, batch=3)
    gradients, tails = parameter_gradients(case, term), measure_weight_tails(case.tape, term)
    assert gradients is not None
    assert tails is not None
    recurrent = [v for n, v in zip(gradients.names, gradients.values, strict=True) if n.startswith("weight_hh")]
    log10 = 0.5 * np.log10(sum(np.square(v).sum(axis=(1, 2)) for v in recurrent)) + gradients.exponent * np.log10(2)
    np.testing.assert_allclose(log10, tails.log10_tail[0], rtol=0, atol=1e-13)
    gram, exponent = gradients.gram()
    own = 0.5 * np.log10(np.diag(gram)) + exponent * np.log10(2)
    np.testing.assert_allclose(own, gradients.log10_norms(), rtol=0, atol=1e-13)
