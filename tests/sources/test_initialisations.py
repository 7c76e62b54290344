"""What built networks are drawn from: Haar matrices that no machine changes, and layers as frameworks make them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

import gradscope
from gradscope.cells import CELLS
from gradscope.sources.haar import haar, sum_in_order


def layer_of(source, seed=0):
    return gradscope.build(source, seed=seed).network.layers[0]


def haar_in_plain_python(rng, n, p):
    """The same draws and the same order of sums, number by number, in Python's floats."""

    def in_order(values):
        values = list(values)
        while len(values) > 1:
            half = (len(values) + 1) // 2
            upper = values[half:]
            values = [a + upper[i] if i < len(upper) else a for i, a in enumerate(values[:half])]
        return values[0]

    Q, signs = [[0.0] * p for _ in range(n)], [0.0] * p
    for k in range(p - 1, -1, -1):
        v = rng.standard_normal(n - k).tolist()
        signs[k] = -1.0 if v[0] < 0 else 1.0
        length = math.sqrt(in_order(a * a for a in v))
        size = length * (length + abs(v[0]))
        v[0] += signs[k] * length
        Q[k][k] = 1.0
        for j in range(k, p):
            along = in_order(v[i] * Q[k + i][j] for i in range(n - k)) / size
            for i in range(n - k):
                Q[k + i][j] -= v[i] * along
    sign = 1.0
    for j in range(p):
        sign *= -signs[j]
        for i in range(n):
            Q[i][j] *= sign
    return np.array(Q)


@pytest.mark.parametrize(("n", "p"), [(1, 1), (2, 2), (7, 7), (16, 16), (33, 33), (12, 3), (40, 10)])
def test_haar_is_what_ieee_arithmetic_in_this_order_gives(n, p):
    """Bit for bit: neither BLAS, nor SIMD, nor a fused product has a say."""
    found = haar(np.random.default_rng([n, p]), n, p)
    assert np.array_equal(found, haar_in_plain_python(np.random.default_rng([n, p]), n, p))


def test_the_same_seed_is_the_same_matrix_on_every_machine():
    bits = np.ascontiguousarray(layer_of("rnn:hidden=24,inputs=2,init=orthogonal", seed=7).weight_hh).tobytes()
    assert hashlib.sha256(bits).hexdigest() == "91845da2918d6563c7e31690c2050c836a25688f6e105a3349996a0a99ef12f2"


@pytest.mark.parametrize(("n", "p"), [(1, 1), (2, 2), (16, 16), (100, 100), (256, 256), (256, 64)])
def test_columns_are_orthonormal(n, p):
    Q = haar(np.random.default_rng(3), n, p)
    assert np.linalg.norm(Q.T @ Q - np.eye(p), 2) <= 1e-15 * max(n, 4)


def test_haar_moments():
    """E q_ij = 0, E q_ij² = 1/n, E q_ij⁴ = 3/(n(n+2)), E q_11 q_22 q_12 q_21 = −1/((n−1)n(n+2)), E (tr Q)² = 1."""
    n, count = 4, 20_000
    rng = np.random.default_rng(12)
    Q = np.array([haar(rng, n) for _ in range(count)])
    for values, truth in (
        (Q, 0.0),
        (Q**2, 1 / n),
        (Q**4, 3 / (n * (n + 2))),
        (Q[:, 0, 0] * Q[:, 1, 1] * Q[:, 0, 1] * Q[:, 1, 0], -1 / ((n - 1) * n * (n + 2))),
        (np.trace(Q, axis1=1, axis2=2) ** 2, 1.0),
        (np.linalg.det(Q), 0.0),
    ):
        # 4.5 standard errors of the mean, for each entry by itself.
        assert np.all(np.abs(values.mean(axis=0) - truth) < 4.5 * values.std(axis=0) / np.sqrt(count))


def test_summing_in_order_is_summing():
    values = np.random.default_rng(0).normal(size=(37, 5))
    assert np.allclose(sum_in_order(values.copy()), values.sum(axis=0), rtol=0, atol=1e-13)


def taking(init):
    """Cells that can be drawn so."""
    return [name for name, cell in CELLS.items() if cell.inits is None or init in cell.inits]


@pytest.mark.parametrize("name", taking("pytorch"))
def test_a_fresh_pytorch_layer_is_uniform_in_everything(name):
    """U(−b, b), b = 1/√H; the two biases add up to a triangular density on (−2b, 2b) of variance 2b²/3."""
    # Units that read themselves alone have H weights, not H²: as many numbers to judge by take more units.
    H, width = 100 if CELLS[name].recurrent == "full" else 5000, 30
    cell = layer_of(f"{name}:hidden={H},inputs={width},init=pytorch")
    bound = 1 / np.sqrt(H)
    rows = len(cell.gates) * H
    assert cell.weight_ih.shape == (rows, width)
    assert cell.weight_hh.shape == CELLS[name].recurrent_shape(H)
    for values in (array for array in (cell.weight_ih, cell.weight_hh) if array.size):
        assert 0.99 * bound < np.abs(values).max() <= bound
        assert values.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
        assert abs(values.mean()) < 5 * bound / np.sqrt(3 * values.size)
    summed = cell.bias[: 2 * H] if name == "gru" else cell.bias
    assert bound < np.abs(summed).max() <= 2 * bound
    assert summed.var() == pytest.approx(2 * bound**2 / 3, rel=0.4)
    if name == "gru":
        # b_in and b_hn stay apart: only the second is multiplied by r.
        for alone in (cell.bias[2 * H :], cell.bias_recurrent):
            assert np.abs(alone).max() <= bound
            assert alone.var() == pytest.approx(bound**2 / 3, rel=0.4)


@pytest.mark.parametrize("name", taking("keras"))
def test_a_fresh_keras_layer(name):
    H, width = 40, 30
    cell = layer_of(f"{name}:hidden={H},inputs={width},init=keras")
    rows = len(cell.gates) * H
    limit = np.sqrt(6 / (width + rows))
    assert 0.98 * limit < np.abs(cell.weight_ih).max() <= limit
    assert cell.weight_ih.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    if CELLS[name].recurrent == "full":
        assert np.allclose(cell.weight_hh.T @ cell.weight_hh, np.eye(H), rtol=0, atol=1e-14)
    else:
        assert np.allclose(np.abs(cell.weight_hh), 1.0, rtol=0, atol=1e-15)
    biases = dict(zip(cell.gates, cell.bias.reshape(-1, H), strict=True))
    for gate, bias in biases.items():
        assert np.all(bias == (1.0 if (name, gate) == ("lstm", "f") else 0.0))


def test_gains_and_biases_act_on_what_the_framework_draws():
    for init in ("pytorch", "keras"):
        plain = layer_of(f"lstm:hidden=5,inputs=3,init={init}")
        moved = layer_of(f"lstm:hidden=5,inputs=3,init={init},gain=2,input_gain=0.5,bias=0.25,forget_bias=1")
        assert np.allclose(moved.weight_hh, 2 * plain.weight_hh, rtol=1e-15)
        assert np.allclose(moved.weight_ih, plain.weight_ih / 2, rtol=1e-15)
        added = np.repeat([0.25, 1.25, 0.25, 0.25], 5)
        assert np.allclose(moved.bias, plain.bias + added, rtol=0, atol=1e-15)


def test_a_stack_draws_every_layer_and_the_control_every_step():
    source = gradscope.build("gru:hidden=4,layers=2,init=pytorch")
    first, second = source.network.layers
    assert not np.array_equal(first.weight_hh, second.weight_hh)
    control = gradscope.build("dnn:hidden=6,init=keras").network
    for t in (1, 2):
        W = control.step_weight(t)
        assert np.allclose(W.T @ W, np.eye(6), rtol=0, atol=1e-14)
    assert not np.array_equal(control.step_weight(1), control.step_weight(2))


def test_the_hash_of_a_network_sees_every_weight():
    """b_hn of a gru stands apart from its other biases, and is a weight like them."""
    sources = [gradscope.build(f"gru:hidden=4,init=pytorch{key}", seed=1) for key in ("", ",forget_bias=1")]
    assert sources[0].record["sha256"] != sources[1].record["sha256"]


def test_a_fresh_layer_has_the_statistics_of_torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(20, 64).state_dict()
    ours = layer_of("lstm:hidden=64,inputs=20,init=pytorch")
    for name, values in (("weight_ih_l0", ours.weight_ih), ("weight_hh_l0", ours.weight_hh)):
        assert values.std() == pytest.approx(theirs[name].numpy().std(), rel=0.05)
        assert np.abs(values).max() == pytest.approx(np.abs(theirs[name].numpy()).max(), rel=0.01)
