"""What is said of exponents: convergence, pooling, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from matrix_tapes import gaussians, newman, repeated

from gradscope.errors import UsageError
from gradscope.numerics.exponents import measure_lyapunov
from gradscope.numerics.tape import tape_of_matrices


def test_too_few_steps_are_said_plainly():
    spectrum = measure_lyapunov(tape_of_matrices(gaussians(0, 10, 1, 3)))
    assert not spectrum.converged
    assert "too few" in spectrum.verdict
    single = measure_lyapunov(tape_of_matrices(gaussians(0, 1, 1, 3)))
    assert np.all(np.isnan(single.low))


def test_a_drifting_trajectory_has_not_converged():
    matrices = gaussians(0, 400, 1, 3)
    matrices[200:] *= 3.0
    spectrum = measure_lyapunov(tape_of_matrices(matrices))
    assert not spectrum.converged
    assert "halves" in spectrum.verdict


def test_a_wide_interval_has_not_converged_and_says_how_many_steps_would_do():
    factors = np.exp(3.0 * np.random.default_rng(0).standard_normal((100, 1, 1)))
    spectrum = measure_lyapunov(tape_of_matrices(factors))
    assert not spectrum.converged
    assert "steps would do" in spectrum.verdict


def test_a_long_stationary_run_has_converged():
    assert measure_lyapunov(tape_of_matrices(gaussians(0, 4000, 1, 4))).converged


def test_long_runs_keep_a_bounded_series_of_gains():
    spectrum = measure_lyapunov(tape_of_matrices(gaussians(0, 9000, 1, 2)))
    assert len(spectrum.gain_steps) <= 2048
    assert spectrum.gain_steps.sum() == spectrum.steps == 9000


def test_pooling_averages_the_batch_and_narrows_the_interval():
    spectrum = measure_lyapunov(tape_of_matrices(gaussians(9, 500, 16, 3)), align=0)
    pooled = spectrum.pooled()
    _, variance = newman(3)
    np.testing.assert_allclose(pooled.exponents, spectrum.exponents.mean(axis=0), rtol=0, atol=1e-13)
    # 24 batches know a standard error to 15 %; 2.07 is their t quantile.
    np.testing.assert_allclose(pooled.high - pooled.exponents, 2.07 * np.sqrt(variance / 8000), rtol=0.5)
    assert pooled.sum == pytest.approx(float(pooled.mean_log_det), abs=1e-10)


def test_pooling_one_entry_only_drops_the_axis():
    spectrum = measure_lyapunov(repeated(np.diag([2.0, 0.5]), 60))
    assert spectrum.pooled().exponents.tolist() == spectrum.exponents[0].tolist()
    assert spectrum.pooled().method == "schur"


def test_exponents_that_do_not_add_up_are_not_called_converged(monkeypatch):
    monkeypatch.setattr("gradscope.numerics.exponents.mean_log_det", lambda *_: np.array([0.123]))
    spectrum = measure_lyapunov(tape_of_matrices(gaussians(0, 4000, 1, 4)))
    assert not spectrum.converged
    assert "rounding" in spectrum.verdict


def test_progress_reaches_the_end():
    seen = []
    measure_lyapunov(tape_of_matrices(gaussians(0, 150, 1, 2)), progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (150, 150)


@pytest.mark.parametrize("k", [0, 4])
def test_k_outside_the_state_is_a_usage_error(k):
    with pytest.raises(UsageError, match=r"1 … 3"):
        measure_lyapunov(tape_of_matrices(gaussians(0, 10, 1, 3)), k=k)


def test_no_steps_is_a_usage_error():
    with pytest.raises(UsageError, match="need steps"):
        measure_lyapunov(tape_of_matrices(gaussians(0, 10, 1, 3)), align=10)
