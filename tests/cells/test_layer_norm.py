"""What layer normalisation does to a recurrence, beyond being differentiated correctly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradscope.cells import CELLS
from gradscope.cells.layer_norm import EPSILON, layer_normalise, norm_jacobian

NAMES = list(CELLS)


def test_normalised_blocks_have_mean_zero_and_variance_one():
    p = np.random.default_rng(0).normal(3.0, 2.0, size=(5, 40))
    value, inverse_scale = layer_normalise(p)
    assert np.max(np.abs(value.mean(axis=-1))) < 1e-14
    variance = p.var(axis=-1)
    assert np.allclose(value.var(axis=-1), variance / (variance + EPSILON), rtol=1e-13)
    assert np.allclose(inverse_scale, 1 / np.sqrt(variance + EPSILON), rtol=1e-14)


def test_the_jacobian_is_symmetric_takes_the_mean_away_and_shrinks_its_own_direction():
    """Eigenvalues of N: 0 along 1, κ/s along p − mean p, 1/s on everything else."""
    p = np.random.default_rng(1).normal(size=7)
    norm = norm_jacobian(p, 7)
    N = norm.push(np.eye(7)[None])[0]
    assert np.allclose(N, N.T, atol=1e-15)
    s = np.sqrt(p.var() + EPSILON)
    truth = np.sort([0.0, EPSILON / s**3, *[1 / s] * 5])
    assert np.allclose(np.linalg.eigvalsh(N), truth, rtol=0, atol=1e-14)
    assert np.allclose(N, norm.pull(np.eye(7)[:, None, :])[:, 0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_one_unit_is_all_mean(name, build_cell):
    """A layer of one unit is normalised to 0 whatever comes in: nothing passes through the weights."""
    cell = build_cell(name, hidden=1, norm="layer")
    s, x = np.full((1, cell.state_size), 0.3), np.full((1, 2), 5.0)
    jacobian = cell.linearise(s, cell.drive(x)).jacobian
    assert np.array_equal(cell.step(s, cell.drive(x)), cell.step(s, cell.drive(-x)))
    assert not jacobian.push_drive(np.eye(cell.n_gates)[None]).any()


# The λ of an lru stand beside the normalised drive, not in it.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "lru"])
def test_scaling_all_weights_changes_nothing_but_epsilon(name, build_cell):
    """N(αp) = N(p)/α: J is the same for α·(W, U, b), exactly as ε → 0 (theory C15)."""
    cell = build_cell(name, hidden=6, norm="layer")
    rng = np.random.default_rng(2)
    s, x = rng.normal(size=(1, cell.state_size)), rng.normal(size=(1, 2))
    J = cell.linearise(s, cell.drive(x)).jacobian.dense()
    arrays = {key: 1e6 * value for key, value in vars(cell).items() if isinstance(value, np.ndarray)}
    scaled, larger = replace(cell, **arrays), replace(cell, **{key: 1e3 * value for key, value in arrays.items()})
    far = scaled.linearise(s, scaled.drive(x)).jacobian.dense()
    farther = larger.linearise(s, larger.drive(x)).jacobian.dense()
    assert np.allclose(far, farther, rtol=0, atol=1e-12 * np.abs(far).max())
    assert not np.allclose(J, far, rtol=0, atol=1e-12)
    assert np.allclose(J, far, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_does_not_see_its_batch(name, build_cell):
    cell = build_cell(name, hidden=4, norm="layer")
    rng = np.random.default_rng(2)
    s, x = rng.normal(size=(5, cell.state_size)), rng.normal(size=(5, 2))
    together = cell.step(s, cell.drive(x))
    alone = np.concatenate([cell.step(s[k : k + 1], cell.drive(x[k : k + 1])) for k in range(5)])
    # BLAS sums one row and five rows in orders of its own: equal to rounding.
    assert np.max(np.abs(together - alone)) < 1e-15


def test_a_bias_common_to_all_units_is_taken_out_again(build_cell):
    cell = build_cell("lstm", hidden=4, norm="layer")
    biased = replace(cell, bias=cell.bias + np.repeat([0.0, 5.0, 0.0, 0.0], 4))
    s, x = np.full((1, 8), 0.2), np.ones((1, 2))
    assert np.allclose(cell.step(s, cell.drive(x)), biased.step(s, biased.drive(x)), rtol=0, atol=1e-14)


def test_float32_stays_float32(build_cell):
    cell = build_cell("gru", norm="layer")
    arrays = {key: value.astype(np.float32) for key, value in vars(cell).items() if isinstance(value, np.ndarray)}
    single = replace(cell, **arrays)
    s, x = np.zeros((1, 3), dtype=np.float32), np.ones((1, 2), dtype=np.float32)
    assert single.step(s, single.drive(x)).dtype == np.float32
