"""The one sentence claims no more than is proved."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.theory.certificate import certify
from gradscope.theory.conclusion import what_to_conclude
from gradscope.theory.eigen import eigendecompose
from gradscope.theory.powers import peak_power


def sentence(W, **options):
    W = np.asarray(W, dtype=float)
    return what_to_conclude(
        eigendecompose(W), peak=peak_power(W), proof=certify(W, slope=options.get("slope", 1.0)), **options
    )


def test_vanishes_for_every_input_only_with_a_certificate():
    assert "vanishes for every input" in sentence([[0.5, 0.1], [0, 0.5]])
    echo_state = sentence([[0.5, 3.0], [0.02, 0.5]])
    assert "vanishes for every input" in echo_state
    assert "SWS" in echo_state
    assert "exactly zero after 3 steps" in sentence(np.eye(3, k=1) * 50)


@pytest.mark.parametrize(
    "W",
    [
        [[2.0, -4.0], [1.0, -2.0]],  # nilpotent, but a saturated unit makes it explode as √5·2ᵏ (theory C01)
        [[0.6, -3.0], [3.0, -0.6]],
        [[0.0, 1.0], [-1.0, 0.0]],
        [[2.0]],
        [[1.0]],
    ],
)
def test_no_promise_without_one(W):
    said = sentence(W)
    assert "every input" not in said
    assert "measure it" in said


def test_a_nilpotent_matrix_beyond_its_pattern_is_not_promised_to_vanish():
    W = np.array([[2.0, -4.0], [1.0, -2.0]])
    D = np.diag([1.0, 0.0])  # the second unit saturated
    product = np.linalg.matrix_power(D @ W, 10)
    assert np.linalg.norm(product, 2) == pytest.approx(np.sqrt(5) * 2**10, rel=1e-12)
    assert "vanishes for every input" not in sentence(W)


def test_transient_is_named():
    d = eigendecompose(0.9 * np.eye(4) + np.eye(4, k=1))
    said = what_to_conclude(d, peak=peak_power(0.9 * np.eye(4) + np.eye(4, k=1)))
    assert "10^2.38 at k = 29" in said


def test_rounding_never_crosses_the_threshold():
    said = sentence([[1 - 1e-9]])
    assert "= 1 <" not in said
    assert "1 − 1.0e-09" in said


def test_sigmoid_slope_and_gates():
    assert "vanishes for every input" in sentence([[3.0, 0], [0, 2.0]], slope=0.25)
    assert "gate f" in sentence([[0.5]], gate="f")
    assert "every input" not in sentence([[0.5]], gate="f")
