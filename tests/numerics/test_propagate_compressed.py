"""The compressed running product against the dense reference, in every regime and at every trap."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.analysis.cases import cases_of
from gradscope.analysis.request import GradientsRequest
from gradscope.api import build
from gradscope.jacobians.row_scaled import DiagonalPlusRowScaled, RowScaledSum
from gradscope.numerics import propagate, thin_product
from gradscope.numerics.propagate import measure_norms
from gradscope.numerics.reference import measure_norms_densely
from gradscope.numerics.tape import StoredTape, tape_of_matrices

ANCHORS = pytest.mark.parametrize("anchor", ["end", "start"])


@pytest.fixture(autouse=True)
def always_compressed(monkeypatch):
    """Small cases would otherwise be decomposed at every lag."""
    monkeypatch.setattr(propagate, "DECOMPOSE_BELOW", 0.0)


def rnn_tape(n, n_steps, gain, *, batch=1, seed=0, W=None, h=None):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(n, n)) * gain / np.sqrt(n) if W is None else W
    state, slopes = np.zeros((batch, n)), []
    for _ in range(n_steps):
        state = np.tanh(state @ W.T + 0.3 * rng.normal(size=(batch, n)))
        slopes.append(1 - state**2)
    steps = DiagonalPlusRowScaled(None, RowScaledSum(np.array(slopes)[..., None, :], W[None]))
    return StoredTape(np.zeros((n_steps + 1, batch, n)), steps, h)


def orthogonal(n, rng):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def regimes():
    rng = np.random.default_rng(11)
    near_ties = np.stack([np.diag(rng.uniform(0.9, 1, size=60)) for _ in range(60)])
    Q = orthogonal(48, rng)
    crossing = np.stack([np.kron(np.diag([1.0, 1 + 0.2 * np.sin(t / 5)]), Q[:24, :24] + np.eye(24)) for t in range(60)])
    return {
        "vanishing": rnn_tape(72, 90, 0.9),
        "critical": rnn_tape(72, 90, 1.05),
        "chaotic": rnn_tape(72, 90, 3.0),
        "orthogonal factors": tape_of_matrices(np.broadcast_to(Q, (40, 48, 48))),
        "orthogonal weights, tanh": rnn_tape(48, 60, 1.0, W=Q),
        "identity": tape_of_matrices(np.broadcast_to(np.eye(9), (40, 9, 9))),
        "independent factors": tape_of_matrices(rng.normal(size=(60, 48, 48)) / 7),
        "diagonal, many near ties": tape_of_matrices(near_ties),
        "two blocks whose norms cross": tape_of_matrices(crossing),
        "non-normal: Jordan block": tape_of_matrices(
            np.broadcast_to(0.9 * np.eye(50) + np.eye(50, k=1), (150, 50, 50))
        ),
        "dead relu units": tape_of_matrices((rng.random((40, 60, 1)) < 0.5) * rng.normal(size=(40, 60, 60)) / 5),
        "batch": rnn_tape(24, 90, 1.2, batch=17),
        "one unit": tape_of_matrices(rng.normal(size=(40, 5, 1, 1))),
        "entries 1e300": tape_of_matrices(rng.normal(size=(30, 20, 20)) * 1e300),
        "entries 1e-300": tape_of_matrices(rng.normal(size=(30, 20, 20)) * 1e-300),
        "corner": rnn_tape(48, 90, 1.3, h=np.arange(24)),
    }


REGIMES = regimes()


def assert_same_norms(measured, reference):
    # 1e-10 relative in the norm is 4.3e-11 in its log10; log10 itself is rounded to eps times its size.
    allowance = 1e-10 / np.log(10) + 4e-16 * np.nan_to_num(np.abs(reference.log10_norm))
    for name in ("zero", "zero_h", "nonfinite"):
        np.testing.assert_array_equal(getattr(measured, name), getattr(reference, name), err_msg=name)
    for name in ("log10_norm", "log10_norm_h"):
        a, b = getattr(measured, name), getattr(reference, name)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
        worst = np.nanmax(np.where(np.isnan(a), 0, np.abs(a - b) - allowance))
        assert worst <= 0, f"{name}: {worst}"
    np.testing.assert_allclose(measured.stable_rank, reference.stable_rank, rtol=2e-10)


@ANCHORS
@pytest.mark.parametrize("name", REGIMES)
def test_every_norm_at_every_lag(anchor, name):
    tape = REGIMES[name]
    assert_same_norms(measure_norms(tape, anchor=anchor), measure_norms_densely(tape, anchor=anchor))


@ANCHORS
def test_ranks_are_exact_where_counted_and_close_in_between(anchor):
    tape = REGIMES["vanishing"]
    measured, reference = (
        measure_norms(tape, anchor=anchor).rank[:, 0],
        measure_norms_densely(tape, anchor=anchor).rank[:, 0],
    )
    assert measured[0] == 72
    assert reference[-1] < 30
    # A singular value within rounding of the threshold may fall on either side: one or two of seventy-two.
    counted = [0, 4, 16, 90]
    assert np.abs(measured[counted] - reference[counted]).max() <= 1
    assert np.abs(measured - reference).max() <= 4


@pytest.mark.parametrize("source", ["lstm:hidden=64", "rnn:hidden=128,gain=1.5", "rnn:hidden=128,gain=0.9"])
def test_ranks_that_fall_fast(source):
    """Between lags 4 and 16 half of an lstm's directions go: read off noise, the rank was 28 of 128 wrong there."""
    tape = cases_of(build(source), GradientsRequest(steps=120))[0].tape
    off = np.abs(measure_norms(tape).rank - measure_norms_densely(tape).rank)
    assert off.max() <= 7
    assert off.mean() < 1.2


@ANCHORS
def test_the_product_is_really_compressed(anchor, monkeypatch):
    """Otherwise the tests above would compare the reference with itself."""
    widths = []
    write = thin_product.ThinProduct._write

    def written(self, history, lag, X, left, exponent):
        widths.append(X.shape[2])
        return write(self, history, lag, X, left, exponent)

    monkeypatch.setattr(thin_product.ThinProduct, "_write", written)
    measure_norms(REGIMES["vanishing"], anchor=anchor)
    assert widths[0] == 72
    assert widths[-1] < 48


NILPOTENT = {
    "shift": np.eye(30, k=1),
    "permuted triangle": np.triu(np.random.default_rng(3).normal(size=(30, 30)), k=1)[::-1, ::-1],
    "block": np.kron(np.eye(10, k=1), np.random.default_rng(4).normal(size=(3, 3))),
}


@ANCHORS
@pytest.mark.parametrize("name", NILPOTENT)
def test_nilpotent_products_are_exactly_zero_at_the_same_lag(anchor, name):
    tape = tape_of_matrices(np.broadcast_to(NILPOTENT[name], (36, 30, 30)))
    measured = measure_norms(tape, anchor=anchor)
    first_zero = 10 if name == "block" else 30
    np.testing.assert_array_equal(measured.zero[:, 0], np.arange(37) >= first_zero)
    assert_same_norms(measured, measure_norms_densely(tape, anchor=anchor))


def revived():
    """The large directions die at step 41; what then counts had been below rounding for twenty lags."""
    fade, kill = np.diag(np.r_[np.ones(30), np.full(30, 0.1)]), np.diag(np.r_[np.zeros(30), np.ones(30)])
    return np.array([fade] * 40 + [kill] * 5)


@ANCHORS
def test_dropped_directions_that_return(anchor):
    matrices = revived() if anchor == "start" else revived()[::-1]
    tape = tape_of_matrices(matrices)
    assert_same_norms(measure_norms(tape, anchor=anchor), measure_norms_densely(tape, anchor=anchor))


def test_without_the_error_rows_a_returning_direction_is_lost(monkeypatch):
    """The planted error: believe every norm, and the product above comes out wrong."""
    monkeypatch.setattr(thin_product, "ERROR_ROWS", 0)
    monkeypatch.setattr(propagate, "MULTIPLY_BELOW", 0.0)
    tape = tape_of_matrices(revived())
    measured, reference = measure_norms(tape, anchor="start"), measure_norms_densely(tape, anchor="start")
    assert not np.allclose(measured.log10_norm[-1], reference.log10_norm[-1], rtol=0, atol=1.0, equal_nan=False)


@ANCHORS
@pytest.mark.parametrize("closing", [1e-3, 1e-7, 0.0])
def test_a_corner_far_below_the_whole(anchor, closing):
    """An lstm whose output gates are closed at the last step: ∂h/∂h is a rounding error of ∂s/∂s."""
    rng = np.random.default_rng(7)
    matrices = rng.normal(size=(60, 40, 40)) / 6
    matrices[-1 if anchor == "end" else 0][:20] *= closing
    tape = StoredTape(np.zeros((61, 1, 40)), tape_of_matrices(matrices).steps, np.arange(20))
    assert_same_norms(measure_norms(tape, anchor=anchor), measure_norms_densely(tape, anchor=anchor))


@ANCHORS
def test_zero_and_nonfinite_elements_leave_the_batch_alone(anchor):
    rng = np.random.default_rng(8)
    matrices = rng.normal(size=(40, 4, 12, 12)) / 3
    matrices[20, 1] = 0.0
    matrices[25, 2, 3, 4] = np.nan
    tape = tape_of_matrices(matrices)
    assert_same_norms(measure_norms(tape, anchor=anchor), measure_norms_densely(tape, anchor=anchor))


@pytest.mark.parametrize(("n", "batch", "gain"), [(24, 6, 0.9), (56, 2, 1.0), (96, 1, 3.0)])
def test_step_norms_of_every_size(n, batch, gain):
    """Formed and squared (24), by Lanczos (56, 96); never below the truth by more than rounding where it is a bound."""
    tape = rnn_tape(n, 150, gain, batch=batch)
    measured = propagate.step_norms(tape).log10_norm
    expected = np.log10([np.linalg.norm(tape.dense(t), ord=2, axis=(-2, -1)) for t in range(1, 151)])
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-10 / np.log(10))


@pytest.mark.parametrize("n", [24, 56])
def test_step_norms_at_the_traps(n):
    """Orthogonal (all tied), diagonal with near ties, rank one, zero, infinite, and at both ends of float64."""
    rng = np.random.default_rng(9)
    good = [
        orthogonal(n, rng),
        np.diag(rng.uniform(0.99, 1, size=n)),
        np.outer(rng.normal(size=n), rng.normal(size=n)),
        np.eye(n, k=1),
        orthogonal(n, rng) * 1e300,
        rng.normal(size=(n, n)) * 1e-300,
    ]
    bad = [np.zeros((n, n)), np.full((n, n), np.inf), np.full((n, n), np.nan)]
    measured = propagate.step_norms(tape_of_matrices(np.array(good + bad)))
    # Scaled before the reference squares its entries.
    expected = [np.log10(np.linalg.norm(J / np.abs(J).max(), ord=2)) + np.log10(np.abs(J).max()) for J in good]
    np.testing.assert_allclose(measured.log10_norm[:6, 0], expected, rtol=0, atol=1e-10 / np.log(10))
    np.testing.assert_array_equal(np.isnan(measured.log10_norm[:, 0]), [False] * 6 + [True] * 3)
    np.testing.assert_array_equal(measured.zero[:, 0], [False] * 6 + [True, False, False])


def test_an_orthogonal_forget_gate_is_not_overestimated():
    """Found by a random search: Lanczos with one orthogonalisation gave ‖J_T‖ 2e-8 too large, and was believed."""
    request = GradientsRequest(steps=105, batch=2, seed=99)
    source = build("forget-gate:hidden=64,gain=0.81,activation=sigmoid,init=orthogonal,forget_bias=2", seed=99)
    tape = cases_of(source, request)[0].tape
    assert_same_norms(measure_norms(tape), measure_norms_densely(tape))
