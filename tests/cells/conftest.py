from __future__ import annotations

import numpy as np
import pytest

from gradscope.cells import ALL_CELLS, CELLS
from gradscope.cells.activations import find_activation

#: Every analytic cell, with the settings that change its recurrence.
VARIANTS = [
    *((name, {}) for name in CELLS),
    ("gru", {"reset": "before"}),
    ("leaky", {"leak": 0.2}),
    ("leaky", {"leak": 1.0}),
    ("slstm", {"forget": "exp"}),
    *((name, {"norm": "layer"}) for name in CELLS),
    ("gru", {"reset": "before", "norm": "layer"}),
    ("lstm-projected", {}),
    ("lstm-projected", {"norm": "layer"}),
]


def build(name, hidden=3, inputs=2, seed=0, gain=1.0, activation="tanh", lead=(), **settings):
    """A cell with Gaussian weights and two biases, as a file would bring it."""
    rng = np.random.default_rng([seed, hidden, inputs])
    cell = ALL_CELLS[name]
    rows, shape = len(cell.gates) * hidden, cell.recurrent_shape(hidden)
    if name == "lstm-projected":
        width = max(1, hidden - 1)
        shape = (rows, width)
        settings["weight_hr"] = rng.normal(size=(*lead, width, hidden)) / np.sqrt(hidden)
    return cell.from_layer(
        rng.normal(size=(*lead, rows, inputs)),
        rng.normal(size=(*lead, *shape)) * gain / np.sqrt(hidden),
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


@pytest.fixture(scope="session", params=VARIANTS, ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))
def variant(request):
    return request.param


@pytest.fixture(scope="session")
def build_cell():
    return build


@pytest.fixture(scope="session")
def derivative():
    return complex_step
