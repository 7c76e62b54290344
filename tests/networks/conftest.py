from __future__ import annotations

import numpy as np
import pytest

from gradscope.cells import CELLS
from gradscope.cells.activations import find_activation


class GivenInputs:
    """Inputs held in an array, as :class:`gradscope.networks.trajectory.Inputs` wants them."""

    def __init__(self, x):
        self.x = x

    @property
    def n_steps(self):
        return self.x.shape[0]

    @property
    def batch(self):
        return self.x.shape[-2]

    def read(self, first, last):
        return self.x[first - 1 : last]


def build(name, hidden=3, inputs=2, seed=0, gain=1.0, activation="tanh", lead=(), **settings):
    rng = np.random.default_rng([seed, hidden, inputs, 7])
    cell = CELLS[name]
    rows = len(cell.gates) * hidden
    return cell.from_layer(
        rng.normal(size=(*lead, rows, inputs)),
        rng.normal(size=(*lead, *cell.recurrent_shape(hidden))) * gain / np.sqrt(hidden),
        0.5 * rng.normal(size=(*lead, rows)),
        0.5 * rng.normal(size=(*lead, rows)),
        activation=find_activation(activation),
        **settings,
    )


def complex_step(function, point):
    """d function / d point by a step of 1e−30 in the imaginary direction: exact to rounding (theory N09)."""
    columns = []
    for j in range(point.shape[-1]):
        moved = point.astype(complex)
        moved[..., j] += 1e-30j
        columns.append(function(moved).imag / 1e-30)
    return np.stack(columns, axis=-1)


def assert_close(found, truth, allowed=1e-12):
    """Within ``allowed`` of the largest entry; and exactly zero where the truth is zero everywhere."""
    truth = np.asarray(truth)
    assert np.shape(found) == truth.shape
    assert np.max(np.abs(found - truth), initial=0.0) <= allowed * np.max(np.abs(truth), initial=0.0)


@pytest.fixture(scope="session")
def given_inputs():
    return GivenInputs


@pytest.fixture(scope="session")
def build_cell():
    return build


@pytest.fixture(scope="session")
def derivative():
    return complex_step


@pytest.fixture(scope="session")
def close():
    return assert_close
