"""Products whose directions lie further apart than float64 reaches, and products whose digits cancel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.numerics.reference import measure_norms_densely
from gradscope.numerics.tape import tape_of_matrices


@pytest.mark.parametrize("anchor", ["end", "start"])
def test_a_direction_far_below_the_largest_comes_back(anchor):
    J = np.array([np.diag([2.0, 0.5])] * 1200 + [np.diag([0.25, 4.0])] * 1200)
    norms = measure_norms_densely(tape_of_matrices(J), anchor=anchor)
    assert norms.log10_norm[-1, 0] == pytest.approx(1200 * np.log10(2.0), rel=1e-12)
    assert not norms.doubtful.any()


@pytest.mark.parametrize("anchor", ["end", "start"])
def test_cancelled_digits_are_doubtful(anchor):
    c, s = np.cos(0.7), np.sin(0.7)
    Q = np.array([[c, -s], [s, c]])
    J = np.array([Q @ np.diag([1, 0.5]) @ Q.T] * 60 + [Q @ np.diag([0.25, 1]) @ Q.T] * 60)
    norms = measure_norms_densely(tape_of_matrices(J), anchor=anchor)
    assert norms.doubtful[-1, 0]
    assert np.isfinite(norms.log10_norm[-1, 0])
    assert not norms.doubtful[:60].any()


@given(st.lists(st.tuples(*[st.integers(-900, 900)] * 3), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_anchors_agree_and_no_direct_path_exceeds_the_norm(exponents):
    J = np.array([np.diag(np.ldexp(1.0, e)) for e in exponents])
    paths = np.log10(2.0) * np.sum(exponents, axis=0)
    for anchor in ("end", "start"):
        found = measure_norms_densely(tape_of_matrices(J), anchor=anchor).log10_norm[-1, 0]
        assert found == pytest.approx(paths.max(), abs=1e-9)
