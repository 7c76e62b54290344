"""Intervals hold what they promise: coverage by simulation, degenerate series said plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from gradscope.numerics.statistics import fit_rate, mean_interval
from gradscope.student import student_quantile


def ar1(rng, phi, shape):
    """Stationary AR(1) along axis 0, mean 0, innovations N(0, 1)."""
    noise = rng.standard_normal(shape)
    series = np.empty(shape)
    series[0] = noise[0] / math.sqrt(1 - phi**2)
    for t in range(1, shape[0]):
        series[t] = phi * series[t - 1] + noise[t]
    return series


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_student_quantile_against_scipy(level):
    found = [student_quantile(degrees, level) for degrees in range(1, 60)]
    np.testing.assert_allclose(found, stdtrit(np.arange(1, 60), 0.5 + 0.5 * level), rtol=1e-11)
    for degrees in (200, 10_000):
        assert student_quantile(degrees, level) == pytest.approx(stdtrit(degrees, 0.5 + 0.5 * level), rel=1e-9)


@pytest.mark.parametrize("n_steps", [40, 100, 400, 1000])
def test_rate_interval_covers_the_drift_of_a_random_walk(n_steps):
    """95 ± 2 %: with 3000 walks the standard error of the coverage is 0.4 %."""
    rng = np.random.default_rng(n_steps)
    lags = np.arange(n_steps + 1.0)
    hits = 0
    for _ in range(3000):
        fit = fit_rate(lags, np.append(0.0, np.cumsum(-0.3 + rng.standard_normal(n_steps))))
        hits += fit.low <= -0.3 <= fit.high
    print(f"random walk, T = {n_steps}: coverage {100 * hits / 3000:.1f} %")
    assert 0.93 <= hits / 3000 <= 0.97


def test_rate_interval_covers_with_autocorrelated_increments():
    """AR(1) increments with φ = 0.3 (correlation time 1.9 steps) over 400 lags."""
    rng = np.random.default_rng(3)
    lags = np.arange(401.0)
    increments = ar1(rng, 0.3, (400, 2000)) + 0.1
    hits = 0
    for column in increments.T:
        fit = fit_rate(lags, np.append(0.0, np.cumsum(column)))
        hits += fit.low <= 0.1 <= fit.high
    print(f"AR(1) increments: coverage {100 * hits / 2000:.1f} %")
    assert 0.93 <= hits / 2000 <= 0.97


def test_rate_interval_covers_a_line_with_bounded_noise():
    """Independent noise about a line: the interval must cover, and be far narrower than a random walk's."""
    rng = np.random.default_rng(5)
    lags = np.arange(201.0)
    hits, widths = 0, []
    for _ in range(1000):
        fit = fit_rate(lags, 0.02 * lags + rng.standard_normal(201))
        hits += fit.low <= 0.02 <= fit.high
        widths.append(fit.high - fit.low)
    exact = 2 * 1.96 / math.sqrt(101 * (101**2 - 1) / 12)  # 2·1.96 σ/√S_xx for 101 points
    print(
        f"white noise about a line: coverage {hits / 10:.1f} %, width {np.median(widths) / exact:.2f} of the exact one"
    )
    assert hits / 1000 >= 0.93
    assert np.median(widths) < 1.6 * exact


def test_rate_of_a_rotating_pair_is_sharp():
    """A bounded oscillation about a line (complex pair) keeps a narrow interval that holds the truth."""
    lags = np.arange(101.0)
    fit = fit_rate(lags, -0.05 * lags + 0.1 * np.cos(1.1 * lags))
    assert fit.low <= -0.05 <= fit.high
    # Told from a walk only if the oscillation is fast; a walk with these increments would give 0.06.
    assert fit.high - fit.low < 0.03


def test_exact_line_has_no_width():
    lags = np.arange(101.0)
    fit = fit_rate(lags, 0.25 * lags)
    assert (fit.rate, fit.low, fit.high) == (0.25, 0.25, 0.25)


def test_only_the_later_half_counts():
    lags = np.arange(101.0)
    values = np.where(lags < 50, 7.0 * np.sin(lags), -2.0 * lags)
    assert fit_rate(lags, values).rate == -2.0


def test_slope_is_the_least_squares_slope_also_on_uneven_lags():
    rng = np.random.default_rng(1)
    lags = np.unique(rng.integers(0, 500, 80)).astype(float)
    values = np.cumsum(rng.standard_normal(lags.size))
    half = lags >= 0.5 * (lags[0] + lags[-1])
    expected = np.polynomial.polynomial.polyfit(lags[half], values[half], 1)[1]
    # Condition of a straight-line fit over 500 lags is about 1e3: 1e-12 relative is rounding.
    assert fit_rate(lags, values).rate == pytest.approx(expected, rel=1e-11)


def test_missing_entries_are_left_out():
    lags = np.arange(101.0)
    values = -0.5 * lags
    values[[60, 61, 77]] = [np.nan, -np.inf, np.nan]
    fit = fit_rate(lags, values)
    assert fit.rate == pytest.approx(-0.5, abs=1e-15)
    assert fit.high - fit.low < 1e-12


@pytest.mark.parametrize("n_values", [0, 1, 2, 3, 4])
def test_too_few_values_give_no_interval(n_values):
    lags = np.arange(float(n_values))
    fit = fit_rate(lags, -1.0 * lags)
    in_half = int((lags >= 0.5 * (n_values - 1)).sum())
    assert math.isnan(fit.rate) == (in_half < 2)
    assert math.isnan(fit.low)
    assert math.isnan(fit.high)


def test_three_values_are_enough_for_a_wide_interval():
    fit = fit_rate(np.arange(5.0), np.array([0.0, 0.0, 1.0, 2.0, 2.9]))
    assert fit.low < fit.rate < fit.high


def test_all_missing():
    assert math.isnan(fit_rate(np.arange(9.0), np.full(9, np.nan)).rate)


@pytest.mark.parametrize(("phi", "n_steps"), [(0.0, 60), (0.0, 400), (0.5, 400), (-0.5, 400), (0.8, 2000)])
def test_mean_interval_coverage(phi, n_steps):
    """95 ± 2 %, 4000 series, for series with correlation times from 1/3 to 9 steps."""
    rng = np.random.default_rng(17)
    found = mean_interval(ar1(rng, phi, (n_steps, 4000)) + 2.0)
    coverage = np.mean((found.low <= 2.0) & (found.high >= 2.0))
    print(f"AR(1) φ = {phi}, T = {n_steps}: coverage {100 * coverage:.1f} %")
    assert 0.93 <= coverage <= 0.97


def test_mean_interval_of_a_constant_is_a_point():
    found = mean_interval(np.full((50, 2), 0.1))
    assert np.all(found.low == 0.1)
    assert np.all(found.high == 0.1)


def test_short_series_have_the_textbook_interval():
    """Five entries, a batch each: mean 3, s = √2.5, half width t_4(97.5 %)·s/√5 = 2.7764·0.70711."""
    found = mean_interval(np.array([2.0, 5.0, 1.0, 4.0, 3.0]))
    assert found.mean == 3.0
    assert found.high - found.mean == pytest.approx(2.776445 * math.sqrt(0.5), rel=1e-6)


def test_mean_interval_weighs_entries_by_their_lengths():
    rng = np.random.default_rng(4)
    steps = rng.standard_normal(960) + 1.0
    lengths = rng.permutation(np.repeat([2, 4, 6, 8, 12], 30))
    edges = np.append(0, np.cumsum(lengths))
    found = mean_interval(np.add.reduceat(steps, edges[:-1]) / lengths, lengths=lengths)
    assert found.mean == pytest.approx(steps.mean(), abs=1e-14)
    # The half width of 960 independent unit normals is 1.96/√960; its own scatter with 24 batches is 15 %.
    assert (found.high - found.mean) == pytest.approx(1.96 / math.sqrt(960), rel=0.5)


def test_mean_interval_needs_two_entries():
    assert np.isnan(mean_interval(np.array([1.0])).low)
    assert np.isnan(mean_interval(np.zeros((0, 3))).mean).all()


def test_mean_interval_with_minus_infinity_has_no_bounds():
    found = mean_interval(np.array([[1.0, 0.0], [-np.inf, 0.0], [2.0, 0.0]]))
    assert found.mean[0] == -np.inf
    assert np.isnan(found.low[0])
    assert found.low[1] == 0.0
