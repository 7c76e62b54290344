"""What a log norm does over the lags, on curves whose course is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradscope.numerics.course import describe_curve


def log10_powers(W: np.ndarray, n_steps: int) -> np.ndarray:
    """log10 ‖W^k‖₂, k = 0 … n_steps, by plain multiplication."""
    product, norms = np.eye(len(W)), [0.0]
    for _ in range(n_steps):
        product = W @ product
        norms.append(math.log10(np.linalg.norm(product, 2)))
    return np.array(norms)


def skewed_rotation(angle: float) -> np.ndarray:
    """Eigenvalues e^{±iθ}; powers whose norm swings between 1 and 5."""
    return np.array([[math.cos(angle), -5 * math.sin(angle)], [math.sin(angle) / 5, math.cos(angle)]])


def describe(W: np.ndarray, n_steps: int):
    return describe_curve(np.arange(n_steps + 1.0), log10_powers(W, n_steps))


@pytest.mark.parametrize(("angle", "n_steps"), [(0.01, 300), (0.01, 1000), (0.1, 300), (0.3, 300)])
def test_a_rotation_is_periodic_and_has_no_rate_but_zero(angle: float, n_steps: int) -> None:
    course = describe(skewed_rotation(angle), n_steps)
    assert course.kind == "periodic"
    assert math.isnan(course.low) or course.low <= 0.0 <= course.high
    assert math.isnan(course.low) == (n_steps / 2 < 2 * math.pi / angle)  # two periods of π/θ in the later half


@pytest.mark.parametrize("n_steps", [120, 150, 200, 250])
def test_a_part_of_a_period_has_no_interval(n_steps: int) -> None:
    course = describe(skewed_rotation(0.01), n_steps)
    assert course.kind in ("irregular", "periodic", "polynomial")
    assert math.isnan(course.low) or course.low <= 0.0 <= course.high


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("n_steps", [30, 100, 300])
def test_a_jordan_block_grows_like_a_power(n: int, n_steps: int) -> None:
    """‖J(1, n)^k‖ ~ k^(n−1)/(n−1)!: the rate in the end is 0, and the interval holds it."""
    course = describe(np.eye(n) + np.eye(n, k=1), n_steps)
    assert course.kind == "polynomial"
    assert course.low == 0.0 < course.rate < course.high


@pytest.mark.parametrize("n_steps", [300, 600, 1500, 6000])
def test_what_still_bends_has_no_rate_or_one_that_holds(n_steps: int) -> None:
    """J(0.99, 4) grows first and then shrinks by log10 0.99 a step."""
    lags = np.arange(1.0, n_steps + 1.0)
    values = lags * math.log10(0.99) + 3 * np.log10(lags)  # its leading term
    course = describe_curve(np.append(0.0, lags), np.append(0.0, values))
    assert math.isnan(course.low) or course.low <= math.log10(0.99) <= course.high


@pytest.mark.parametrize("modulus", [0.9, 0.99, 1.05])
def test_a_rotating_pair_off_the_circle_is_exponential(modulus: float) -> None:
    course = describe(modulus * skewed_rotation(0.7), 400)
    assert course.kind == "exponential"
    assert course.low <= math.log10(modulus) <= course.high


def test_a_line_is_exact() -> None:
    lags = np.arange(101.0)
    course = describe_curve(lags, -0.25 * lags)
    assert (course.kind, course.rate, course.low, course.high) == ("exponential", -0.25, -0.25, -0.25)


@pytest.mark.parametrize("n_steps", [10, 30, 100, 1000])
@pytest.mark.parametrize("drift", [0.0, -0.05])
def test_random_walks_are_seldom_taken_for_anything_else(n_steps: int, drift: float) -> None:
    rng = np.random.default_rng(n_steps)
    lags = np.arange(n_steps + 1.0)
    walks = np.cumsum(drift + 0.3 * rng.standard_normal((n_steps, 300)), axis=0)
    kinds = [describe_curve(lags, np.append(0.0, walk)).kind for walk in walks.T]
    assert sum(kind in ("polynomial", "periodic") for kind in kinds) <= 3


@pytest.mark.parametrize("n_steps", [0, 1, 2, 3])
def test_three_steps_are_too_few(n_steps: int) -> None:
    course = describe_curve(np.arange(n_steps + 1.0), 6.0 * np.arange(n_steps + 1.0))
    assert course.kind is None
    assert math.isnan(course.low)
